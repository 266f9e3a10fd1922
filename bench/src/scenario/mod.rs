//! The scenarios, one question each. A scenario is a file with its arguments and a `run` that ends in an [`Outcome`].

mod call;
mod chats;
mod conversations;
mod echo;
mod events;
mod fairness;
mod files;
mod group;
mod idle;
mod mixed;
mod paired_with_database;
mod push;
mod restart;
mod room;
mod send;
mod signin;
mod slow;
mod smoke;
mod sync;

use clap::Subcommand;

use crate::{load, result::Outcome};

/// Which question to ask.
#[derive(Debug, Subcommand)]
pub enum Scenario {
    /// Does every message arrive, once, in order, with the right seq?
    Smoke(smoke::Arguments),
    /// How long does a heartbeat take, there and back, and how many fit into a second?
    Echo(echo::Arguments),
    /// How many calls fit into a second, and how long does each take?
    Call(call::Arguments),
    /// How long does a list of conversations take of a user who has very many?
    Conversations(conversations::Arguments),
    /// Does a webhook that fails, goes away and is killed hear of everything, in order?
    Events(events::Arguments),
    /// Does one user who takes all that can be had cost the others anything?
    Fairness(fairness::Arguments),
    /// How fast do files come and go, and what do many at once cost?
    Files(files::Arguments),
    /// How fast does a message reach the inbox of everybody in a group?
    Group(group::Arguments),
    /// What does a connection cost that says nothing?
    Idle(idle::Arguments),
    /// How does it stand when everything goes on at once: heartbeats, chats, rooms, people who come and go?
    Mixed(mixed::Arguments),
    /// How soon is a device woken that is away, and is every other left alone?
    Push(push::Arguments),
    /// What do people notice when nodes restart?
    Restart(restart::Arguments),
    /// How fast does a message reach all members of a room, and how many such deliveries fit into a second?
    Room(room::Arguments),
    /// How many durable messages from user to user fit into a second, and how long does each take?
    Send(send::Arguments),
    /// How fast can everybody come back?
    Signin(signin::Arguments),
    /// How fast does a device catch up that was away?
    Sync(sync::Arguments),
    /// Does a client that stopped reading cost the others anything?
    Slow(slow::Arguments),
}

/// The question of a scenario, from its name; empty where there is none of this name.
pub fn question(name: &str) -> String {
    let all = Scenario::augment_subcommands(clap::Command::new(""));
    let about = all.find_subcommand(name).and_then(clap::Command::get_about);
    about.map(ToString::to_string).unwrap_or_default()
}

impl Scenario {
    /// Asks it.
    pub fn run(&self) -> Outcome {
        match self {
            Self::Smoke(arguments) => smoke::run(arguments),
            Self::Echo(arguments) => load::run(arguments),
            Self::Call(arguments) => load::run(arguments),
            Self::Conversations(arguments) => load::run(arguments),
            Self::Events(arguments) => events::run(arguments),
            Self::Fairness(arguments) => load::run(arguments),
            Self::Files(arguments) => load::run(arguments),
            Self::Group(arguments) => load::run(arguments),
            Self::Mixed(arguments) => load::run(arguments),
            Self::Idle(arguments) => load::run(arguments),
            Self::Push(arguments) => push::run(arguments),
            Self::Restart(arguments) => load::run(arguments),
            Self::Room(arguments) => load::run(arguments),
            Self::Send(arguments) => load::run(arguments),
            Self::Signin(arguments) => load::run(arguments),
            Self::Sync(arguments) => load::run(arguments),
            Self::Slow(arguments) => load::run(arguments),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn the_question_of_a_scenario_stands_in_its_file_and_its_help() {
        let all = Scenario::augment_subcommands(clap::Command::new(""));
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/scenario");
        for scenario in all.get_subcommands() {
            let name = scenario.get_name();
            let places = [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")];
            let text = places.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap();
            let first = text.lines().next().unwrap().trim_start_matches("//! ");
            assert_eq!(first, question(name));
        }
    }

    #[test]
    fn the_readme_has_each_scenario_with_its_question() {
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let text = fs::read_to_string(readme).unwrap();
        let all = Scenario::augment_subcommands(clap::Command::new(""));
        for name in all.get_subcommands().map(clap::Command::get_name) {
            let row = format!("| `gim-bench {name}` | {} |", question(name));
            assert!(text.contains(&row), "bench/README.md lacks {row}");
        }
    }
}
