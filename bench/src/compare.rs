//! `gim-bench compare`: what kept results of runs by turns say about two states of a server. `scripts/compare` makes such runs.
//! Plain data, on the main thread.

use std::{path::PathBuf, time::Instant};

use anyhow::{Context as _, ensure};
use clap::{Subcommand, builder::StyledStr};
use serde_json::json;

use crate::{
    kept::{self, KeptResult},
    result::Outcome,
    stats::{median, ratio},
};

/// Fewer rounds than these are told, and not judged.
const ROUNDS_JUDGED_MIN: usize = 4;

/// What is compared; the second state is the one in question.
#[derive(Debug, Subcommand)]
pub enum Subject {
    /// Does an app whose logic stands still cost another one's sends anything?
    Apps(Folders),
    /// Do more nodes cost throughput where they share the same cores?
    Nodes(Folders),
    /// Does one build of the server do as much as another one?
    Builds(Builds),
}

/// Arguments of each.
#[derive(Debug, clap::Args)]
pub struct Folders {
    /// Kept results of the first state, one a round, in the order of their names
    #[arg(value_name = "DIR")]
    first: PathBuf,
    /// As many of the second
    #[arg(value_name = "DIR")]
    second: PathBuf,
}

/// Arguments of `builds`.
#[derive(Debug, clap::Args)]
pub struct Builds {
    #[command(flatten)]
    folders: Folders,
    /// What the first build is called
    #[arg(long, value_name = "NAME", default_value = "before")]
    before: String,
    /// What the second one is called
    #[arg(long, value_name = "NAME", default_value = "after")]
    after: String,
    /// The share of what the first build does that the second one has to do
    #[arg(long, value_name = "SHARE", default_value_t = 0.97)]
    at_least: f64,
}

/// What the second state may be of the first.
#[derive(Debug, Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// A figure of a result, and what it is.
#[derive(Debug, Clone, Copy)]
struct Figure {
    key: &'static str,
    words: &'static str,
}

/// How a subject is judged.
#[derive(Debug)]
struct Rule<'a> {
    /// The states, in words.
    states: [&'a str; 2],
    judged: Figure,
    bound: Bound,
    /// What is told beside it, where all runs have it.
    told: Option<Figure>,
}

const SENDS: Figure = Figure { key: "sends_per_second", words: "durable sends per second" };
const SENDS_WITHIN: Figure = Figure { key: "p99_ms", words: "99 % of the sends durable within (ms)" };

/// What counts in a scenario where two builds are compared, and what is told beside it.
const OF_BUILDS: [(&str, Figure, Figure); 6] = [
    (
        "echo",
        Figure { key: "per_second", words: "heartbeats answered per second" },
        Figure { key: "p99_us", words: "99 % of the heartbeats within (µs)" },
    ),
    (
        "room",
        Figure { key: "deliveries_per_second", words: "deliveries per second" },
        Figure { key: "p99_ms", words: "99 % of the deliveries within (ms)" },
    ),
    ("send", SENDS, SENDS_WITHIN),
    ("group", SENDS, SENDS_WITHIN),
    (
        "signin",
        Figure { key: "sign_ins_per_second", words: "sign-ins per second" },
        Figure { key: "p99_ms", words: "99 % of the sign-ins within (ms)" },
    ),
    (
        "call",
        Figure { key: "calls_per_second", words: "calls per second" },
        Figure { key: "p99_ms", words: "99 % of the calls within (ms)" },
    ),
];

/// The server's work for each operation, which a busy machine changes less than how many there are.
const CPU_KEYS: [&str; 2] = ["conn_cpu_us_per_operation", "logic_cpu_us_per_operation"];

/// The question of a subject, from its name; empty where there is none of this name.
pub fn question(name: &str) -> String {
    let all = Subject::augment_subcommands(clap::Command::new(""));
    let about = all.find_subcommand(name).and_then(clap::Command::get_about);
    about.map(StyledStr::to_string).unwrap_or_default()
}

