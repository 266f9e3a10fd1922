//! What all scenarios that measure have in common: their arguments, the processes they are spread over, the watch on the
//! server and on the harness itself, and how they end.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::ensure;
use serde_json::{Value, json};

use crate::{
    host::{self, Process},
    parts::{Meetings, Part, lead},
    report::{Checks, Figures, Outcome},
    servers::Servers,
    swarm::{Behaviour, Swarm},
    tally::Tally,
    target::{Target, TargetArguments},
    users::{self, TokenSource, User},
    watch::{Moment, Watch},
};

/// More of a core than this, and one thread of ours may be what the figures show.
const OWN_CPU_MAX: f64 = 0.9;

/// With more of the cores in use before a run begins, its figures tell about others too.
const BUSY_SHARE_MAX: f64 = 0.1;

/// How long to look whether they are.
const BUSY_MOMENT: Duration = Duration::from_millis(300);

/// A smaller share of sends that left late through our fault says nothing about the rest.
const LATE_SHARE_MAX: f64 = 0.01;

/// Less of the offered load than this was not achieved.
const ACHIEVED_MIN: f64 = 0.98;

/// Of fewer than this, one that comes a little later than the end makes a difference.
const OFFERED_MIN: f64 = 1000.0;

/// Rates that an open loop can be asked for.
const RATE_MIN: f64 = 0.001;
const RATE_MAX: f64 = 1_000_000.0;

/// What is known only at the end: before it, whatever did not arrive may be under way.
const KNOWN_AT_THE_END: [&str; 2] = ["lost", "unanswered"];

/// Connects that are under way at the same time, unless a scenario says otherwise.
pub const CONNECTS_IN_FLIGHT: usize = 256;

/// Arguments of every scenario that measures.
#[derive(Debug, clap::Args)]
pub struct LoadArguments {
    #[command(flatten)]
    target: TargetArguments,
    /// How long to measure
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// The code that lets a phone number sign in
    #[arg(long, value_name = "CODE", default_value = "123456")]
    code: String,
    /// Where users have their tokens from
    #[arg(long, value_enum, default_value_t = TokenSource::Business)]
    token: TokenSource,
    /// Spread the clients over so many processes
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=500))]
    processes: u16,
    /// Start so many conn nodes for the run, attached to --logic, and connect to them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=500))]
    servers: Option<u16>,
    /// The processes of conn, where their ports do not tell
    #[arg(long, value_name = "PID", value_delimiter = ',', conflicts_with = "servers")]
    server_pid: Vec<u32>,
    #[arg(long, hide = true)]
    part: Option<Part>,
}

impl LoadArguments {
    /// How long to measure.
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Client processes of the run.
    pub fn processes(&self) -> u32 {
        self.processes.into()
    }

    /// Whether these options go with each other, and with what is `spread` over the processes.
    fn check(&self, spread: &[(&str, u32)]) -> anyhow::Result<()> {
        let has_servers = self.part.is_none() && self.servers.is_some();
        ensure!(
            !(has_servers && self.target.has_gates()),
            "--servers starts conn nodes of its own: --tcp and --ws name others"
        );
        ensure!(
            !(has_servers && self.target.transport().is_encrypted()),
            "--servers starts conn nodes without certificates: --transport {} needs one",
            self.target.transport()
        );
        for (what, count) in spread {
            let processes = self.processes;
            ensure!(u32::from(processes) <= *count, "--processes {processes} need as many {what}, which are {count}");
        }
        Ok(())
    }

    fn is_spread(&self) -> bool {
        self.part.is_none() && (self.processes > 1 || self.servers.is_some())
    }

    fn server_processes(&self, target: &Target) -> anyhow::Result<Vec<Process>> {
        if self.server_pid.is_empty() {
            let addresses: Vec<_> = target.gates().iter().map(|gate| gate.address).collect();
            return Process::listening_on(&addresses);
        }
        self.server_pid.iter().map(|&id| Process::with_id(id)).collect()
    }
}

/// A scenario that measures.
pub trait Measurement {
    /// Its name.
    const NAME: &'static str;

    /// The arguments that all have.
    fn load(&self) -> &LoadArguments;

