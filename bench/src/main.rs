//! `gim-bench`: checks and measures a running gim from outside, over its public protocol only, so that any server of that
//! protocol can be asked. Each scenario answers one question and stands in its own file under `scenario/`.
//!
//! The main thread runs the scenario, and all clients of it ([`swarm`]); gRPC runs on the one Tokio worker that [`target`]
//! owns; bare servers to compare with run in child processes ([`baseline`]).

mod baseline;
mod duel;
mod host;
mod load;
mod parts;
mod progress;
mod report;
mod scenario;
mod servers;
mod stats;
mod swarm;
mod tally;
mod target;
mod users;
mod watch;

use std::process::ExitCode;

use clap::Parser;

/// Checks and measures a running gim from outside, over its public protocol only.
#[derive(Debug, Parser)]
#[command(name = "gim-bench", version, about)]
struct Arguments {
    /// Print one JSON object instead of a table
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(flatten)]
    Scenario(Box<scenario::Scenario>),
    #[command(hide = true)]
    Baseline(baseline::Arguments),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return report::usage(&error),
    };
    let scenario = match arguments.command {
        Command::Scenario(scenario) => scenario,
        Command::Baseline(arguments) => return report::end(baseline::serve(&arguments)),
    };
    let outcome = scenario.run();
    report::print(&outcome, arguments.json);
    if outcome.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
