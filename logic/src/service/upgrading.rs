//! Rows of an earlier version are put where this one has them before a node serves anybody.
//!
//! Runs at the start. Always holds: as long as there are such rows no other logic node runs, neither one of the earlier version, which
//! would go on storing rows where they were, nor a second one that does the same; both are waited for, as is a server that does not say
//! whether there are any.

use std::time::Duration;

use gim_config::sql::{Claim, Database};

use super::{StartError, claims};
use crate::store::{StoreError, upgrade::Upgrade};

/// Between two looks at what is waited for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Does it, if it was not done.
pub(super) async fn upgrade(database: &Database) -> Result<(), StartError> {
    let mut is_told = false;
    while is_due(database).await? {
        let alone = claims::take_offline(database).await;
        if !alone.as_ref().is_ok_and(|claim| claim.as_ref().is_none_or(Claim::is_held)) {
            if !std::mem::replace(&mut is_told, true) {
                tracing::warn!(
                    "this version puts rows of the earlier one elsewhere, for which no other gim-logic may run: stop all of them"
                );
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
            continue;
        }
        run(database).await?;
    }
    // Tables without a row go at once: nobody has to be waited for at an empty database.
    run(database).await
}

/// Does it where it is known that no logic node runs.
pub(super) async fn run(database: &Database) -> Result<(), StartError> {
    Upgrade::of(database).run().await.map_err(|source| failed(database, source))
}

async fn is_due(database: &Database) -> Result<bool, StartError> {
    Upgrade::of(database).is_due().await.map_err(|source| failed(database, source))
}

fn failed(database: &Database, source: StoreError) -> StartError {
    StartError::Store { database: database.name().to_owned(), source }
}
