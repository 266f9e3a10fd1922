//! What a sign-in has to know from the database. Sign-ins come in thousands when a conn node restarts, so those that come
//! together share their reads.

use std::collections::HashMap;

use gim_config::{
    gather::Gatherer,
    sql::{Database, Pool},
};
use sqlx::{AssertSqlSafe, Row as _};

use super::{
    columns::{from_sql, to_sql},
    device::{self, NOBODY},
    dialect::{self, Sql},
    error::StoreError,
    inbox::newest_of,
    revocation::ALL_DEVICES,
    statement::MultiRow,
};
use crate::domain::caller::Caller;

/// Callers that one read serves: the rows of the largest statement.
const BATCH_MAX: usize = 256;

// Each lookup is one statement, whose rows are four numbers, of which the first says of what: a statement costs a hop to
// another thread on SQLite, and a round trip on MySQL.
const TYPE: i64 = 0;
const REVOCATION: i64 = 1;
const NEWEST_SEQ: i64 = 2;
const LARGE_GROUP: i64 = 3;
const REVOCATIONS: MultiRow = MultiRow {
    head: "SELECT 1 AS kind, user_id AS id, device_id AS value, not_before_ms AS extra FROM token_revocation \
           WHERE user_id IN (",
    row: "?",
    tail: ")",
};
const NEWEST_SEQS: MultiRow = MultiRow {
    head: "SELECT 2 AS kind, user_id AS id, seq AS value, 0 AS extra FROM inbox WHERE user_id IN (0,",
    row: "?",
    tail: ")",
};
const LARGE_GROUPS: MultiRow = MultiRow {
    head: "SELECT 3 AS kind, m.user_id AS id, m.group_id AS value, 0 AS extra \
           FROM group_member m JOIN chat_group g ON g.id = m.group_id WHERE g.kind = 1 AND m.user_id IN (",
    row: "?",
    tail: ")",
};

/// Before the token is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    /// 0 for a device that is not known here.
    pub device_type: i32,
    /// Whether something was told about the device since anybody last signed in on it.
    pub is_device_of_nobody: bool,
    /// Tokens issued before this are worthless; 0 where none was ever revoked.
    pub not_before_ms: i64,
}

/// After the route was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// Of a user who never got a message, the floor.
    pub newest_seq: u64,
    /// As in [`Before`].
    pub not_before_ms: i64,
    /// The large groups that the user is in.
    pub large_group_ids: Vec<u64>,
}

/// The repository. Clones share their reads.
#[derive(Debug, Clone)]
pub struct SignInReads {
    before: Gatherer<Caller, Before, StoreError>,
    after: Gatherer<Caller, After, StoreError>,
}

