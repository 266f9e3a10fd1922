//! `gim-ctl`: what an operator does with what gim keeps, while the services do not run.
//!
//! - [`report`], [`progress`]: what people read while it runs and at its end.
//! - [`import_gim`]: takes over what the Go server gim kept.

mod import_gim;
mod progress;
mod report;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use gim_config::{ServiceArguments, files, settings};
use import_gim::{Options, Targets};

/// What an operator does with what gim keeps
#[derive(Debug, Parser)]
#[command(name = "gim-ctl", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Takes over from another server
    Import {
        #[command(subcommand)]
        from: From,
    },
}

#[derive(Debug, Subcommand)]
enum From {
    /// Takes over what gim (the Go server, as of December 2025) keeps in MySQL and Redis
    ///
    /// Users, devices with their tokens, friends, groups, messages, inboxes and acks come into the databases that logic.toml and
    /// business.toml name, with the ids and seqs that they have: clients go on from where they are. Stop gim before, and start logic and
    /// business afterwards. The databases have to be unused, or to hold an earlier run of this command: killed at any moment, it goes on
    /// where it was, and repeated, it changes nothing.
    Gim(GimArguments),
}

#[derive(Debug, clap::Args)]
struct GimArguments {
    /// gim's MySQL, for example mysql://root:SECRET@127.0.0.1:3306/gim. It is only read
    #[arg(long, value_name = "URL")]
    mysql: String,
    /// gim's Redis, for example redis://127.0.0.1:6379/0. It is only read
    #[arg(long, value_name = "URL")]
    redis: String,
    /// The time zone in which gim wrote its times, for example +08:00, or a name that the MySQL server knows; without it that of the server
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true)]
    time_zone: Option<String>,
    /// Settings file of logic, as the service reads it
    #[arg(long, value_name = "FILE")]
    logic_config: Option<PathBuf>,
    /// Settings file of business, as the service reads it
    #[arg(long, value_name = "FILE")]
    business_config: Option<PathBuf>,
    /// Folder for what logic and business keep, instead of the setting `data_dir` of both
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Reads and judges everything, and writes nothing
    #[arg(long)]
    dry_run: bool,
}

fn main() -> ExitCode {
    let Arguments { command: Command::Import { from: From::Gim(arguments) } } = Arguments::parse();
    files::keep_private();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(error),
    };
    let options = match options(arguments) {
        Ok(options) => options,
        Err(error) => return refuse(error),
    };
    match runtime.block_on(import_gim::run(options)) {
        Ok(report) => {
            say(&report);
            ExitCode::SUCCESS
        }
        Err(error) => refuse(error),
    }
}

fn options(arguments: GimArguments) -> Result<Options, gim_config::SettingsError> {
    let GimArguments { mysql, redis, time_zone, logic_config, business_config, data, dry_run } = arguments;
    let service = |config| ServiceArguments { config, data: data.clone(), ..ServiceArguments::default() };
    let logic = settings::load_for(&service(logic_config))?;
    let business = settings::load_for(&service(business_config))?;
    let targets = (!dry_run).then(|| Box::new(Targets { logic, business }));
    Ok(Options { mysql, redis, time_zone, targets })
}

#[allow(clippy::print_stdout)]
fn say(report: &report::Report) {
    println!("{report}");
}

#[allow(clippy::print_stderr)]
fn refuse(problem: impl std::fmt::Display) -> ExitCode {
    eprintln!("gim-ctl: {problem}");
    ExitCode::FAILURE
}