    /// Whether it looks at the server's processes, which then have to run on this machine.
    fn watches(&self) -> bool {
        false
    }

    /// What it was asked to do.
    fn config(&self) -> Value;

    /// What is spread over the processes, in words, and how much of it there is: each process needs some.
    fn spread(&self) -> Vec<(&'static str, u32)>;

    /// Whether that makes sense; the error is a sentence.
    fn check(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Does the share of this process, and counts.
    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()>;

    /// Says what the counts of all processes mean; an error where they are no success.
    fn tell(&self, tally: &Tally, figures: &mut Figures) -> anyhow::Result<()>;
}

/// What was found until a run ended, whichever way.
#[derive(Debug, Default)]
pub struct Findings {
    /// What was counted.
    pub tally: Tally,
    /// What to know about it.
    pub warnings: Vec<String>,
}

/// One run of a scenario, in this process.
pub struct Run<'a> {
    /// The server.
    pub target: Target,
    /// What was counted so far.
    pub tally: Tally,
    /// What to know about it.
    pub warnings: Vec<String>,
    arguments: &'a LoadArguments,
    part: Part,
    meetings: Meetings,
    watch: Option<Watch>,
}

impl<'a> Run<'a> {
    fn start(arguments: &'a LoadArguments, watches: bool) -> anyhow::Result<Self> {
        let target = Target::reach(&arguments.target, &format!("{:08x}", rand::random::<u32>()))?;
        let meetings = if arguments.part.is_some() { Meetings::with_leader()? } else { Meetings::none() };
        let is_watching = watches && arguments.part.is_none();
        let watch = if is_watching { Some(Watch::start(arguments.server_processes(&target)?)?) } else { None };
        let part = arguments.part.unwrap_or(Part::WHOLE);
        Ok(Self { target, tally: Tally::default(), warnings: Vec::new(), arguments, part, meetings, watch })
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

    /// Waits until all processes are at this point; how server and machine stand then is noted.
    pub fn meet(&mut self, point: &str, swarm: &mut Swarm, behaviour: &mut impl Behaviour) -> anyhow::Result<()> {
        self.meetings.wait(point, swarm, behaviour)?;
        self.watch.as_ref().map_or(Ok(()), |watch| watch.at(point, &mut self.tally))
    }

    /// Notes what an open loop offered, and how much of it left late through our fault.
    pub fn note_schedule(&mut self, (sent, late): (u32, u32)) {
        self.tally.add("sent", sent.into());
        self.tally.add("late", late.into());
    }

    fn end(&mut self) -> (Findings, Vec<Moment>) {
        let moments = self.watch.as_ref().map(Watch::moments).unwrap_or_default();
        let findings =
            Findings { tally: std::mem::take(&mut self.tally), warnings: std::mem::take(&mut self.warnings) };
        (findings, moments)
    }
}

/// Runs a scenario.
pub fn run<M: Measurement>(measurement: &M) -> Outcome {
    let started = Instant::now();
    let arguments = measurement.load();
    let mut findings = Findings::default();
    let mut timeline = Vec::new();
    if arguments.part.is_none() {
        note_busy_machine(&mut findings);
    }
    let checked = host::take_files(0).and_then(|()| measurement.check());
    let checked = checked.and_then(|()| arguments.check(&measurement.spread()));
    let ended = checked.and_then(|()| {
        if arguments.is_spread() {
            spread(measurement, &mut findings, &mut timeline)
        } else {
            let mut run = Run::start(arguments, measurement.watches())?;
            let ended = measurement.measure(&mut run);
            let (found, moments) = run.end();
            findings.tally = found.tally;
            findings.warnings.extend(found.warnings);
            timeline = moments;
            ended
        }
    });
    if ended.is_err() {
        KNOWN_AT_THE_END.into_iter().for_each(|key| findings.tally.forget(key));
    }
    let outcome = |figures, error: Option<anyhow::Error>, findings: Findings| Outcome {
        scenario: M::NAME,
        config: config(measurement),
        checks: Checks::default(),
        figures,
        warnings: findings.warnings,
        error: error.map(|error| format!("{error:#}")),
        elapsed: started.elapsed(),
        curves: findings.tally.curves(),
        timeline: json!(timeline),
        tally: arguments.part.is_some().then(|| findings.tally.to_json()),
    };
    let mut figures = Figures::default();
    if arguments.part.is_some() {
        return outcome(figures, ended.err(), findings);
    }
    // Who counted nothing has nothing to tell, and no other error than what ended it.
    let judged = if findings.tally.is_empty() { Ok(()) } else { measurement.tell(&findings.tally, &mut figures) };
    note_late_sends(&figures, arguments.seconds, &mut findings);
    outcome(figures, ended.and(judged).err(), findings)
}

/// Leads the processes of a run.
fn spread<M: Measurement>(measurement: &M, findings: &mut Findings, timeline: &mut Vec<Moment>) -> anyhow::Result<()> {
    let arguments = measurement.load();
    let servers = arguments
        .servers
        .map(|count| Servers::start(count.into(), &arguments.target.logic(), arguments.target.internal_token()));
    let servers = servers.transpose()?;
    let options = servers.as_ref().map(Servers::options).unwrap_or_default();
    let watch = match (&servers, measurement.watches()) {
        (_, false) => None,
        (Some(servers), true) => Some(Watch::start(servers.processes()?)?),
        (None, true) => {
            let target = Target::reach(&arguments.target, "lead")?;
            Some(Watch::start(arguments.server_processes(&target)?)?)
        }
    };
    let ended = lead(arguments.processes.into(), &options, findings, |point, tally| {
        watch.as_ref().map_or(Ok(()), |watch| watch.at(point, tally))
    });
    *timeline = watch.as_ref().map(Watch::moments).unwrap_or_default();
    ended
}

fn config<M: Measurement>(measurement: &M) -> Value {
    let arguments = measurement.load();
    let mut all = json!({
        "seconds": arguments.seconds,
        "processes": arguments.processes,
        "token": format!("{:?}", arguments.token).to_lowercase(),
    });
    if let Some(servers) = arguments.servers {
        all["servers"] = servers.into();
    }
    for part in [arguments.target.to_json(), measurement.config()] {
        for (key, value) in part.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
    }
    if arguments.servers.is_some() {
        // Those of the nodes are made up.
        all["gates"] = Value::Null;
    }
    all
}

fn note_busy_machine(findings: &mut Findings) {
    let busy = host::busy_share(BUSY_MOMENT);
    if busy > BUSY_SHARE_MAX {
        let percent = 100.0 * busy;
        findings.warnings.push(format!("{percent:.0} % of this machine's cores were in use before the run began"));
    }
}

fn note_late_sends(figures: &Figures, seconds: u64, findings: &mut Findings) {
    let (sent, late) = (findings.tally.sum("sent"), findings.tally.sum("late"));
    if late > sent * LATE_SHARE_MAX {
        let warning = format!("gim-bench itself sent {late} of {sent} later than 20 ms after their time");
        findings.warnings.push(warning);
    }
    for (what, offered, achieved) in figures.loads() {
        if achieved < offered * ACHIEVED_MIN && offered * seconds as f64 >= OFFERED_MIN {
            findings.warnings.push(format!("{what}: {offered}, and {achieved} were achieved"));
        }
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
            && run.tally.count("busy") == 0
        {
            run.tally.add("busy", 1.0);
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

/// Fails where an option is no rate per second.
pub fn ensure_rate(option: &str, rate: Option<f64>) -> anyhow::Result<()> {
    let is_possible = rate.is_none_or(|rate| (RATE_MIN..=RATE_MAX).contains(&rate));
    ensure!(is_possible, "--{option} must be from {RATE_MIN} to {RATE_MAX} per second");
    Ok(())
}

/// Says how much did not arrive, arrived twice or out of order, in words for each, and fails where that is anything.
pub fn tell_faults(
    tally: &Tally,
    figures: &mut Figures,
    faults: &[(&'static str, &'static str)],
) -> anyhow::Result<()> {
    figures.counted(tally, faults);
    let wrong = faults.iter().filter(|(key, _)| tally.count(key) > 0);
    let wrong: Vec<_> = wrong.map(|(key, what)| format!("{what}: {}", tally.count(key))).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join(", "));
    Ok(())
}
