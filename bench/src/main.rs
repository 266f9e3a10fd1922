//! `gim-bench`: checks and measures a running gim from outside, over its public protocol only, so that any server of that
//! protocol can be asked. Each scenario answers one question and stands in its own file under `scenario/`.
//!
//! The main thread runs the scenario, and all clients of it ([`swarm`]); gRPC runs on the one Tokio worker that [`target`]
//! owns; bare servers to compare with run in child processes ([`baseline`]).

mod backend;
mod baseline;
mod compare;
mod duel;
mod host;
mod keep;
mod load;
mod page;
mod parts;
mod progress;
mod report;
mod scenario;
mod score;
mod servers;
mod stats;
mod swarm;
mod tally;
mod target;
mod users;
mod watch;

use std::{path::PathBuf, process::ExitCode};

use clap::{Arg, CommandFactory as _, FromArgMatches as _, Parser};

/// Checks and measures a running gim from outside, over its public protocol only.
#[derive(Debug, Parser)]
#[command(name = "gim-bench", version, about)]
struct Arguments {
    /// Print one JSON object instead of a table
    #[arg(long, global = true)]
    json: bool,
    /// Keep the result in a folder of this day and this kind of host below DIR, for `gim-bench report`
    #[arg(long, global = true, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// The name of the kept result [default: the scenario]
    #[arg(long, global = true, value_name = "NAME", requires = "keep")]
    name: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(flatten)]
    Scenario(Box<scenario::Scenario>),
    /// Compare kept results of two states of a server, which scripts/compare makes
    #[command(subcommand)]
    Compare(compare::Subject),
    /// Turn kept results into one HTML page with plots
    Report(page::Arguments),
    /// Be a product's backend that lets in the users of `--token backend`
    Backend(backend::Arguments),
    #[command(hide = true)]
    Baseline(baseline::Arguments),
}

/// A number below 0 is a wrong value of its option, and not another option.
fn parse() -> Result<Arguments, clap::Error> {
    let accept = |argument: Arg| {
        let takes_value = argument.get_action().takes_values();
        argument.allow_negative_numbers(takes_value)
    };
    let command = Arguments::command().mut_subcommands(|command| command.mut_args(accept));
    let matches = command.try_get_matches()?;
    Arguments::from_arg_matches(&matches)
}

fn main() -> ExitCode {
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(error) => return report::usage(&error),
    };
    let mut outcome = match arguments.command {
        Command::Scenario(scenario) => scenario.run(),
        Command::Compare(subject) => subject.run(),
        Command::Report(arguments) => return report::say(page::write(&arguments)),
        Command::Backend(arguments) => return report::end(backend::serve(&arguments)),
        Command::Baseline(arguments) => return report::end(baseline::serve(&arguments)),
    };
    if let Some(folder) = &arguments.keep
        && outcome.tally.is_none()
        && let Err(error) = keep::keep(&outcome, folder, arguments.name.as_deref())
    {
        outcome.error.get_or_insert(format!("{error:#}"));
    }
    report::print(&outcome, arguments.json);
    if outcome.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
