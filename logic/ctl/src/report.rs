//! What came of it: of each kind how much was found, taken and left, and why.

use std::{collections::BTreeMap, fmt};

use serde_json::{Value, json};

/// Examples of what was not taken, for each reason.
const EXAMPLES_MAX: usize = 5;

/// Of one kind of things.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    /// How many there were to look at.
    pub found: u64,
    /// How many are new here.
    pub taken: u64,
    /// How many were not taken.
    pub refused: u64,
}

/// The report, in the order in which kinds were looked at.
#[derive(Debug, Default)]
pub struct Report {
    /// Whether nothing was to be written.
    is_dry_run: bool,
    kinds: Vec<(&'static str, Counts)>,
    problems: BTreeMap<String, Problem>,
}

#[derive(Debug, Default)]
struct Problem {
    count: u64,
    examples: Vec<String>,
}

impl Report {
    /// One of a run that writes, or of a dry one, about these kinds.
    pub fn new(is_dry_run: bool, kinds: &[&'static str]) -> Self {
        let kinds = kinds.iter().map(|&kind| (kind, Counts::default())).collect();
        Self { is_dry_run, kinds, problems: BTreeMap::new() }
    }

    /// The counts of a kind.
    pub fn of(&mut self, kind: &'static str) -> &mut Counts {
        let index = self.kinds.iter().position(|(known, _)| *known == kind).unwrap_or_else(|| {
            self.kinds.push((kind, Counts::default()));
            self.kinds.len() - 1
        });
        &mut self.kinds[index].1
    }

    /// The same for programs.
    pub fn to_json(&self) -> Value {
        let kind = |(kind, Counts { found, taken, refused }): &(&str, Counts)| json!({"kind": kind, "found": found, "taken": taken, "not_taken": refused});
        let problem = |(what, problem): (&String, &Problem)| json!({"problem": what, "count": problem.count, "examples": problem.examples});
        json!({
            "is_dry_run": self.is_dry_run,
            "kinds": self.kinds.iter().map(kind).collect::<Vec<_>>(),
            "problems": self.problems.iter().map(problem).collect::<Vec<_>>(),
        })
    }

    /// Something of a kind was not taken.
    pub fn refuse(&mut self, kind: &'static str, why: &str, which: impl fmt::Display) {
        self.of(kind).refused += 1;
        self.note(&format!("{kind}: not taken: {why}"), which);
    }

    /// Something that whoever reads it should know.
    pub fn note(&mut self, what: &str, which: impl fmt::Display) {
        let problem = self.problems.entry(what.to_owned()).or_default();
        problem.count += 1;
        if problem.examples.len() < EXAMPLES_MAX {
            problem.examples.push(which.to_string());
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = if self.is_dry_run { "to take" } else { "taken now" };
        writeln!(formatter, "{:<24}{:>14}{taken:>14}{:>14}{:>14}", "", "found", "there before", "not taken")?;
        for (kind, Counts { found, taken, refused }) in &self.kinds {
            let before = found.saturating_sub(taken + refused);
            writeln!(formatter, "{kind:<24}{found:>14}{taken:>14}{before:>14}{refused:>14}")?;
        }
        for (what, Problem { count, examples }) in &self.problems {
            let more = if *count > examples.len() as u64 { ", …" } else { "" };
            writeln!(formatter, "{what}: {count} ({}{more})", examples.join(", "))?;
        }
        let end =
            if self.is_dry_run { "This was a dry run: nothing was written." } else { "Everything else was taken." };
        formatter.write_str(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_everything_and_names_a_few() {
        let mut report = Report::default();
        *report.of("users") = Counts { found: 10, taken: 2, refused: 0 };
        for user_id in 1..=7 {
            report.refuse("users", "the phone number is taken", format!("user {user_id}"));
        }
        let text = report.to_string();
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["users", "10", "2", "1", "7"]);
        let problem = "users: not taken: the phone number is taken: 7 (user 1, user 2, user 3, user 4, user 5, …)";
        assert!(text.contains(problem), "{text}");
    }
}
