//! What an operator does with the database while no logic node runs.

use std::process::ExitCode;

use gim_config::{ServiceArguments, data_folder::DataFolder, sql::Database};

use super::{DATABASE_FILE, StartError, claims};
use crate::{
    settings::LogicSettings,
    store::{
        self,
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
        |settings| raise_seqs(settings, by),
    )
}

/// Raises all seqs of a database that went back, and says how many. The data folder has to be nobody else's meanwhile.
pub async fn raise_seqs(settings: LogicSettings, by: u64) -> Result<String, StartError> {
    let (mut database, data_dir) = (settings.database, settings.data_dir);
    let mut _data_folder = None;
    if database.url.is_empty() {
        let file = data_dir.join(DATABASE_FILE);
        if !file.exists() {
            return Err(StartError::NoDatabase(file));
        }
        _data_folder = Some(DataFolder::take(&data_dir, "logic")?);
    }
    database.statement_timeout_ms = STATEMENT_TIMEOUT_MS;
    let database = Database::open(&database, &data_dir, DATABASE_FILE, &store::migrations()).await?;
    let _claim = claims::take_offline(&database).await?;
    let Raised { inboxes, groups, rooms } = seqs::raise(&database, by).await?;
    database.close().await;
    Ok(format!("raised the seqs of {inboxes} inboxes, {groups} groups and {rooms} rooms by {by}"))
}