impl Subject {
    /// Compares.
    pub fn run(&self) -> Outcome {
        let started = Instant::now();
        let mut outcome = Outcome::of(self.name(), json!({}), started, Ok(()));
        let ended = self.compare(&mut outcome);
        outcome.error = ended.err().map(|error| format!("{error:#}"));
        outcome.elapsed = started.elapsed();
        outcome
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Apps(_) => "apps",
            Self::Nodes(_) => "nodes",
            Self::Builds(_) => "builds",
        }
    }

    fn compare(&self, outcome: &mut Outcome) -> anyhow::Result<()> {
        let (Self::Apps(folders) | Self::Nodes(folders) | Self::Builds(Builds { folders, .. })) = self;
        let runs = [kept::read(&folders.first)?, kept::read(&folders.second)?];
        let [first, second] = runs.each_ref().map(Vec::len);
        ensure!(first == second, "{first} rounds of one state and {second} of the other");
        let scenario = runs[0][0].json["scenario"].as_str().unwrap_or_default();
        for run in runs.iter().flatten() {
            let why = run.json["error"].as_str().unwrap_or("not everything came out as expected");
            ensure!(run.passed(), "the run {} did not pass: {why}", run.name);
            let other = run.json["scenario"].as_str().unwrap_or_default();
            ensure!(other == scenario, "the run {} is of {other} and not of {scenario}", run.name);
        }
        let rule = self.rule(scenario)?;
        let values = [rule.judged.of_each(&runs[0])?, rule.judged.of_each(&runs[1])?];
        outcome.config = json!({
            "scenario": scenario,
            "states": rule.states,
            "figure": rule.judged.key,
            "rounds": first,
            "first": values[0],
            "second": values[1],
            "run": runs[0][0].json["config"],
        });
        let told = rule.told.and_then(|figure| {
            let medians = runs.each_ref().map(|runs| figure.of_each(runs).ok().and_then(median));
            ratio(medians[1], medians[0]).map(|ratio| (figure, ratio))
        });
        let cpu = runs.each_ref().map(|runs| median(runs.iter().filter_map(cpu_us).collect()));
        if let Some(ratio) = ratio(cpu[1], cpu[0]) {
            let words = "CPU of conn and logic for each (µs): the second median against the first";
            outcome.figures.measure("cpu_second_to_first", ratio, words);
        }
        rule.judge(&values, told, outcome)
    }

    /// How runs of this scenario are judged.
    fn rule(&self, scenario: &str) -> anyhow::Result<Rule<'_>> {
        Ok(match self {
            Self::Apps(_) => Rule {
                states: ["the other app's logic works", "the other app's logic is frozen"],
                judged: SENDS_WITHIN,
                bound: Bound::AtMost(1.2),
                told: None,
            },
            Self::Nodes(_) => Rule {
                states: ["one conn and one logic", "two conn and two logic"],
                judged: SENDS,
                bound: Bound::AtLeast(0.9),
                told: None,
            },
            Self::Builds(Builds { before, after, at_least, .. }) => {
                let all = OF_BUILDS.iter().find(|(name, ..)| *name == scenario);
                let &(_, judged, told) =
                    all.with_context(|| format!("builds are not compared by runs of {scenario}"))?;
                Rule { states: [before, after], judged, bound: Bound::AtLeast(*at_least), told: Some(told) }
            }
        })
    }
}

/// None where it was not measured.
fn cpu_us(run: &KeptResult) -> Option<f64> {
    let each = CPU_KEYS.iter().filter_map(|key| run.json[key].as_f64());
    each.reduce(|sum, more| sum + more)
}

impl Figure {
    /// The figure of each round.
    fn of_each(self, runs: &[KeptResult]) -> anyhow::Result<Vec<f64>> {
        let value = |run: &KeptResult| {
            run.json[self.key].as_f64().with_context(|| format!("the run {} has no {}", run.name, self.key))
        };
        runs.iter().map(value).collect()
    }
}

