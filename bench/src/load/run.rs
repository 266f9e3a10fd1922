//! One run of a scenario in this process: the server, what is counted, the points where all processes wait for each other, and
//! whether this harness was itself what the figures show. On the main thread.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{arguments::LoadArguments, barrier::Barrier};
use crate::{
    costs::{Costs, Spent},
    counts::{Counts, Findings},
    host::{self, Process},
    part::Part,
    swarm::{Behaviour, Swarm},
    target::Target,
    users::{self, User},
    watch::{Moment, Watch},
};

/// More of a core than this, and one thread of ours may be what the figures show.
const OWN_CPU_MAX: f64 = 0.9;

/// Connects that are under way at the same time, unless a scenario says otherwise.
pub const CONNECTS_IN_FLIGHT: usize = 256;

/// One run of a scenario, in this process.
pub struct Run<'a> {
    /// The server.
    pub target: Target,
    /// What was counted so far.
    pub counts: Counts,
    /// What to know about it.
    pub warnings: Vec<String>,
    arguments: &'a LoadArguments,
    part: Part,
    barrier: Barrier,
    watch: Option<Watch>,
    costs: Option<Costs>,
}

impl<'a> Run<'a> {
    pub(super) fn start(arguments: &'a LoadArguments, watches: bool) -> anyhow::Result<Self> {
        let target = Target::reach(&arguments.target, &format!("{:08x}", rand::random::<u32>()))?;
        let barrier = if arguments.part.is_some() { Barrier::with_leader()? } else { Barrier::none() };
        let is_watching = watches && arguments.part.is_none();
        let watch = if is_watching { Some(Watch::start(arguments.server_processes(&target)?)?) } else { None };
        let part = arguments.part.unwrap_or(Part::WHOLE);
        Ok(Self {
            target,
            counts: Counts::default(),
            warnings: Vec::new(),
            arguments,
            part,
            barrier,
            watch,
            costs: None,
        })
    }

    /// How many of all are for this process.
    pub fn share(&self, whole: u32) -> usize {
        self.part.share(whole as usize)
    }

    /// The share of this process in what is offered per second.
    pub fn rate_share(&self, whole: Option<f64>) -> Option<f64> {
        whole.map(|rate| rate / self.part.of as f64)
    }

    /// Connects under way at the same time in this process; at least one.
    pub fn in_flight(&self, whole: usize) -> usize {
        self.part.share(whole).max(1)
    }

    /// How many threads with a name that begins so serve the clients of this process; 1 where that cannot be told.
    pub fn server_threads(&self, prefix: &str) -> usize {
        let servers = self.arguments.server_processes(&self.target).unwrap_or_default();
        let threads = servers.iter().flat_map(Process::threads).filter(|thread| thread.name().starts_with(prefix));
        self.part.share(threads.count()).max(1)
    }

    /// The clients of this process, which needs `files` for connections.
    pub fn swarm(&self, files: usize) -> anyhow::Result<Swarm> {
        host::take_files(files)?;
        Swarm::for_part(self.part)
    }

    /// New users.
    pub fn sign_up(&self, count: usize) -> anyhow::Result<Vec<User>> {
        users::sign_up(&self.target, self.arguments.token, &self.arguments.code, count)
    }

    /// A new user with so many devices.
    pub fn sign_up_devices(&self, count: usize) -> anyhow::Result<Vec<User>> {
        users::sign_up_devices(&self.target, self.arguments.token, &self.arguments.code, count)
    }

    /// The part of the run that this process is.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Waits until all processes are at this point; how server and machine stand then is noted.
    pub fn meet(&mut self, point: &str, swarm: &mut Swarm, behaviour: &mut impl Behaviour) -> anyhow::Result<()> {
        self.barrier.wait(point, swarm, behaviour)?;
        self.watch.as_ref().map_or(Ok(()), |watch| watch.at(point, &mut self.counts))
    }

    /// What the services of this machine, and this process, have spent so far.
    pub fn spent(&mut self) -> Spent {
        let (arguments, target, part) = (self.arguments, &self.target, self.part);
        let find = || match part.number {
            0 => Costs::of_all(arguments.server_processes(target).unwrap_or_default()),
            _ => Costs::of_client(),
        };
        self.costs.get_or_insert_with(find).spent()
    }

    /// Counts what so many operations cost that went on since [`Run::spent`].
    pub fn charge(&mut self, before: &Spent, operations: u64) {
        if let Some(costs) = &mut self.costs {
            costs.charge(before, operations, &mut self.counts);
        }
    }

    /// Notes what an open loop offered, and how much of it left late through our fault.
    pub fn note_schedule(&mut self, (sent, late): (u32, u32)) {
        self.counts.add("sent", sent.into());
        self.counts.add("late", late.into());
    }

    pub(super) fn end(&mut self) -> (Findings, Vec<Moment>) {
        let moments = self.watch.as_ref().map(Watch::moments).unwrap_or_default();
        let findings =
            Findings { counts: std::mem::take(&mut self.counts), warnings: std::mem::take(&mut self.warnings) };
        (findings, moments)
    }
}

/// The CPU time of the threads of this process while it measures.
#[derive(Debug)]
pub struct OwnCpu {
    started: Instant,
    used: BTreeMap<String, Duration>,
}

impl OwnCpu {
    /// Measures from now on.
    pub fn start() -> Self {
        // A thread that ends meanwhile has used nothing.
        let used = |thread: Process| (thread.folder().to_owned(), thread.cpu_time().unwrap_or_default());
        Self { started: Instant::now(), used: Process::this().threads().map(used).collect() }
    }

    /// Warns, once, where one of them was so busy that it may have been the slowest part.
    pub fn check(&self, run: &mut Run<'_>) {
        let elapsed = self.started.elapsed().as_secs_f64();
        let cores = |thread: Process| {
            let before = self.used.get(thread.folder()).copied().unwrap_or_default();
            let used = thread.cpu_time().unwrap_or_default().saturating_sub(before);
            (used.as_secs_f64() / elapsed, thread.name())
        };
        let busiest = Process::this().threads().map(cores).max_by(|one, other| one.0.total_cmp(&other.0));
        if let Some((cores, name)) = busiest
            && cores >= OWN_CPU_MAX
            && run.counts.count("busy") == 0
        {
            run.counts.add("busy", 1.0);
            run.warnings.push(format!(
                "a thread of gim-bench itself ({name}) used {cores:.2} of a core, which may be the limit: the server may do more"
            ));
        }
    }
}

/// An id for a room of this run; positive as a signed number, because ids are stored as such.
pub fn random_id() -> u64 {
    rand::random::<u64>() >> 1 | 1
}
