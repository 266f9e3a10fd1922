//! What a sign-in has to know from the database. Sign-ins come in thousands when a conn node restarts, so those that come
//! together share their reads.

use std::collections::HashMap;

use gim_config::{
    gather::Gatherer,
    sql::{Database, Pool},
};
use sqlx::{AnyConnection, Row as _};

use super::{
    StoreError, from_sql, group,
    revocation::ALL_DEVICES,
    statement::{AnyQuery, MultiRow},
    to_sql,
};
use crate::app::Caller;

/// Callers that one read serves: the rows of the largest statement.
const BATCH_MAX: usize = 256;

const TYPES: MultiRow = MultiRow { head: "SELECT id, type FROM device WHERE id IN (", row: "?", tail: ")" };
const NEWEST_SEQS: MultiRow =
    MultiRow { head: "SELECT user_id, seq FROM inbox WHERE user_id IN (", row: "?", tail: ")" };
const REVOCATIONS: MultiRow = MultiRow {
    head: "SELECT user_id, device_id, not_before_ms FROM token_revocation WHERE user_id IN (",
    row: "?",
    tail: ")",
};

/// Before the token is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    /// 0 for a device that is not known here.
    pub device_type: i32,
    /// Tokens issued before this are worthless; 0 where none was ever revoked.
    pub not_before_ms: i64,
}

/// After the route was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// 0 for a user who never got a message.
    pub newest_seq: u64,
    /// As in [`Before`].
    pub not_before_ms: i64,
    /// The large groups that the user is in.
    pub large_group_ids: Vec<u64>,
}

/// The lookups. Clones share their reads.
#[derive(Debug, Clone)]
pub struct Lookups {
    before: Gatherer<Caller, Before, StoreError>,
    after: Gatherer<Caller, After, StoreError>,
}

impl Lookups {
    pub(super) fn new(database: &Database) -> Self {
        let (for_before, for_after) = (database.reader.clone(), database.reader.clone());
        Self {
            before: Gatherer::start(BATCH_MAX, move |callers| before(for_before.clone(), callers)),
            after: Gatherer::start(BATCH_MAX, move |callers| after(for_after.clone(), callers)),
        }
    }

    /// What to know before the token is judged.
    pub async fn before(&self, caller: Caller) -> Result<Before, StoreError> {
        self.before.ask(caller).await.unwrap_or(Err(STOPPING))
    }

    /// What to know after the route was put.
    pub async fn after(&self, caller: Caller) -> Result<After, StoreError> {
        self.after.ask(caller).await.unwrap_or(Err(STOPPING))
    }
}

const STOPPING: StoreError = StoreError::PutOff("the service is stopping");

async fn before(reader: Pool, callers: Vec<Caller>) -> Result<Vec<Before>, StoreError> {
    let read = async |connection: &mut AnyConnection| {
        let types = pairs(connection, TYPES, ids(&callers, |caller| caller.device_id)).await?;
        Ok::<_, StoreError>((types, revocations(connection, &callers).await?))
    };
    let (types, revocations) = reader.run(read).await?;
    let answer = |caller: &Caller| Before {
        device_type: types.get(&caller.device_id).and_then(|&kind| i32::try_from(kind).ok()).unwrap_or(0),
        not_before_ms: not_before(&revocations, *caller),
    };
    Ok(callers.iter().map(answer).collect())
}

async fn after(reader: Pool, callers: Vec<Caller>) -> Result<Vec<After>, StoreError> {
    let read = async |connection: &mut AnyConnection| {
        // The revocations first: a seq that is a moment newer is as good.
        let revocations = revocations(connection, &callers).await?;
        let user_ids = ids(&callers, |caller| caller.user_id);
        let seqs = pairs(connection, NEWEST_SEQS, user_ids.clone()).await?;
        Ok::<_, StoreError>((revocations, seqs, large_groups(connection, &user_ids).await?))
    };
    let (revocations, seqs, large_groups) = reader.run(read).await?;
    let answer = |caller: &Caller| After {
        newest_seq: seqs.get(&caller.user_id).map_or(0, |&seq| from_sql(seq)),
        not_before_ms: not_before(&revocations, *caller),
        large_group_ids: large_groups.get(&caller.user_id).cloned().unwrap_or_default(),
    };
    Ok(callers.iter().map(answer).collect())
}

async fn large_groups(connection: &mut AnyConnection, user_ids: &[u64]) -> Result<HashMap<u64, Vec<u64>>, StoreError> {
    let mut large_groups: HashMap<u64, Vec<u64>> = HashMap::new();
    for (user_id, group_id) in group::large_of(connection, user_ids).await? {
        large_groups.entry(user_id).or_default().push(group_id);
    }
    Ok(large_groups)
}

type NotBefore = HashMap<(u64, u64), i64>;

async fn revocations(connection: &mut AnyConnection, callers: &[Caller]) -> Result<NotBefore, StoreError> {
    let rows = REVOCATIONS.fetch(connection, &ids(callers, |caller| caller.user_id), bind).await?;
    let mut revocations = HashMap::with_capacity(rows.len());
    for row in rows {
        revocations.insert((from_sql(row.try_get(0)?), from_sql(row.try_get(1)?)), row.try_get(2)?);
    }
    Ok(revocations)
}

fn not_before(revocations: &NotBefore, caller: Caller) -> i64 {
    let of = |device_id| revocations.get(&(caller.user_id, device_id)).copied().unwrap_or(0);
    of(caller.device_id).max(of(ALL_DEVICES))
}

async fn pairs(
    connection: &mut AnyConnection,
    statement: MultiRow,
    ids: Vec<u64>,
) -> Result<HashMap<u64, i64>, StoreError> {
    let rows = statement.fetch(connection, &ids, bind).await?;
    let mut pairs = HashMap::with_capacity(rows.len());
    for row in rows {
        pairs.insert(from_sql(row.try_get(0)?), row.try_get(1)?);
    }
    Ok(pairs)
}

fn bind(query: AnyQuery, id: &u64) -> AnyQuery {
    query.bind(to_sql(*id))
}

/// The ids, the last one repeated up to a power of two: a set takes no harm from it, and one statement is enough.
fn ids(callers: &[Caller], id: impl Fn(&Caller) -> u64) -> Vec<u64> {
    let mut ids: Vec<u64> = callers.iter().map(id).collect();
    if let Some(&last) = ids.last() {
        ids.resize(ids.len().next_power_of_two(), last);
    }
    ids
}
