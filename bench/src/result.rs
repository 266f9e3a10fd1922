//! What a scenario found, and the only place that prints: a table for people, one JSON object for machines.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what this module is for")]

use std::{
    fmt::Debug,
    io::{self, Write as _},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::anyhow;
use clap::error::ErrorKind;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{counts::Counts, host, part, stats::Latencies};

/// Cells of the table are cut at this many characters; JSON has them whole.
const CELL_CHARS_MAX: usize = 56;

/// One thing that was expected and what came instead.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// In words.
    pub what: String,
    /// What the protocol promises.
    pub expected: String,
    /// What the server did.
    pub got: String,
    /// Whether the two agree.
    pub ok: bool,
}

/// The checks of one scenario, in the order they were made.
#[derive(Debug, Default)]
pub struct Checks {
    rows: Vec<Check>,
}

impl Checks {
    /// Notes what was expected and what came.
    pub fn equal<T: PartialEq + Debug>(&mut self, what: impl Into<String>, expected: T, got: T) {
        let ok = expected == got;
        self.rows.push(Check { what: what.into(), expected: format!("{expected:?}"), got: format!("{got:?}"), ok });
    }

    /// As [`Checks::equal`], for something that may not have come at all.
    pub fn arrives<T: PartialEq + Debug>(&mut self, what: impl Into<String>, expected: T, got: Option<T>) {
        let ok = got.as_ref() == Some(&expected);
        let got = got.map_or_else(|| "nothing came".to_owned(), |got| format!("{got:?}"));
        self.rows.push(Check { what: what.into(), expected: format!("{expected:?}"), got, ok });
    }

    /// Notes something that is right or wrong as a whole, in words.
    pub fn holds(&mut self, what: impl Into<String>, expected: impl Into<String>, got: impl Into<String>, ok: bool) {
        self.rows.push(Check { what: what.into(), expected: expected.into(), got: got.into(), ok });
    }

    /// Those that did not come out as expected.
    pub fn failed(&self) -> usize {
        self.rows.iter().filter(|check| !check.ok).count()
    }
}

/// What a scenario measured, in the order of the table.
#[derive(Debug, Default)]
pub struct Figures {
    rows: Vec<(&'static str, Value, String)>,
}

impl Figures {
    /// Adds a count.
    pub fn count(&mut self, key: &'static str, value: u64, words: impl Into<String>) {
        self.rows.push((key, value.into(), words.into()));
    }

    /// Adds what was counted, where it was.
    pub fn counted(&mut self, counts: &Counts, keys: &[(&'static str, &'static str)]) {
        for &(key, words) in keys {
            if counts.get(key).is_some() {
                self.count(key, counts.count(key), words);
            }
        }
    }

    /// Adds a measure, where there is one; four digits of it are kept.
    pub fn measure(&mut self, key: &'static str, value: impl Into<Option<f64>>, words: impl Into<String>) {
        if let Some(value) = value.into() {
            self.rows.push((key, rounded(value).into(), words.into()));
        }
    }

    /// Adds the time that a share of all stays within, where there are any; the key ends with its unit.
    pub fn within(&mut self, key: &'static str, latencies: &Latencies, share: f64, words: impl Into<String>) {
        let time = if key.ends_with("_us") { latencies.us(share) } else { latencies.ms(share) };
        self.measure(key, (latencies.count() > 0).then_some(time), words);
    }

    /// Loads that were offered, in words, each with what was achieved of it.
    pub fn loads(&self) -> impl Iterator<Item = (&str, f64, f64)> {
        self.rows.iter().filter_map(|(key, offered, words)| {
            let achieved = match key.strip_suffix("offered_per_second")? {
                "" => "achieved_per_second".to_owned(),
                what => format!("{what}per_second"),
            };
            let (_, achieved, _) = self.rows.iter().find(|(other, ..)| *other == achieved)?;
            Some((words.as_str(), offered.as_f64()?, achieved.as_f64()?))
        })
    }

    /// All of them, a line each.
    pub fn table(&self) -> String {
        let width = self.rows.iter().map(|(_, _, words)| words.chars().count()).max().unwrap_or(0);
        self.rows.iter().map(|(_, value, words)| format!("{words:<width$}  {value}\n")).collect()
    }
}

/// Four digits, and all of those before the point.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let decimals = (3 - value.abs().log10().floor() as i32).clamp(0, 9);
    let scale = 10f64.powi(decimals);
    (value * scale).round() / scale
}

