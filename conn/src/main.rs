//! The binary of a conn node; everything it does stands in the library.

use std::process::ExitCode;

use clap::Parser;
use gim_config::ServiceArguments;

/// Holds the long connections of gim's clients.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    service: ServiceArguments,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    gim_conn::run(&arguments.service)
}
