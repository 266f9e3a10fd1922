//! Rows of an earlier version are put where this one has them before a node serves anybody.
//!
//! Runs at the start. Always holds: it begins when no other logic node says that it is there, neither one of the earlier version nor a
//! second one that does the same; both are waited for, as is a server that does not say whether there are any. Whoever is there all the
//! same can neither read nor write what is moved ([`crate::store::upgrade`]), so nothing is lost by a name that was lost.

use std::{path::Path, time::Duration};

use gim_config::sql::{Claim, Database, DatabaseSettings, Dialect};

use super::{DATABASE_FILE, StartError, claims};
use crate::{
    settings::LogicSettings,
    store::{self, LogicNodes, StoreError, upgrade::Upgrade},
};

/// Between two looks at what is waited for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// After so many looks it is said again who is waited for.
const LOOKS_PER_WARNING: u32 = 10;

/// A statement of the upgrade, as the one that takes a large table away, may take longer than one that somebody waits for.
const STATEMENT_TIMEOUT_MS: u64 = 600_000;

/// Does it, if it was not done.
pub(super) async fn upgrade(settings: &LogicSettings, database: &Database) -> Result<(), StartError> {
    let named = |source| failed(database, source);
    if !Upgrade::of(database).has_older_tables().await.map_err(named)? {
        return Ok(());
    }
    let patient = open(&settings.database, &settings.data_dir).await?;
    // Empty tables go at once: nobody has to be waited for.
    let mut looks = 0;
    let mut alone = None;
    while alone.is_none() && Upgrade::of(&patient).is_due().await.map_err(named)? {
        alone = are_alone(settings, &patient).await.map_err(named)?;
        if alone.is_none() {
            if looks % LOOKS_PER_WARNING == 0 {
                tracing::warn!(
                    "this version puts rows of the earlier one elsewhere, for which no other gim-logic may run: stop all of them"
                );
            }
            looks += 1;
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
    let done = run(&patient).await;
    patient.close().await;
    done
}

/// Does it where it is known that no logic node runs.
pub(super) async fn run(database: &Database) -> Result<(), StartError> {
    Upgrade::of(database).run().await.map_err(|source| failed(database, source))
}

/// That no other logic node is there, and the name that says so to those who come; nothing where it cannot be told, or is not so.
struct Alone {
    _claim: Option<Claim>,
}

async fn are_alone(settings: &LogicSettings, database: &Database) -> Result<Option<Alone>, StoreError> {
    let Ok(claim) = claims::take_offline(database).await else { return Ok(None) };
    let is_alone = match &claim {
        Some(claim) => claim.is_held(),
        None if database.dialect == Dialect::Sqlite => true,
        // A server without names: what nodes say of themselves has to do.
        None => {
            let lease = Duration::from_millis(settings.link.lease_ms);
            LogicNodes::new(database).others(settings.node_number, lease + lease / 2).await?.is_empty()
        }
    };
    Ok(is_alone.then_some(Alone { _claim: claim }))
}

async fn open(settings: &DatabaseSettings, data_dir: &Path) -> Result<Database, StartError> {
    let patient = DatabaseSettings { statement_timeout_ms: STATEMENT_TIMEOUT_MS, ..settings.clone() };
    Ok(Database::open(&patient, data_dir, DATABASE_FILE, &store::migrations()).await?)
}

fn failed(database: &Database, source: StoreError) -> StartError {
    StartError::Store { database: database.name().to_owned(), source }
}
