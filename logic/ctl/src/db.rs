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
        let mut rows_left: Option<i64> = None;
        for statement in database.rows_left {
            let rows = database.location.number(statement).await?;
            rows_left = rows.map(|rows| rows + rows_left.unwrap_or(0)).or(rows_left);
        }
        let words = words(progress.as_ref(), rows_left);
        is_good &= rows_left.is_none()
            && progress
                .as_ref()
                .is_some_and(|progress| progress.unknown.is_none() && progress.applied == progress.newest);
        let [applied, newest] =
            [progress.as_ref().map(|progress| progress.applied), progress.as_ref().map(|progress| progress.newest)];
        let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
        rows.push(vec![
            database.owner.name().to_owned(),
            database.location.name(),
            number(applied),
            number(newest),
            words.clone(),
        ]);
        told.push(json!({
            "service": database.owner.name(), "database": database.location.name(),
            "applied": applied, "newest": newest, "rows_left": rows_left, "is": words,
        }));
    }
    let text = table(&["service", "database", "has", "newest", "is"], &rows);
    Ok(Answer { text, json: json!({ "databases": told }), is_good })
}

/// `rows_left` are where an earlier version had them.
fn words(progress: Option<&TableProgress>, rows_left: Option<i64>) -> String {
    let words = match (progress, rows_left) {
        (None, _) => "not there yet: the service makes it when it starts",
        (Some(TableProgress { unknown: Some(_), .. }), _) => "of a newer version than this gim-ctl",
        (Some(TableProgress { applied, newest, .. }), Some(rows)) if applied == newest => {
            return format!(
                "behind: {rows} rows are where an earlier version had them; the next start, or `gim-ctl db migrate`, puts them in place"
            );
        }
        (Some(TableProgress { applied, newest, .. }), None) if applied == newest => "up to date",
        (Some(_), _) => "behind: the next start, or `gim-ctl db migrate`, brings it up to date",
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_done_is_told() {
        let progress = |applied, unknown| TableProgress { applied, newest: 150, unknown };
        assert_eq!(words(Some(&progress(150, None)), None), "up to date");
        assert!(words(Some(&progress(150, None)), Some(12)).starts_with("behind: 12 rows are where"));
        assert!(words(Some(&progress(145, None)), Some(12)).starts_with("behind: the next start"));
        assert!(words(Some(&progress(151, Some(151))), None).contains("newer"));
        assert!(words(None, None).starts_with("not there yet"));
    }
}
