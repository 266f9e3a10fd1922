//! `gim-business`: users, tokens and friends. Everything it does stands in the library.

use std::process::ExitCode;

use clap::Parser as _;
use gim_business::BusinessSettings;
use gim_config::{ServiceArguments, service};

/// Users, tokens and friends of gim: the service that a product may replace by its own
#[derive(Debug, clap::Parser)]
#[command(name = "gim-business", version)]
struct Arguments {
    #[command(flatten)]
    service: ServiceArguments,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    service::run(&arguments.service, |settings: &BusinessSettings| &settings.log, gim_business::start)
}