/// The end of a scenario.
#[derive(Debug)]
pub struct Outcome {
    /// Which scenario.
    pub scenario: &'static str,
    /// What it was asked to do, as JSON.
    pub config: Value,
    /// What it checked, as far as it came.
    pub checks: Checks,
    /// What it measured, as far as it came.
    pub figures: Figures,
    /// What to know about the figures, a sentence each.
    pub warnings: Vec<String>,
    /// The sentence that says why it ended early, or what is wrong with its result.
    pub error: Option<String>,
    /// How long it took.
    pub elapsed: Duration,
    /// Latencies as curves, for plots.
    pub curves: Value,
    /// Memory and CPU of the server while it went on, for plots.
    pub timeline: Value,
    /// In a part of a run: what the leading process adds up.
    pub counts: Option<Value>,
}

impl Outcome {
    /// Of a run that began then and ended so; what it found goes beside it.
    pub fn of(scenario: &'static str, config: Value, began: Instant, ended: anyhow::Result<()>) -> Self {
        Self {
            scenario,
            config,
            checks: Checks::default(),
            figures: Figures::default(),
            warnings: Vec::new(),
            error: ended.err().map(|error| format!("{error:#}")),
            elapsed: began.elapsed(),
            curves: Value::Null,
            timeline: Value::Null,
            counts: None,
        }
    }

    /// Whether everything was done and came out as expected.
    pub fn passed(&self) -> bool {
        self.error.is_none() && self.checks.failed() == 0
    }

    /// For machines.
    pub fn to_json(&self) -> Value {
        let mut json = json!({
            "scenario": self.scenario,
            "config": self.config,
            "host": host::to_json(),
            "commit": host::COMMIT,
            "passed": self.passed(),
            "warnings": self.warnings,
            "error": self.error,
            "seconds": rounded(self.elapsed.as_secs_f64()),
        });
        for (key, value) in [("latency_curves_ms", &self.curves), ("timeline", &self.timeline)] {
            if value.as_object().is_some_and(|curves| !curves.is_empty())
                || value.as_array().is_some_and(|all| !all.is_empty())
            {
                json[key] = value.clone();
            }
        }
        for (key, value, _) in &self.figures.rows {
            json[*key] = value.clone();
        }
        if !self.checks.rows.is_empty() {
            json["failed_checks"] = self.checks.failed().into();
            json["checks"] = json!(self.checks.rows);
        }
        json
    }

    /// What its figures are called, in the order of the table.
    pub fn labels(&self) -> Value {
        self.figures.rows.iter().map(|(key, _, words)| json!([key, words])).collect::<Vec<_>>().into()
    }

    /// For people; empty where it did not come far enough to have found anything.
    fn to_text(&self) -> String {
        let mut text = String::new();
        if !self.checks.rows.is_empty() {
            text += &format!("{}{}\n", table(&self.checks.rows), self.verdict());
        }
        if !self.figures.rows.is_empty() {
            text += &self.figures.table();
        }
        text
    }

    fn verdict(&self) -> String {
        let checks = self.checks.rows.len();
        let seconds = self.elapsed.as_secs_f64();
        match self.checks.failed() {
            0 if self.error.is_some() => format!("{}: ended early, after {checks} checks that passed", self.scenario),
            0 => format!("{}: {checks} checks passed in {seconds:.1} s", self.scenario),
            failed => format!("{}: {failed} of {checks} checks FAILED in {seconds:.1} s", self.scenario),
        }
    }
}

/// Prints an outcome on standard output; the sentence of an early end goes to standard error.
pub fn print(outcome: &Outcome, as_json: bool) {
    if let Some(counts) = &outcome.counts {
        return part::say(&json!({ "counts": counts, "warnings": outcome.warnings, "error": outcome.error }));
    }
    let text = if as_json { format!("{}\n", outcome.to_json()) } else { outcome.to_text() };
    if let Err(error) = io::stdout().write_all(text.as_bytes())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        eprintln!("gim-bench: cannot print the result: {error}");
    }
    for warning in &outcome.warnings {
        eprintln!("gim-bench: note: {warning}");
    }
    if let Some(error) = &outcome.error {
        eprintln!("gim-bench: {error}");
    }
}

