//! Which pushes are being handed over, or were: so that none is handed over twice, by whichever process.
//!
//! Always holds: only whoever holds the walk over what is to be pushed claims anything, in one transaction with a look whether it still
//! does; whoever takes the walk after that sees what was claimed.

use gim_config::sql::{self, Database, Pool};
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{
    columns::{from_sql, to_sql},
    error::StoreError,
    statement::{AnyQuery, MultiRow},
};
use crate::domain::conversation::Peer;

/// The walk.
pub const WALK: &str = "offline_push";

const HOLD: &str = "UPDATE message_walk SET beat = beat + 1 WHERE name = ? AND holder = ?";
/// A claim that was committed, though nobody heard of it, is claimed once more.
const CLAIM: MultiRow = MultiRow {
    head: "REPLACE INTO offline_push (message_id, user_id, device_id, is_group, peer_id) VALUES ",
    row: "(?,?,?,?,?)",
    tail: "",
};
const RELEASE: &str = "DELETE FROM offline_push WHERE message_id = ? AND user_id = ? AND device_id = ?";
const PASS: &str = "DELETE FROM offline_push WHERE message_id <= ?";
const AFTER: &str = "SELECT message_id, user_id, device_id, is_group, peer_id FROM offline_push \
                     WHERE message_id > ? ORDER BY message_id, user_id, device_id LIMIT ?";

/// Rows that are read at once; more only where one message was claimed for more devices.
const ROWS_MAX: usize = 10_000;

/// A push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PushClaim {
    /// The newest message that it tells of.
    pub message_id: u64,
    /// Whom.
    pub user_id: u64,
    /// On which device; 0 for none that is known.
    pub device_id: u64,
    /// The conversation; none for what a service sent.
    pub peer: Option<Peer>,
}

/// The repository.
#[derive(Debug, Clone)]
pub struct PushClaims {
    writer: Pool,
}

impl PushClaims {
    pub(super) fn new(database: &Database) -> Self {
        Self { writer: database.writer.clone() }
    }

    /// Claims pushes, and gives up claims of those that were not taken; nothing of it where the walk is not held any more. Returns whether
    /// it is.
    pub async fn change(&self, holder: u64, claimed: &[PushClaim], released: &[PushClaim]) -> Result<bool, StoreError> {
        let work = async |connection: &mut AnyConnection| {
            let mut transaction = sql::begin(connection).await?;
            let held = sqlx::query(HOLD).bind(WALK).bind(to_sql(holder)).execute(&mut *transaction).await?;
            if held.rows_affected() == 0 {
                return Ok(false);
            }
            for claim in released {
                let query = sqlx::query(RELEASE).bind(to_sql(claim.message_id)).bind(to_sql(claim.user_id));
                query.bind(to_sql(claim.device_id)).execute(&mut *transaction).await?;
            }
            CLAIM.execute(&mut transaction, claimed, bind).await?;
            transaction.commit().await?;
            Ok::<_, sqlx::Error>(true)
        };
        Ok(self.writer.run(work).await?)
    }

    /// What was claimed about messages behind an id. Asked where it is written: a replica may not have it yet.
    pub async fn after(&self, message_id: u64) -> Result<Vec<PushClaim>, StoreError> {
        let (mut claims, mut after_id, mut limit) = (Vec::new(), message_id, ROWS_MAX);
        loop {
            let query = sqlx::query(AFTER).bind(to_sql(after_id)).bind(i64::try_from(limit).unwrap_or(i64::MAX));
            let rows = query.fetch_all(&self.writer).await?;
            let mut page = rows.iter().map(read).collect::<Result<Vec<_>, sqlx::Error>>()?;
            if page.len() < limit {
                claims.extend(page);
                return Ok(claims);
            }
            // Of the last message there may be more.
            let last_id = page.last().map_or(0, |claim| claim.message_id);
            page.retain(|claim| claim.message_id < last_id);
            limit = if page.is_empty() { limit * 2 } else { ROWS_MAX };
            after_id = page.last().map_or(after_id, |claim| claim.message_id);
            claims.extend(page);
        }
    }

    /// Forgets what nobody looks at any more.
    pub async fn pass(&self, up_to: u64) -> Result<(), StoreError> {
        sqlx::query(PASS).bind(to_sql(up_to)).execute(&self.writer).await?;
        Ok(())
    }
}

fn bind(query: AnyQuery, claim: &PushClaim) -> AnyQuery {
    let query = query.bind(to_sql(claim.message_id)).bind(to_sql(claim.user_id)).bind(to_sql(claim.device_id));
    let (is_group, peer_id) = claim.peer.map_or((false, 0), |peer| (peer.is_group(), peer.id()));
    query.bind(i64::from(is_group)).bind(to_sql(peer_id))
}

fn read(row: &AnyRow) -> Result<PushClaim, sqlx::Error> {
    let number = |index: usize| Ok::<u64, sqlx::Error>(from_sql(row.try_get(index)?));
    let peer = match (number(3)?, number(4)?) {
        (_, 0) => None,
        (0, peer_id) => Some(Peer::User(peer_id)),
        (_, group_id) => Some(Peer::Group(group_id)),
    };
    Ok(PushClaim { message_id: number(0)?, user_id: number(1)?, device_id: number(2)?, peer })
}

#[cfg(test)]
mod tests {
    use gim_config::sql::Dialect;

    use super::{super::plans::assert_by_index_in, *};

    #[tokio::test]
    async fn claims_are_found_by_index_alone() {
        assert_by_index_in(&[Dialect::Sqlite], &[AFTER, RELEASE, PASS], &[]).await;
    }
}
