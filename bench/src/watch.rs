//! The watch on the server's processes and the machine while a run goes on: memory and CPU time at the points of a scenario,
//! and in between twice a second on a thread of its own, for plots.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde::Serialize;

use crate::{
    counts::Counts,
    host::{self, Process},
    progress,
};

/// Moments of a timeline; with more of them, every other one is dropped and the rest are twice as far apart.
const MOMENTS_MAX: usize = 600;

const INTERVAL: Duration = Duration::from_millis(500);

/// What was seen at a moment.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Moment {
    /// Since the watch began.
    seconds: f64,
    /// Connections that were ready.
    connections: u64,
    /// Of all conn processes.
    server_rss_bytes: u64,
    /// The part of it that is no page of a file.
    server_own_bytes: u64,
    /// Of the whole machine.
    kernel_bytes: u64,
    /// CPU time of all conn processes so far.
    server_cpu_seconds: f64,
    /// In use by whatever runs on the machine.
    machine_memory_bytes: u64,
}

/// A process of conn. One of several may end, as a node does that drains: what it used stays in the sum.
#[derive(Debug)]
struct Server {
    process: Process,
    /// When it was there last.
    cpu: Duration,
}

/// The watch.
#[derive(Debug)]
pub struct Watch {
    servers: Arc<Mutex<Vec<Server>>>,
    started: Instant,
    moments: Arc<Mutex<Vec<Moment>>>,
    /// Ends the thread when it is dropped.
    _end: Sender<()>,
}

impl Watch {
    /// Begins to watch these processes.
    pub fn start(servers: Vec<Process>) -> anyhow::Result<Self> {
        let started = Instant::now();
        let servers: Vec<Server> = servers.into_iter().map(|process| Server { process, cpu: Duration::ZERO }).collect();
        let servers = Arc::new(Mutex::new(servers));
        let moments = Arc::new(Mutex::new(Vec::new()));
        let (_end, ended) = channel();
        let (watched, seen) = (servers.clone(), moments.clone());
        let work = move || {
            let mut interval = INTERVAL;
            while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                // A server that is gone is noticed by its clients.
                let (Ok(moment), Ok(mut moments)) = (look(&watched, started), seen.lock()) else { return };
                keep(&mut moments, moment, &mut interval);
            }
        };
        thread::Builder::new().name("watch".into()).spawn(work).context("cannot start a thread")?;
        Ok(Self { servers, started, moments, _end })
    }

    /// Adds to the counts how it stands at a point.
    pub fn at(&self, point: &str, counts: &mut Counts) -> anyhow::Result<()> {
        let moment = look(&self.servers, self.started)?;
        for (key, value) in [
            ("seconds", moment.seconds),
            ("server_rss_bytes", moment.server_rss_bytes as f64),
            ("server_own_bytes", moment.server_own_bytes as f64),
            ("kernel_bytes", moment.kernel_bytes as f64),
            ("server_cpu_seconds", moment.server_cpu_seconds),
            ("machine_memory_bytes", moment.machine_memory_bytes as f64),
        ] {
            counts.add(&format!("{point}.{key}"), value);
        }
        Ok(())
    }

    /// What was seen so far.
    pub fn moments(&self) -> Vec<Moment> {
        self.moments.lock().map(|moments| moments.clone()).unwrap_or_default()
    }
}

fn keep(moments: &mut Vec<Moment>, moment: Moment, interval: &mut Duration) {
    if moments.len() == MOMENTS_MAX {
        let mut is_kept = false;
        moments.retain(|_| {
            is_kept = !is_kept;
            is_kept
        });
        *interval *= 2;
    }
    moments.push(moment);
}

/// Fails where none of them is there.
fn look(servers: &Mutex<Vec<Server>>, started: Instant) -> anyhow::Result<Moment> {
    let mut servers = servers.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut rss, mut own) = (0, 0);
    let mut cpu = Duration::ZERO;
    let mut gone = Vec::new();
    for server in servers.iter_mut() {
        match seen(&server.process) {
            Ok((all_bytes, own_bytes, used)) => {
                rss += all_bytes;
                own += own_bytes;
                server.cpu = used;
            }
            Err(error) => gone.push(error),
        }
        cpu += server.cpu;
    }
    if gone.len() == servers.len()
        && let Some(error) = gone.pop()
    {
        return Err(error);
    }
    Ok(Moment {
        seconds: started.elapsed().as_secs_f64(),
        connections: progress::standing(),
        server_rss_bytes: rss,
        server_own_bytes: own,
        kernel_bytes: host::kernel_bytes(),
        server_cpu_seconds: cpu.as_secs_f64(),
        machine_memory_bytes: host::memory_in_use_bytes(),
    })
}

fn seen(process: &Process) -> anyhow::Result<(u64, u64, Duration)> {
    Ok((process.rss_bytes()?, process.own_bytes()?, process.cpu_time()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(processes: &[&Process]) -> Mutex<Vec<Server>> {
        let server = |process: &&Process| Server { process: (*process).clone(), cpu: Duration::ZERO };
        Mutex::new(processes.iter().map(server).collect())
    }

    #[test]
    fn of_several_processes_one_may_end() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let ended = Process::with_id(child.id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let moment = look(&servers(&[&Process::this(), &ended]), Instant::now()).unwrap();
        assert!(moment.server_rss_bytes > 100_000);
        let refused = look(&servers(&[&ended]), Instant::now()).unwrap_err().to_string();
        assert_eq!(refused, "the server process is gone");
    }

    #[test]
    fn a_long_run_has_fewer_moments_further_apart() {
        let moment = look(&servers(&[&Process::this()]), Instant::now()).unwrap();
        assert!(moment.server_rss_bytes > 100_000 && moment.machine_memory_bytes > moment.server_rss_bytes);
        let (mut moments, mut interval) = (Vec::new(), INTERVAL);
        for second in 0..=MOMENTS_MAX {
            keep(&mut moments, Moment { seconds: second as f64, ..moment }, &mut interval);
        }
        assert_eq!((moments.len(), interval), (MOMENTS_MAX / 2 + 1, 2 * INTERVAL));
        assert_eq!(moments[1].seconds, 2.0);
    }
}
