//! `gim-bench`: checks and measures a running gim from outside, over its public protocol only, so that any server of that
//! protocol can be asked. Each scenario answers one question and stands in its own file under `scenario/`.
//!
//! The main thread runs the scenario, and all clients of it ([`swarm`]); gRPC runs on the one Tokio worker that [`target`]
//! owns; bare servers to compare with run in child processes ([`baseline`]).
//!
//! The modules stand on each other in this order, and each names none but those before it; `tests/source.rs` holds that:
//!
//! 1. What is counted and how, without IO: [`stats`], [`paired_run`], [`score`], [`counts`].
//! 2. This process and its machine: [`host`], [`disk`], [`part`], [`progress`], [`watch`].
//! 3. What a run ends in, and where it is kept: [`result`], [`costs`], [`kept`].
//! 4. The server and its clients: [`swarm`], [`target`], [`servers`], [`webhook`], [`backend`], [`receiver`], [`users`].
//! 5. What the server is compared with: [`baseline`].
//! 6. What all scenarios have in common, and the scenarios: [`load`], [`scenario`].
//! 7. What kept results say: [`compare`], [`report`].

mod backend;
mod baseline;
mod compare;
mod costs;
mod counts;
mod disk;
mod host;
mod kept;
mod load;
mod paired_run;
mod part;
mod progress;
mod receiver;
mod report;
mod result;
mod scenario;
mod score;
mod servers;
mod stats;
mod swarm;
mod target;
mod users;
mod watch;
mod webhook;

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
    Report(report::Arguments),
    /// Be a customer's backend that lets in the users of `--token backend`
    Backend(backend::Arguments),
    /// Be a receiver of traces that keeps none
    Receiver(receiver::Arguments),
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
        Err(error) => return result::usage(&error),
    };
    let mut outcome = match arguments.command {
        Command::Scenario(scenario) => scenario.run(),
        Command::Compare(subject) => subject.run(),
        Command::Report(arguments) => return result::say(report::write(&arguments)),
        Command::Backend(arguments) => return result::end(backend::serve(&arguments)),
        Command::Receiver(arguments) => return result::end(receiver::serve(&arguments)),
        Command::Baseline(arguments) => return result::end(baseline::serve(&arguments)),
    };
    if let Some(folder) = &arguments.keep
        && outcome.counts.is_none()
        && let Err(error) = kept::write(&outcome, folder, arguments.name.as_deref())
    {
        outcome.error.get_or_insert(format!("{error:#}"));
    }
    result::print(&outcome, arguments.json);
    if outcome.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
