//! `gim-bench compare`: what kept results of runs by turns say about two states of a server. `scripts/compare` makes such runs.
//! Plain data, on the main thread.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, ensure};
use clap::{Subcommand, builder::StyledStr};
use serde_json::{Value, json};

use crate::{
    page,
    report::{Checks, Figures, Outcome},
    stats::{median, ratio},
};

/// Fewer rounds than these are told, and not judged.
const ROUNDS_JUDGED_MIN: usize = 4;

/// What is compared; the second state is the one in question.
#[derive(Debug, Subcommand)]
pub enum Subject {
    /// Does a product whose logic stands still cost another one's sends anything?
    Apps(Folders),
    /// Do more nodes cost throughput where they share the same cores?
    Nodes(Folders),
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

/// What the second state may be of the first.
#[derive(Debug, Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// How a subject is judged.
#[derive(Debug, Clone, Copy)]
struct Rule {
    name: &'static str,
    /// The states, in words.
    states: [&'static str; 2],
    /// The figure that counts, and what it is.
    key: &'static str,
    what: &'static str,
    bound: Bound,
}

const APPS: Rule = Rule {
    name: "apps",
    states: ["the other product's logic works", "the other product's logic is frozen"],
    key: "p99_ms",
    what: "99 % of the sends durable within (ms)",
    bound: Bound::AtMost(1.2),
};

const NODES: Rule = Rule {
    name: "nodes",
    states: ["one conn and one logic", "two conn and two logic"],
    key: "sends_per_second",
    what: "durable sends per second",
    bound: Bound::AtLeast(0.85),
};

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
        let (rule, folders) = match self {
            Self::Apps(folders) => (APPS, folders),
            Self::Nodes(folders) => (NODES, folders),
        };
        let mut outcome = Outcome {
            scenario: rule.name,
            config: json!({}),
            checks: Checks::default(),
            figures: Figures::default(),
            warnings: Vec::new(),
            error: None,
            elapsed: started.elapsed(),
            curves: Value::Null,
            timeline: Value::Null,
            tally: None,
        };
        let ended = rule.compare(&folders.first, &folders.second, &mut outcome);
        outcome.error = ended.err().map(|error| format!("{error:#}"));
        outcome.elapsed = started.elapsed();
        outcome
    }
}

impl Rule {
    fn compare(&self, first: &Path, second: &Path, outcome: &mut Outcome) -> anyhow::Result<()> {
        let runs = [page::results(first)?, page::results(second)?];
        let values = [self.values(&runs[0])?, self.values(&runs[1])?];
        let counts = values.each_ref().map(Vec::len);
        ensure!(counts[0] == counts[1], "{} rounds of one state and {} of the other", counts[0], counts[1]);
        outcome.config = json!({
            "figure": self.key,
            "rounds": counts[0],
            "first": values[0],
            "second": values[1],
            "run": runs[0][0].json["config"],
        });
        self.tell(&values, outcome)
    }

    /// The figure of each round.
    fn values(&self, runs: &[page::Result]) -> anyhow::Result<Vec<f64>> {
        let value = |run: &page::Result| {
            let why = run.json["error"].as_str().unwrap_or("not everything came out as expected");
            ensure!(run.passed(), "the run {} did not pass: {why}", run.name);
            run.json[self.key].as_f64().with_context(|| format!("the run {} has no {}", run.name, self.key))
        };
        runs.iter().map(value).collect()
    }

    fn tell(&self, values: &[Vec<f64>; 2], outcome: &mut Outcome) -> anyhow::Result<()> {
        const KEYS: [[&str; 3]; 2] =
            [["first_median", "first_lowest", "first_highest"], ["second_median", "second_lowest", "second_highest"]];
        let rounds = values[0].len();
        let figures = &mut outcome.figures;
        figures.count("rounds", rounds as u64, format!("rounds; in each, {}", self.what));
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
        if rounds < ROUNDS_JUDGED_MIN {
            outcome.warnings.push(format!("too few rounds to judge by: {ROUNDS_JUDGED_MIN} are enough"));
            return Ok(());
        }
        if chance.is_some_and(|chance| !self.bound.holds(chance.max(1.0 / chance), chance.min(1.0 / chance))) {
            outcome.warnings.push("chance alone is beyond the bound here: this machine is too busy to tell".into());
        }
        ensure!(self.bound.holds(compared, compared), "{}: {compared:.2} ×, {}", self.states[1], self.bound.words());
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

    /// Kept results with these figures, a folder each state.
    fn kept(key: &str, states: [&[f64]; 2]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (state, values) in ["first", "second"].into_iter().zip(states) {
            let runs = folder.path().join(state).join("2026-01-31-2-cores");
            fs::create_dir_all(&runs).unwrap();
            for (round, value) in values.iter().enumerate() {
                let json = json!({ "scenario": "send", "host": {}, "passed": true, key: value });
                fs::write(runs.join(format!("{round:02}.json")), json.to_string()).unwrap();
            }
        }
        folder
    }

    fn folders(folder: &TempDir) -> Folders {
        Folders { first: folder.path().join("first"), second: folder.path().join("second") }
    }

    fn apps(states: [&[f64]; 2]) -> Outcome {
        Subject::Apps(folders(&kept("p99_ms", states))).run()
    }

    fn nodes(states: [&[f64]; 2]) -> Outcome {
        Subject::Nodes(folders(&kept("sends_per_second", states))).run()
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
        assert_eq!(slower.error.unwrap(), "the other product's logic is frozen: 1.25 ×, 1.2 × at most");
        assert!(apps([&[4.0; 4], &[1.0; 4]]).passed());
        let taxed = nodes([&[1000.0; 4], &[800.0; 4]]);
        assert_eq!(taxed.error.unwrap(), "two conn and two logic: 0.80 ×, 0.85 × at least");
        assert!(nodes([&[1000.0; 4], &[2000.0; 4]]).passed());
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
        let other = Subject::Nodes(folders(&kept("p99_ms", [&[1.0], &[1.0]]))).run();
        assert_eq!(other.error.unwrap(), "the run 00 has no sends_per_second");
        assert!(apps([&[1.0], &[]]).error.unwrap().contains("has no results"));
    }

    #[test]
    fn each_has_its_question() {
        let all = Subject::augment_subcommands(clap::Command::new(""));
        let names: Vec<_> = all.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(names, [APPS.name, NODES.name]);
        assert!(names.into_iter().all(|name| question(name).ends_with('?')));
    }
}