/// The exit code of what has no result; the sentence of its failure goes to standard error.
pub fn end(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gim-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a sentence, or why there is none.
pub fn say(sentence: anyhow::Result<String>) -> ExitCode {
    end(sentence.and_then(|sentence| match writeln!(io::stdout(), "{sentence}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }))
}

/// Prints what is wrong with the command line; help and version are no errors.
pub fn usage(error: &clap::Error) -> ExitCode {
    let text = error.to_string();
    if !error.use_stderr() {
        // Without its line break, which `say` adds.
        return say(Ok(text.trim_end().to_owned()));
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        eprint!("{text}");
        return ExitCode::FAILURE;
    }
    let sentence = format!("{} (--help tells more)", first_paragraph(&text));
    if std::env::args().any(|argument| argument == "--json") {
        println!("{}", json!({ "passed": false, "error": sentence }));
    }
    end(Err(anyhow!(sentence)))
}

/// Without what clap says further, which is part of the help.
fn first_paragraph(text: &str) -> String {
    let lines = text.trim_start_matches("error: ").lines().take_while(|line| !line.trim().is_empty());
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

fn table(rows: &[Check]) -> String {
    let head = ["what", "expected", "got", "ok"].map(str::to_owned);
    let body = rows.iter().map(|check| {
        let ok = if check.ok { "ok" } else { "WRONG" };
        [check.what.clone(), cut(&check.expected), cut(&check.got), ok.to_owned()]
    });
    let lines: Vec<[String; 4]> = std::iter::once(head).chain(body).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let line = |[what, expected, got, ok]: &[String; 4]| {
        format!("{what:<0$}  {expected:<1$}  {got:<2$}  {ok}\n", widths[0], widths[1], widths[2])
    };
    lines.iter().map(line).collect()
}

fn cut(cell: &str) -> String {
    match cell.char_indices().nth(CELL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &cell[..end]),
        None => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let mut checks = Checks::default();
        checks.equal("seq", 1, 1);
        checks.equal("a longer name", "x".repeat(CELL_CHARS_MAX + 1), "y".into());
        Outcome {
            scenario: "smoke",
            config: json!({}),
            checks,
            figures: Figures::default(),
            warnings: Vec::new(),
            error: None,
            elapsed: Duration::from_millis(1500),
            curves: Value::Null,
            timeline: Value::Null,
            counts: None,
        }
    }

    #[test]
    fn the_columns_line_up_and_long_cells_are_cut() {
        let text = table(&outcome().checks.rows);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        let column = lines[0].find("expected").unwrap();
        assert_eq!(lines[1].find('1'), Some(column));
        assert!(lines[2].contains('…') && lines[2].ends_with("WRONG"));
    }

    #[test]
    fn one_difference_fails_the_scenario() {
        let mut outcome = outcome();
        assert!(!outcome.passed());
        assert_eq!(outcome.verdict(), "smoke: 1 of 2 checks FAILED in 1.5 s");
        assert_eq!(outcome.to_json()["failed_checks"], 1);
        outcome.checks.rows.truncate(1);
        assert!(outcome.passed());
        outcome.error = Some("the server went away".into());
        assert!(!outcome.passed());
        assert_eq!(outcome.verdict(), "smoke: ended early, after 1 checks that passed");
    }

    #[test]
    fn offered_loads_have_what_was_achieved_beside_them() {
        let mut figures = Figures::default();
        figures.measure("achieved_per_second", 90.0, "");
        figures.measure("offered_per_second", 100.0, "sends");
        figures.measure("deliveries_per_second", 7.0, "");
        figures.measure("deliveries_offered_per_second", 8.0, "deliveries");
        figures.measure("heartbeats_offered_per_second", 8.0, "of which none was measured");
        assert_eq!(figures.loads().collect::<Vec<_>>(), [("sends", 100.0, 90.0), ("deliveries", 8.0, 7.0)]);
    }

    #[test]
    fn a_wrong_command_line_is_one_sentence() {
        let text =
            "error: invalid value 'x' for '--transport <TRANSPORT>'\n  [possible values: tcp, ws]\n\n  tip: no\n";
        assert_eq!(first_paragraph(text), "invalid value 'x' for '--transport <TRANSPORT>' [possible values: tcp, ws]");
    }

    #[test]
    fn figures_are_keys_of_the_result_and_lines_of_the_table() {
        let mut figures = Figures::default();
        figures.count("lost", 0, "messages lost");
        figures.measure("p99_ms", 1.23456, "99 % within (ms)");
        figures.within("p50_us", &Latencies::default(), 0.5, "none was measured");
        figures.measure("ratio", None::<f64>, "nothing to compare with");
        assert_eq!(figures.table(), "messages lost     0\n99 % within (ms)  1.235\n");
        let outcome = Outcome { figures, ..outcome() };
        assert_eq!((&outcome.to_json()["lost"], &outcome.to_json()["p99_ms"]), (&json!(0), &json!(1.235)));
        assert_eq!([123_456.7, 0.000_123_44, f64::NAN].map(rounded), [123_457.0, 0.000_123_4, 0.0]);
    }
}