impl Rule<'_> {
    fn judge(&self, values: &[Vec<f64>; 2], told: Option<(Figure, f64)>, outcome: &mut Outcome) -> anyhow::Result<()> {
        const KEYS: [[&str; 3]; 2] =
            [["first_median", "first_lowest", "first_highest"], ["second_median", "second_lowest", "second_highest"]];
        let rounds = values[0].len();
        let figures = &mut outcome.figures;
        figures.count("rounds", rounds as u64, format!("rounds; in each, {}", self.judged.words));
        for ((values, state), [middle, lowest, highest]) in values.iter().zip(self.states).zip(KEYS) {
            figures.measure(middle, median(values.clone()), format!("{state}: median"));
            figures.measure(lowest, values.iter().copied().reduce(f64::min), format!("{state}: lowest"));
            figures.measure(highest, values.iter().copied().reduce(f64::max), format!("{state}: highest"));
        }
        let [first, second] = values.each_ref().map(|values| median(values.clone()));
        let compared = ratio(second, first).context("nothing was measured")?;
        figures.measure("second_to_first", compared, "the second median against the first");
        let chance = chance(&values[0]);
        figures.measure("chance", chance, "the odd rounds of the first state against its even ones: chance");
        if let Some((figure, ratio)) = told {
            figures.measure(
                "p99_second_to_first",
                ratio,
                format!("{}: the second median against the first", figure.words),
            );
        }
        if rounds < ROUNDS_JUDGED_MIN {
            outcome.warnings.push(format!("too few rounds to judge by: {ROUNDS_JUDGED_MIN} are enough"));
            return Ok(());
        }
        if chance.is_some_and(|chance| !self.bound.holds(chance.max(1.0 / chance), chance.min(1.0 / chance))) {
            outcome.warnings.push("chance alone is beyond the bound here: this machine is too busy to tell".into());
        }
        let (state, words) = (self.states[1], self.bound.words());
        ensure!(self.bound.holds(compared, compared), "{state}: {compared:.3} ×, {words}");
        Ok(())
    }
}

impl Bound {
    fn holds(self, highest: f64, lowest: f64) -> bool {
        match self {
            Self::AtMost(bound) => highest <= bound,
            Self::AtLeast(bound) => lowest >= bound,
        }
    }

    fn words(self) -> String {
        match self {
            Self::AtMost(bound) => format!("{bound} × at most"),
            Self::AtLeast(bound) => format!("{bound} × at least"),
        }
    }
}

