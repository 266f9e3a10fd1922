//! `gim-business`: users, tokens and friends. Everything it does stands in the library.

use std::process::ExitCode;

use clap::Parser as _;
use gim_config::ServiceArguments;

/// Users, tokens and friends of gim: the service that a customer's own backend may replace
#[derive(Debug, clap::Parser)]
#[command(name = "gim-business", version)]
struct Arguments {
    #[command(flatten)]
    service: ServiceArguments,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    gim_business::run(&arguments.service)
}
