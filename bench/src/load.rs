//! What all scenarios that measure have in common: their arguments, the watch on the harness itself, and how they end.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    host::{self, Process},
    report::{Checks, Figures, Outcome},
    target::{Target, TargetArguments},
    users::{self, User},
};

/// More of a core than this, and the one thread of a swarm may be what the figures show.
const OWN_CPU_MAX: f64 = 0.9;

/// With more of the cores in use before a run begins, its figures tell about others too.
const BUSY_SHARE_MAX: f64 = 0.1;

/// How long to look whether they are.
const BUSY_MOMENT: Duration = Duration::from_millis(300);

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
}

impl LoadArguments {
    /// How long to measure.
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Connects to the server.
    pub fn reach(&self) -> anyhow::Result<Target> {
        Target::reach(&self.target, &format!("{:08x}", rand::random::<u32>()))
    }

    /// New users.
    pub fn sign_up(&self, target: &Target, count: usize) -> anyhow::Result<Vec<User>> {
        users::sign_up(target, &self.code, count)
    }
}

/// What a scenario found until it ended, whichever way.
#[derive(Debug, Default)]
pub struct Findings {
    /// The measures.
    pub figures: Figures,
    /// What to know about them.
    pub warnings: Vec<String>,
}

/// Runs a scenario: `measure` fills in what it finds, also when it fails.
pub fn run(
    scenario: &'static str,
    arguments: &LoadArguments,
    config: Value,
    measure: impl FnOnce(&mut Findings) -> anyhow::Result<()>,
) -> Outcome {
    let started = Instant::now();
    let mut findings = Findings::default();
    let busy = host::busy_share(BUSY_MOMENT);
    if busy > BUSY_SHARE_MAX {
        let percent = 100.0 * busy;
        findings.warnings.push(format!("{percent:.0} % of this machine's cores were in use before the run began"));
    }
    let ended = measure(&mut findings);
    let mut all = json!({ "seconds": arguments.seconds });
    for part in [arguments.target.to_json(), config] {
        for (key, value) in part.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
    }
    Outcome {
        scenario,
        config: all,
        checks: Checks::default(),
        figures: findings.figures,
        warnings: findings.warnings,
        error: ended.err().map(|error| format!("{error:#}")),
        elapsed: started.elapsed(),
    }
}

/// The CPU time of this process while it measures.
#[derive(Debug)]
pub struct OwnCpu {
    started: Instant,
    used: Duration,
}

impl OwnCpu {
    /// Measures from now on.
    pub fn start() -> anyhow::Result<Self> {
        Ok(Self { started: Instant::now(), used: Process::this().cpu_time()? })
    }

    /// Warns where this process was so busy that it may have been the slowest part.
    pub fn check(&self, findings: &mut Findings) -> anyhow::Result<()> {
        let used = Process::this().cpu_time()?.saturating_sub(self.used);
        let cores = used.as_secs_f64() / self.started.elapsed().as_secs_f64();
        if cores >= OWN_CPU_MAX {
            findings.warnings.push(format!(
                "gim-bench itself used {cores:.2} cores, its one thread of clients is the limit: the server may do more"
            ));
        }
        Ok(())
    }
}
