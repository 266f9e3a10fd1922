//! `db`: how far the tables of logic and business are, and bringing them up to date while no service runs.

use gim_config::{
    SettingsError,
    sql::{DatabaseError, at_rest::TableProgress},
};
use serde_json::json;

use crate::{
    answer::{Answer, table},
    databases::{DatabaseArguments, OwnSettings},
};

/// What to do with them.
#[derive(Debug, clap::Subcommand)]
pub enum DbCommand {
    /// How far their tables are; services may run
    Status(DatabaseArguments),
    /// Brings their tables up to date, as a start of the services does; these have to be stopped
    Migrate(DatabaseArguments),
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The settings of a service.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// That of logic.
    #[error("logic: {0}")]
    Logic(#[from] gim_logic::StartError),
    /// That of business.
    #[error("business: {0}")]
    Business(#[from] gim_business::StartError),
}

/// Does it.
pub async fn run(command: DbCommand) -> Result<Answer, DbError> {
    match command {
        DbCommand::Status(arguments) => status(&arguments).await,
        DbCommand::Migrate(arguments) => {
            for database in arguments.databases()? {
                match database.settings {
                    OwnSettings::Logic(settings) => gim_logic::open_offline(*settings).await?.close().await,
                    OwnSettings::Business(settings) => gim_business::open_offline(*settings).await?.close().await,
                }
            }
            status(&arguments).await
        }
    }
}

/// All is well where each is there, and as its service wants it.
async fn status(arguments: &DatabaseArguments) -> Result<Answer, DbError> {
    let (mut rows, mut told, mut is_good) = (Vec::new(), Vec::new(), true);
    for database in arguments.databases()? {
        let progress = database.location.progress(&database.migrations).await?;
        let words = words(progress.as_ref());
        is_good &=
            progress.as_ref().is_some_and(|progress| progress.unknown.is_none() && progress.applied == progress.newest);
        let [applied, newest] =
            [progress.as_ref().map(|progress| progress.applied), progress.as_ref().map(|progress| progress.newest)];
        let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
        rows.push(vec![
            database.owner.name().to_owned(),
            database.location.name(),
            number(applied),
            number(newest),
            words.to_owned(),
        ]);
        told.push(json!({
            "service": database.owner.name(), "database": database.location.name(),
            "applied": applied, "newest": newest, "is": words,
        }));
    }
    let text = table(&["service", "database", "has", "newest", "is"], &rows);
    Ok(Answer { text, json: json!({ "databases": told }), is_good })
}

fn words(progress: Option<&TableProgress>) -> &'static str {
    match progress {
        None => "not there yet: the service makes it when it starts",
        Some(TableProgress { unknown: Some(_), .. }) => "of a newer version than this gim-ctl",
        Some(TableProgress { applied, newest, .. }) if applied == newest => "up to date",
        Some(_) => "behind: the next start, or `gim-ctl db migrate`, brings it up to date",
    }
}
