//! `gim-logic`: the logic service as a process, and what is done with its database while none runs.

use std::process::ExitCode;

use clap::Parser;
use gim_config::{ServiceArguments, arguments::version};
use gim_logic::store::seqs::SEQ_MAX;

/// Said by whoever builds a package; the compiler asks again when it changes.
const COMMIT: Option<&str> = option_env!("GIM_COMMIT");

/// The logic service of gim: numbers, stores and routes every message
#[derive(Debug, Parser)]
#[command(name = "gim-logic", version = version(COMMIT))]
struct Arguments {
    #[command(flatten)]
    service: ServiceArguments,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// After the database went back (a backup was put back, or a server took over that had not heard of everything): raises the
    /// seqs of all inboxes, groups and rooms beyond what any client can have, and ends. Stop all logic nodes before
    RaiseSeqs {
        /// How much: more than any user, group or room had messages since the state that is there now
        #[arg(long, value_name = "N", default_value_t = 100_000_000, value_parser = clap::value_parser!(u64).range(1..=SEQ_MAX))]
        by: u64,
    },
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    arguments.service.commit = COMMIT;
    match arguments.command {
        None => gim_logic::run(&arguments.service),
        Some(Command::RaiseSeqs { by }) => gim_logic::run_raising_seqs(&arguments.service, by),
    }
}