impl SignInReads {
    pub(super) fn new(database: &Database) -> Self {
        let source = Source { reader: database.sign_in_reader.clone(), sql: dialect::sql(database.dialect) };
        let (for_before, for_after) = (source.clone(), source);
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

async fn before(source: Source, callers: Vec<Caller>) -> Result<Vec<Before>, StoreError> {
    let keys = padded(callers.iter().flat_map(|caller| device::keys(*caller)).collect());
    let device_keys: Vec<u64> = keys.iter().flat_map(|key| [key.user_id, key.device_id]).collect();
    let user_ids = user_ids(&callers);
    let known =
        source.read(&[Part::pairs(source.sql.device_types, &device_keys), Part::ids(REVOCATIONS, &user_ids)]).await?;
    let answer = |caller: &Caller| Before {
        device_type: device::type_of(&known.types, *caller),
        is_device_of_nobody: known.types.contains_key(&Caller { user_id: NOBODY, ..*caller }),
        not_before_ms: known.not_before(*caller),
    };
    Ok(callers.iter().map(answer).collect())
}

async fn after(source: Source, callers: Vec<Caller>) -> Result<Vec<After>, StoreError> {
    let user_ids = user_ids(&callers);
    let parts = [REVOCATIONS, NEWEST_SEQS, LARGE_GROUPS].map(|statement| Part::ids(statement, &user_ids));
    let known = source.read(&parts).await?;
    let answer = |caller: &Caller| After {
        newest_seq: newest_of(&known.newest_seqs, caller.user_id),
        not_before_ms: known.not_before(*caller),
        large_group_ids: known.large_groups.get(&caller.user_id).cloned().unwrap_or_default(),
    };
    Ok(callers.iter().map(answer).collect())
}

/// What one lookup found.
#[derive(Debug, Default)]
struct Known {
    types: HashMap<Caller, i64>,
    /// By user and device.
    not_before_ms: HashMap<(u64, u64), i64>,
    newest_seqs: HashMap<u64, u64>,
    large_groups: HashMap<u64, Vec<u64>>,
}

impl Known {
    fn add(&mut self, [kind, id, value, extra]: [i64; 4]) -> Result<(), sqlx::Error> {
        let id = from_sql(id);
        match kind {
            TYPE => drop(self.types.insert(Caller { user_id: from_sql(extra), device_id: id }, value)),
            REVOCATION => drop(self.not_before_ms.insert((id, from_sql(value)), extra)),
            NEWEST_SEQ => drop(self.newest_seqs.insert(id, from_sql(value))),
            LARGE_GROUP => self.large_groups.entry(id).or_default().push(from_sql(value)),
            _ => return Err(sqlx::Error::Protocol(format!("a lookup answered with a row of kind {kind}"))),
        }
        Ok(())
    }

    fn not_before(&self, caller: Caller) -> i64 {
        let of = |device_id| self.not_before_ms.get(&(caller.user_id, device_id)).copied().unwrap_or(0);
        of(caller.device_id).max(of(ALL_DEVICES))
    }
}

/// A part of a lookup: rows of one statement, each of `width` numbers.
#[derive(Debug, Clone, Copy)]
struct Part<'a> {
    statement: MultiRow,
    width: usize,
    numbers: &'a [u64],
}

impl<'a> Part<'a> {
    fn ids(statement: MultiRow, numbers: &'a [u64]) -> Self {
        Self { statement, width: 1, numbers }
    }

    fn pairs(statement: MultiRow, numbers: &'a [u64]) -> Self {
        Self { statement, width: 2, numbers }
    }
}

/// Where lookups are made.
#[derive(Debug, Clone)]
struct Source {
    reader: Pool,
    sql: &'static Sql,
}

impl Source {
    async fn read(&self, parts: &[Part<'_>]) -> Result<Known, StoreError> {
        let text_of = |part: &Part<'_>| part.statement.sql(part.numbers.len() / part.width).0;
        let texts: Vec<String> = parts.iter().map(text_of).collect();
        let mut text = texts.join(" UNION ALL ");
        if let Some((before, after)) = self.sql.in_one_text {
            text = [before, &text, after].concat();
        }
        let query = sqlx::query(AssertSqlSafe(text));
        let numbers = parts.iter().flat_map(|part| part.numbers);
        let rows = numbers.fold(query, |query, number| query.bind(to_sql(*number))).fetch_all(&self.reader).await?;
        let mut known = Known::default();
        for row in &rows {
            if self.sql.in_one_text.is_some() {
                let numbers: Option<String> = row.try_get(0)?;
                numbers.iter().flat_map(|text| text.split(',')).try_for_each(|row| known.add(parse(row)?))?;
            } else {
                known.add([row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?])?;
            }
        }
        Ok(known)
    }
}

fn parse(row: &str) -> Result<[i64; 4], sqlx::Error> {
    let mut numbers = row.split(' ').map(str::parse);
    let mut next = || numbers.next()?.ok();
    let mut row = || Some([next()?, next()?, next()?, next()?]);
    row().ok_or_else(|| sqlx::Error::Protocol("a lookup answered with something else than numbers".into()))
}

fn user_ids(callers: &[Caller]) -> Vec<u64> {
    padded(callers.iter().map(|caller| caller.user_id).collect())
}

/// The keys, the last one repeated up to a power of two: a set takes no harm from it, and one statement is enough.
fn padded<T: Copy>(mut keys: Vec<T>) -> Vec<T> {
    if let Some(&last) = keys.last() {
        keys.resize(keys.len().next_power_of_two(), last);
    }
    keys
}
