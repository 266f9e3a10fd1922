//! `gim-business`: users, tokens and friends. Everything it does stands in the library.

use std::process::ExitCode;

use clap::Parser as _;
use gim_config::{ServiceArguments, arguments::version};

/// Said by whoever builds a package; the compiler asks again when it changes.
const COMMIT: Option<&str> = option_env!("GIM_COMMIT");

/// Users, tokens and friends of gim: the service that a customer's own backend may replace
#[derive(Debug, clap::Parser)]
#[command(name = "gim-business", version = version(COMMIT))]
struct Arguments {
    #[command(flatten)]
    service: ServiceArguments,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    arguments.service.commit = COMMIT;
    gim_business::run(&arguments.service)
}
