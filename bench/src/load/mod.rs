//! What all scenarios that measure have in common: their arguments, the processes they are spread over, the watch on the
//! server and on the harness itself, and how they end. On the main thread.

mod arguments;
mod barrier;
mod lead;
mod run;

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};

use self::lead::lead;
pub use self::{
    arguments::{LoadArguments, ensure_rate},
    run::{CONNECTS_IN_FLIGHT, OwnCpu, Run, random_id},
};
use crate::{
    costs,
    counts::{Counts, Findings},
    host,
    result::{Checks, Figures, Outcome},
    servers::Servers,
    target::Target,
    watch::{Moment, Watch},
};

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

/// What is known only at the end: before it, whatever did not arrive may be under way.
const KNOWN_AT_THE_END: [&str; 2] = ["lost", "unanswered"];

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
    fn tell(&self, counts: &Counts, figures: &mut Figures) -> anyhow::Result<()>;
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
            findings.counts = found.counts;
            findings.warnings.extend(found.warnings);
            timeline = moments;
            ended
        }
    });
    if ended.is_err() {
        KNOWN_AT_THE_END.into_iter().for_each(|key| findings.counts.forget(key));
    }
    let outcome = |figures, error: Option<anyhow::Error>, findings: Findings| Outcome {
        scenario: M::NAME,
        config: config(measurement),
        checks: Checks::default(),
        figures,
        warnings: findings.warnings,
        error: error.map(|error| format!("{error:#}")),
        elapsed: started.elapsed(),
        curves: findings.counts.curves(),
        timeline: json!(timeline),
        counts: arguments.part.is_some().then(|| findings.counts.to_json()),
    };
    let mut figures = Figures::default();
    if arguments.part.is_some() {
        return outcome(figures, ended.err(), findings);
    }
    // Who counted nothing has nothing to tell, and no other error than what ended it.
    let judged = if findings.counts.is_empty() { Ok(()) } else { measurement.tell(&findings.counts, &mut figures) };
    costs::tell(&findings.counts, &mut figures);
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
    let ended = lead(arguments.processes.into(), &options, findings, |point, counts| {
        watch.as_ref().map_or(Ok(()), |watch| watch.at(point, counts))
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
        all["endpoints"] = Value::Null;
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
    let (sent, late) = (findings.counts.sum("sent"), findings.counts.sum("late"));
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

/// Says how much did not arrive, arrived twice or out of order, in words for each, and fails where that is anything.
pub fn tell_faults(
    counts: &Counts,
    figures: &mut Figures,
    faults: &[(&'static str, &'static str)],
) -> anyhow::Result<()> {
    figures.counted(counts, faults);
    let wrong = faults.iter().filter(|(key, _)| counts.count(key) > 0);
    let wrong: Vec<_> = wrong.map(|(key, what)| format!("{what}: {}", counts.count(key))).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join(", "));
    Ok(())
}