/// How far the odd rounds of one state are from its even ones.
fn chance(values: &[f64]) -> Option<f64> {
    let every_other = |from: usize| median(values.iter().copied().skip(from).step_by(2).collect());
    ratio(every_other(0), every_other(1))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// Kept results of a scenario with these figures, a folder each state.
    fn kept(scenario: &str, key: &str, states: [&[f64]; 2]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (state, values) in ["first", "second"].into_iter().zip(states) {
            let runs = folder.path().join(state).join("2026-01-31-2-cores");
            fs::create_dir_all(&runs).unwrap();
            for (round, value) in values.iter().enumerate() {
                let json = json!({ "scenario": scenario, "host": {}, "passed": true, key: value });
                fs::write(runs.join(format!("{round:02}.json")), json.to_string()).unwrap();
            }
        }
        folder
    }

    fn folders(folder: &TempDir) -> Folders {
        Folders { first: folder.path().join("first"), second: folder.path().join("second") }
    }

    fn apps(states: [&[f64]; 2]) -> Outcome {
        Subject::Apps(folders(&kept("send", "p99_ms", states))).run()
    }

    fn nodes(states: [&[f64]; 2]) -> Outcome {
        Subject::Nodes(folders(&kept("send", "sends_per_second", states))).run()
    }

    fn builds(scenario: &str, key: &str, states: [&[f64]; 2]) -> Outcome {
        let folder = kept(scenario, key, states);
        let (before, after) = ("1a2b3c".to_owned(), "4d5e6f".to_owned());
        Subject::Builds(Builds { folders: folders(&folder), before, after, at_least: 0.97 }).run()
    }

    #[test]
    fn medians_are_compared_so_that_one_stall_decides_nothing() {
        let outcome = apps([&[4.5, 5.0, 4.5, 5.0, 90.0], &[5.5, 5.0, 5.5, 99.0, 5.0]]);
        assert!(outcome.passed() && outcome.warnings.is_empty(), "{outcome:?}");
        let json = outcome.to_json();
        assert_eq!(
            (&json["second_to_first"], &json["first_highest"], &json["rounds"]),
            (&json!(1.1), &json!(90.0), &json!(5))
        );
        assert_eq!((&json["chance"], &json["config"]["second"][3]), (&json!(0.9), &json!(99.0)));
    }

    #[test]
    fn what_is_beyond_the_bound_does_not_pass() {
        let slower = apps([&[4.0; 4], &[5.0; 4]]);
        assert_eq!(slower.error.unwrap(), "the other app's logic is frozen: 1.250 ×, 1.2 × at most");
        assert!(apps([&[4.0; 4], &[1.0; 4]]).passed());
        let taxed = nodes([&[1000.0; 4], &[800.0; 4]]);
        assert_eq!(taxed.error.unwrap(), "two conn and two logic: 0.800 ×, 0.9 × at least");
        assert!(nodes([&[1000.0; 4], &[2000.0; 4]]).passed());
    }

    #[test]
    fn builds_are_compared_by_what_counts_in_the_scenario_of_their_runs() {
        let slower = builds("echo", "per_second", [&[1000.0; 4], &[960.0; 4]]);
        assert_eq!(slower.error.unwrap(), "4d5e6f: 0.960 ×, 0.97 × at least");
        let as_fast = builds("room", "deliveries_per_second", [&[1000.0; 4], &[980.0; 4]]);
        assert!(as_fast.passed(), "{as_fast:?}");
        assert_eq!(as_fast.to_json()["config"]["states"], json!(["1a2b3c", "4d5e6f"]));
        let latencies = builds("signin", "p99_ms", [&[1.0], &[2.0]]);
        assert_eq!(latencies.error.unwrap(), "the run 00 has no sign_ins_per_second");
        let other = builds("idle", "connections", [&[1.0], &[1.0]]);
        assert_eq!(other.error.unwrap(), "builds are not compared by runs of idle");
    }

    #[test]
    fn what_the_server_works_for_each_operation_is_told_beside_it() {
        let folder = kept("send", "sends_per_second", [&[1000.0; 4], &[1000.0; 4]]);
        let compare = || Subject::Nodes(folders(&folder)).run().to_json();
        assert_eq!(compare()["cpu_second_to_first"], json!(null));
        for (state, logic_us) in [("first", 60.0), ("second", 40.0)] {
            for round in 0..4 {
                let path = folder.path().join(state).join(format!("2026-01-31-2-cores/{round:02}.json"));
                let mut run: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
                (run[CPU_KEYS[0]], run[CPU_KEYS[1]]) = (json!(20.0), json!(logic_us));
                fs::write(path, run.to_string()).unwrap();
            }
        }
        assert_eq!(compare()["cpu_second_to_first"], json!(0.75));
    }

    #[test]
    fn few_rounds_are_not_judged_and_chance_is_told() {
        let outcome = apps([&[4.0], &[9.0]]);
        assert!(outcome.passed() && outcome.warnings[0].contains("too few"), "{outcome:?}");
        for outcome in [apps([&[3.0, 4.0, 3.0, 4.0], &[3.0; 4]]), nodes([&[8.0, 10.0, 8.0, 10.0], &[10.0; 4]])] {
            assert!(outcome.warnings[0].starts_with("chance alone is beyond the bound"), "{outcome:?}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_one_sentence() {
        assert_eq!(apps([&[1.0, 2.0], &[1.0]]).error.unwrap(), "2 rounds of one state and 1 of the other");
        let other = Subject::Nodes(folders(&kept("send", "p99_ms", [&[1.0], &[1.0]]))).run();
        assert_eq!(other.error.unwrap(), "the run 00 has no sends_per_second");
        assert!(apps([&[1.0], &[]]).error.unwrap().contains("has no results"));
    }

    #[test]
    fn each_has_its_question() {
        let all = Subject::augment_subcommands(clap::Command::new(""));
        let names: Vec<_> = all.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(names, ["apps", "nodes", "builds"]);
        assert!(names.into_iter().all(|name| question(name).ends_with('?')));
    }
}
