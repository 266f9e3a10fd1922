//! `gim-bench`: checks a running gim from outside, over its public protocol only, so that any server of that protocol can
//! be asked. Each scenario answers one question and stands in its own file under `scenario/`.
//!
//! The main thread runs the scenario and blocks with deadlines; gRPC runs on the one Tokio worker that [`target`] owns.

mod report;
mod scenario;
mod target;

use std::process::ExitCode;

use clap::Parser;

/// Checks a running gim from outside, over its public protocol only.
#[derive(Debug, Parser)]
#[command(name = "gim-bench", version, about)]
struct Arguments {
    /// Print one JSON object instead of a table
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    scenario: scenario::Scenario,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return report::usage(&error),
    };
    let outcome = arguments.scenario.run();
    report::print(&outcome, arguments.json);
    if outcome.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
