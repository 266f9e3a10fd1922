//! The scenarios, one question each. A scenario is a file with its arguments and a `run` that ends in an [`Outcome`].

mod smoke;

use clap::Subcommand;

use crate::report::Outcome;

/// Which question to ask.
#[derive(Debug, Subcommand)]
pub enum Scenario {
    /// Does every message arrive, once, in order, with the right seq?
    Smoke(smoke::Arguments),
}

impl Scenario {
    /// Asks it.
    pub fn run(&self) -> Outcome {
        match self {
            Self::Smoke(arguments) => smoke::run(arguments),
        }
    }
}
