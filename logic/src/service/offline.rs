//! What an operator does with the database while no logic node runs.

use std::process::ExitCode;

use gim_config::{
    ServiceArguments,
    data_folder::DataFolder,
    sql::{Claim, Database, at_rest::Location},
};

use super::{DATABASE_FILE, StartError, claims, take_folder, upgrading};
use crate::{
    settings::LogicSettings,
    store::{
        self, Store,
        seqs::{self, Raised},
    },
};

/// A statement over a whole table takes as long as it takes.
const STATEMENT_TIMEOUT_MS: u64 = 86_400_000;

/// [`raise_seqs`], from the command line to the exit code.
pub fn run_raising_seqs(arguments: &ServiceArguments, by: u64) -> ExitCode {
    gim_config::service::run_once(
        arguments,
        |settings: &LogicSettings| &settings.log,
        |settings| raise_what_was_restored(settings, by),
    )
}

/// As [`raise_seqs`], for somebody who may not have put the backup back.
async fn raise_what_was_restored(settings: LogicSettings, by: u64) -> Result<String, StartError> {
    let location = Location::new(&settings.database, &settings.data_dir, DATABASE_FILE)?;
    if location.file.as_ref().is_none_or(|file| file.exists()) && !holds_seqs(&location).await? {
        return Err(StartError::NothingKept(location.name()));
    }
    raise_seqs(settings, by).await
}

/// Whether anybody has a seq. Tables that are not there are not made, as those of the backup come in their place.
async fn holds_seqs(location: &Location) -> Result<bool, StartError> {
    for statement in seqs::GIVEN {
        if location.number(statement).await?.unwrap_or(0) > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Raises all seqs of a database that went back, and says how many. The data folder has to be nobody else's meanwhile.
pub async fn raise_seqs(settings: LogicSettings, by: u64) -> Result<String, StartError> {
    match Location::new(&settings.database, &settings.data_dir, DATABASE_FILE)?.file {
        Some(file) if !file.exists() => return Err(StartError::NoDatabase(file)),
        _ => {}
    }
    let offline = open_offline(settings).await?;
    let Raised { inboxes, groups, rooms } = seqs::raise(&offline.store.database, by).await?;
    offline.close().await;
    Ok(format!("raised the seqs of {inboxes} inboxes, {groups} groups and {rooms} rooms by {by}"))
}

/// The tables of logic while no logic node runs, nor may start.
#[derive(Debug)]
pub struct Offline {
    /// The tables.
    pub store: Store,
    _data_folder: Option<DataFolder>,
    _claim: Option<Claim>,
}

impl Offline {
    /// Closes the database; nodes may start from then on.
    pub async fn close(self) {
        self.store.database.close().await;
    }
}

/// Opens the tables that the settings name, and makes them where they are not there. Refuses where a logic node runs.
pub async fn open_offline(settings: LogicSettings) -> Result<Offline, StartError> {
    let (mut database, data_dir) = (settings.database, settings.data_dir);
    let data_folder = take_folder(&database, &data_dir)?;
    database.statement_timeout_ms = STATEMENT_TIMEOUT_MS;
    let database = Database::open(&database, &data_dir, DATABASE_FILE, &store::migrations()).await?;
    let claim = claims::take_offline(&database).await?;
    if claim.as_ref().is_some_and(|claim| !claim.is_held()) {
        let problem = "the database server does not say whether a gim-logic uses it: try again";
        return Err(StartError::DatabaseInUse(problem.to_owned()));
    }
    upgrading::run(&database).await?;
    Ok(Offline { store: Store::new(database), _data_folder: data_folder, _claim: claim })
}
