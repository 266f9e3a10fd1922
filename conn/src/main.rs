//! The binary of a conn node; everything it does stands in the library.

use std::process::ExitCode;

use clap::Parser;
use gim_config::{ServiceArguments, arguments::version};

/// Said by whoever builds a package; the compiler asks again when it changes.
const COMMIT: Option<&str> = option_env!("GIM_COMMIT");

/// Holds the long connections of gim's clients.
#[derive(Debug, Parser)]
#[command(version = version(COMMIT))]
struct Arguments {
    #[command(flatten)]
    service: ServiceArguments,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    arguments.service.commit = COMMIT;
    gim_conn::run(&arguments.service)
}
