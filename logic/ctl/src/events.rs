//! `events`: how far the telling of events is, and having it stand still, go on, or tell once more. It asks the database of logic, whose
//! nodes look there; they may run or not.

use gim_config::{
    SettingsError,
    sql::{Database, DatabaseError, at_rest::Location},
};
use gim_logic::{
    DATABASE_FILE,
    domain::{clock, message_id},
    events::WALK,
    store::{self, Store, StoreError, walks::WalkRow},
};
use serde_json::json;

use crate::{answer::Answer, service_files::SettingsFiles};

/// A number of so many digits is a time, in milliseconds or seconds; a longer one is an id.
const TIME_DIGITS_MAX: usize = 13;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum EventsCommand {
    /// How far the telling of events is
    Status(SettingsFiles),
    /// Has it stand still; nothing is lost as long as retention waits for it
    Pause(SettingsFiles),
    /// Has it go on
    Resume(SettingsFiles),
    /// Tells what happened from a time or a message on, once more or without what lies between
    Replay(ReplayArguments),
}

/// From where on.
#[derive(Debug, clap::Args)]
pub struct ReplayArguments {
    /// A Unix time in seconds or milliseconds, or the id of the first message
    #[arg(long, value_name = "TIME|ID")]
    from: u64,
    #[command(flatten)]
    files: SettingsFiles,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The settings of logic.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The database of logic.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// It failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This command would change its tables.
    #[error("the tables of {0} are not as this version of gim-ctl wants them; gim-ctl db status tells more")]
    OtherTables(String),
    /// A walk that is sent there would tell nothing, and ids of messages would begin behind it.
    #[error("--from: {0} is neither a Unix time nor the id of a message that has come")]
    NotYet(u64),
    /// Nothing was ever told.
    #[error("no event was ever told: events.webhook is not set, or logic has not run since")]
    NeverBegun,
}

/// Does it.
pub async fn run(command: EventsCommand) -> Result<Answer, EventsError> {
    match command {
        EventsCommand::Status(files) => with_store(&files, async |_| Ok(true)).await,
        EventsCommand::Pause(files) => with_store(&files, async |store| store.walks.pause(WALK, true).await).await,
        EventsCommand::Resume(files) => with_store(&files, async |store| store.walks.pause(WALK, false).await).await,
        EventsCommand::Replay(ReplayArguments { from, files }) => {
            let first_id = first_id(from, clock::now_ms()).ok_or(EventsError::NotYet(from))?;
            with_store(&files, async |store| store.walks.replay(WALK, first_id.saturating_sub(1)).await).await
        }
    }
}

/// Does something, and says how it stands then.
async fn with_store(
    files: &SettingsFiles,
    change: impl AsyncFnOnce(&Store) -> Result<bool, StoreError>,
) -> Result<Answer, EventsError> {
    let settings = files.logic()?;
    let migrations = store::migrations();
    let location = Location::new(&settings.database, &settings.data_dir, DATABASE_FILE);
    let location = location.map_err(|error| SettingsError::Invalid(error.to_string()))?;
    let progress = location.progress(&migrations).await?;
    if !progress.is_some_and(|progress| progress.unknown.is_none() && progress.applied == progress.newest) {
        return Err(EventsError::OtherTables(location.name()));
    }
    let store = Store::new(Database::open(&settings.database, &settings.data_dir, DATABASE_FILE, &migrations).await?);
    let changed = change(&store).await;
    let row = store.walks.get(WALK).await;
    store.database.close().await;
    if !changed? {
        return Err(EventsError::NeverBegun);
    }
    Ok(answer(row?.ok_or(EventsError::NeverBegun)?, clock::now_ms()))
}

fn answer(row: WalkRow, now_ms: i64) -> Answer {
    let told_up_to_ms = message_id::time_ms(row.cursor_id);
    let behind_s = now_ms.saturating_sub(told_up_to_ms).max(0) / 1_000;
    let (up_to, is_held) = (clock::rfc3339(told_up_to_ms), row.holder != 0);
    let state = match (row.is_paused, is_held) {
        (true, true) => "it stands still within seconds, until gim-ctl events resume",
        (true, false) => "it stands still, until gim-ctl events resume",
        (false, true) => "a logic node tells them",
        (false, false) => "no logic node tells them at this moment",
    };
    let text = format!("events are told up to {up_to} (id {}), {behind_s} s ago: {state}", row.cursor_id);
    let json = json!({
        "cursor_id": row.cursor_id.to_string(), "up_to": up_to, "behind_s": behind_s, "is_paused": row.is_paused, "is_held": is_held,
    });
    Answer::good(text, json)
}

/// None where that has not come yet.
fn first_id(from: u64, now_ms: i64) -> Option<u64> {
    let first_id = match from.checked_ilog10().unwrap_or(0) as usize + 1 {
        digits if digits > TIME_DIGITS_MAX => from,
        digits => {
            let unit_ms = if digits > 10 { 1 } else { 1_000 };
            let from_ms = i64::try_from(from.saturating_mul(unit_ms)).ok().filter(|from_ms| *from_ms <= now_ms)?;
            message_id::least_at(from_ms)
        }
    };
    (first_id < message_id::least_at(now_ms + 1)).then_some(first_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_begins_at_a_time_or_at_a_message() {
        let id = message_id::least_at(1_764_484_200_000);
        let begins_at = |from| first_id(from, 1_764_484_200_000);
        assert_eq!([1_764_484_200, 1_764_484_200_000, id].map(begins_at), [Some(id); 3]);
        assert_eq!(begins_at(0), Some(message_id::least_at(0)));
        let later =
            [1_764_484_201, 1_764_484_200_001, message_id::least_at(1_764_484_200_001), i64::MAX as u64, u64::MAX];
        assert_eq!(later.map(begins_at), [None; 5]);
    }

    #[test]
    fn people_read_how_far_it_is_and_programs_too() {
        let row = WalkRow { cursor_id: message_id::least_at(1_764_484_200_000), holder: 7, is_paused: false, beat: 3 };
        let Answer { text, json, is_good } = answer(row, 1_764_484_205_999);
        assert!(text.starts_with("events are told up to 2025-11-30T06:30:00.000Z (id "), "{text}");
        assert!(text.ends_with(", 5 s ago: a logic node tells them") && is_good);
        assert_eq!((&json["behind_s"], &json["is_paused"]), (&json!(5), &json!(false)));
        assert!(answer(WalkRow { is_paused: true, ..row }, 0).text.contains("stands still"));
    }
}
