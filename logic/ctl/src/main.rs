//! `gim-ctl`: what an operator asks of running services, and does with what they keep.
//!
//! - [`answer`]: what a command found, for people and for programs; [`report`], [`progress`]: what people read of long ones.
//! - [`remote`], [`service_files`]: the running services, and their settings files.
//! - [`status`], `top`, [`nodes`], [`drain`], [`reload`], [`users`], [`groups`], [`rooms`], [`words`], [`push`], [`events`], [`config_check`], [`config_show`]: one command each.
//! - [`databases`], [`manifest`]: what logic and business keep, and what a backup of it holds; [`db`], [`backup`], [`restore`]: one command
//!   each.
//! - [`import_gim`]: takes over what the Go server gim kept.
//! - [`shell`]: completions and the manual.
//!
//! Always holds: a command that fails prints one sentence, ends with exit code 1, and has done either nothing or what its sentence says.

mod answer;
mod backup;
mod config_check;
mod config_show;
mod databases;
mod db;
mod drain;
mod events;
mod groups;
mod import_gim;
mod manifest;
mod nodes;
mod progress;
mod push;
mod reload;
mod remote;
mod report;
mod restore;
mod rooms;
mod service_files;
mod shell;
mod status;
#[cfg(feature = "top")]
mod top;
mod users;
mod words;

use std::{fmt::Display, io::Write as _, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};
use gim_config::{arguments::version, files};

use self::{
    answer::Answer,
    import_gim::{Options, Targets},
    service_files::SettingsFiles,
};

/// Said by whoever builds a package; the compiler asks again when it changes.
const COMMIT: Option<&str> = option_env!("GIM_COMMIT");

/// What an operator asks of gim, and does with what it keeps
///
/// The exit code is 0 where all is well. Otherwise it is 1, and one sentence on standard error says why; wrong arguments are 2.
#[derive(Debug, Parser)]
#[command(name = "gim-ctl", version = version(COMMIT))]
struct Arguments {
    /// Prints JSON instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What runs, whether it is ready, and how much of it there is
    Status(status::Admins),
    /// What services do at this moment, on a screen that is drawn anew; q leaves
    #[cfg(feature = "top")]
    Top(top::TopArguments),
    /// The conn nodes, where clients reach them, and how full they are
    Nodes(nodes::NodesArguments),
    /// Has a conn node send its clients away and end, and waits until it is gone
    Drain(drain::DrainArguments),
    /// Has services read their settings again, and tells what holds now and what needs a restart
    Reload(reload::ReloadArguments),
    /// Who a user is and where connected; and an end to connections and tokens
    #[command(subcommand)]
    Users(users::UsersCommand),
    /// What a group is, and who is in it
    Groups(groups::GroupsArguments),
    /// How many connections are in rooms
    Rooms(rooms::RoomsArguments),
    /// The lists of words that users may not say, of those that are put by calls
    #[command(subcommand)]
    Words(words::WordsCommand),
    /// A message to the users in a file; stopped, it goes on where it was
    Push(push::PushArguments),
    /// How far the telling of events is; has it stand still, go on, or tell once more
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// Settings files: what is wrong with them, and what they say
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The tables of logic and business
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Copies the databases of logic and business, which may run meanwhile
    ///
    /// Of a MariaDB or MySQL nothing is copied: the command that does it is printed, and the exit code is 1.
    Backup(backup::BackupArguments),
    /// Puts a backup in the place of the databases, while no service runs
    Restore(restore::RestoreArguments),
    /// Takes over from another server
    Import {
        #[command(subcommand)]
        from: From,
    },
    /// Prints the script by which a shell completes these commands
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Prints the manual page, as for /usr/local/share/man/man1/gim-ctl.1
    Man,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Everything that is wrong with settings files, each with its line
    Check(config_check::CheckArguments),
    /// What a service would start with; secrets are hidden
    Show(config_show::ShowArguments),
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
    #[command(flatten)]
    files: SettingsFiles,
    /// Reads and judges everything, the databases that it would come into as well, and writes nothing
    #[arg(long)]
    dry_run: bool,
}

fn main() -> ExitCode {
    let Arguments { json, command } = Arguments::parse();
    files::keep_private();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(error),
    };
    match runtime.block_on(run(command)) {
        Ok(Said::Answer(Answer { text, json: told, is_good })) => {
            let code = say(if json { told.to_string() } else { text }.as_bytes(), b"\n");
            if is_good { code } else { ExitCode::FAILURE }
        }
        Ok(Said::Text(text)) => say(&text, b""),
        Err(error) => refuse(error),
    }
}

/// What a command ends with.
enum Said {
    Answer(Answer),
    /// Another program reads it.
    Text(Vec<u8>),
}

async fn run(command: Command) -> Result<Said, Box<dyn Display>> {
    let answer = match command {
        Command::Status(arguments) => status::run(&arguments).map_err(boxed)?,
        #[cfg(feature = "top")]
        Command::Top(arguments) => top::run(&arguments).map_err(boxed)?,
        Command::Nodes(arguments) => nodes::run(&arguments).await.map_err(boxed)?,
        Command::Drain(arguments) => drain::run(&arguments).await.map_err(boxed)?,
        Command::Reload(arguments) => reload::run(&arguments).map_err(boxed)?,
        Command::Users(command) => users::run(command).await.map_err(boxed)?,
        Command::Words(command) => words::run(command).await.map_err(boxed)?,
        Command::Groups(arguments) => groups::run(&arguments).await.map_err(boxed)?,
        Command::Rooms(arguments) => rooms::run(&arguments).await.map_err(boxed)?,
        Command::Push(arguments) => push::run(&arguments).await.map_err(boxed)?,
        Command::Events(command) => events::run(command).await.map_err(boxed)?,
        Command::Config(ConfigCommand::Check(arguments)) => config_check::run(&arguments).map_err(boxed)?,
        Command::Config(ConfigCommand::Show(arguments)) => config_show::run(&arguments).map_err(boxed)?,
        Command::Db(command) => db::run(command).await.map_err(boxed)?,
        Command::Backup(arguments) => backup::run(&arguments).await.map_err(boxed)?,
        Command::Restore(arguments) => restore::run(&arguments).await.map_err(boxed)?,
        Command::Import { from: From::Gim(arguments) } => {
            let report = import_gim::run(options(arguments).map_err(boxed)?).await.map_err(boxed)?;
            Answer::good(report.to_string(), report.to_json())
        }
        Command::Completions { shell } => return Ok(Said::Text(shell::completions(Arguments::command(), shell))),
        Command::Man => return shell::man_page(&Arguments::command()).map(Said::Text).map_err(boxed),
    };
    Ok(Said::Answer(answer))
}

fn boxed(error: impl Display + 'static) -> Box<dyn Display> {
    Box::new(error)
}

fn options(arguments: GimArguments) -> Result<Options, gim_config::SettingsError> {
    let GimArguments { mysql, redis, time_zone, files, dry_run } = arguments;
    let targets = Box::new(Targets { logic: files.logic()?, business: files.business()? });
    Ok(Options { mysql, redis, time_zone, targets, is_dry_run: dry_run })
}

/// Whoever reads us may have seen enough, and be gone.
fn say(text: &[u8], end: &[u8]) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.write_all(end)).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => refuse(error),
    }
}

#[allow(clippy::print_stderr)]
fn refuse(problem: impl Display) -> ExitCode {
    eprintln!("gim-ctl: {problem}");
    ExitCode::FAILURE
}
