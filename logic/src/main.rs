//! `gim-logic`: the logic service as a process.

use std::process::ExitCode;

use clap::Parser;
use gim_config::ServiceArguments;

/// The logic service of gim: numbers, stores and routes every message
#[derive(Debug, Parser)]
#[command(name = "gim-logic", version)]
struct Arguments {
    #[command(flatten)]
    service: ServiceArguments,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    gim_logic::run(&arguments.service)
}
