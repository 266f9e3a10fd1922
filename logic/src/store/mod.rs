//! What survives a restart: one repository per entity over the pools of [`gim_config::sql`].
//!
//! Reads go over the reader pool and may run anywhere. Inbox rows and acks are written by the tasks of the [`writer`] only,
//! which commit whatever waits for them together; the few other writes take a connection of the writer pool for a moment.
//! What differs between SQL dialects stands in [`dialect`] and nowhere else.
//!
//! Each file knows only those above it, which `tests/source.rs` checks:
//!
//! - `error`, `columns`, `statement`, `script`, `opening`, [`dialect`]: errors, values, and statements, alone and sent together
//! - [`others`]: on whose threads that is asked
//! - [`device`], [`import`], [`inbox`], `left_member`, [`logic_nodes`], [`push_claims`], [`push_targets`], [`read_position`], [`retention`],
//!   [`revocation`], [`room`], [`word_list`], then [`conversation`], [`conversation_heads`], [`conversation_places`], [`group`], [`sign_in`]: the repositories
//! - [`floors`], [`walks`], [`stored_events`]: who walks over what is stored, and what is found there
//! - [`seqs`]: what is done where a database went back
//! - `user_reads`: in whose turn users read
//! - [`work`]: what requests want of the inbox writer, and what becomes of it
//! - `send_key`: by what a repeated send is recognised, and [`upgrade`]: rows of earlier versions, put where this one has them
//! - `turns`, `fair_queue`, `queue`: in which order the writer takes what waits, and hands over what it wrote
//! - [`id_floor`]: how far this node's message ids are settled
//! - `held_group`, `held_groups`: the groups that a transaction holds
//! - `acks`, `device_saves`, `recall`, `repeats`, `transaction`: one transaction
//! - [`writer`]: the tasks that take what waits and commit it

mod acks;
mod columns;
pub mod conversation;
pub mod conversation_heads;
pub mod conversation_places;
pub mod device;
mod device_saves;
mod dialect;
mod error;
mod fair_queue;
pub mod floors;
pub mod group;
mod held_group;
mod held_groups;
pub mod id_floor;
pub mod import;
pub mod inbox;
mod left_member;
pub mod logic_nodes;
mod opening;
pub mod others;
#[cfg(test)]
mod plans;
pub mod push_claims;
pub mod push_targets;
mod queue;
pub mod read_position;
mod recall;
mod repeats;
pub mod retention;
pub mod revocation;
pub mod room;
mod script;
mod send_key;
pub mod seqs;
pub mod sign_in;
mod statement;
pub mod stored_events;
mod transaction;
mod transaction_interval;
mod turns;
mod unread;
pub mod upgrade;
mod user_reads;
pub mod walks;
pub mod word_list;
pub mod work;
pub mod writer;

use gim_config::sql::{self, Database, Dialect};
use include_dir::{Dir, include_dir};
use sqlx::migrate::Migrator;

pub use conversation::Conversations;
pub use conversation_heads::ConversationHeads;
pub use conversation_places::ConversationPlaces;
pub use device::Devices;
pub use error::StoreError;
pub use floors::Floors;
pub use group::Groups;
pub use import::Imports;
pub use inbox::{HistoryPart, Inboxes, Limit};
pub use logic_nodes::{LogicNode, LogicNodes};
pub use push_claims::PushClaims;
pub use push_targets::PushTargets;
pub use read_position::ReadPositions;
pub use retention::Retention;
pub use revocation::Revocations;
pub use room::RoomSeqs;
pub use sign_in::SignInReads;
pub use stored_events::StoredEvents;
pub use user_reads::UserReads;
pub use walks::Walks;
pub use word_list::StoredWordLists;

/// The tables, for each dialect, in files that the program carries.
pub fn migrations() -> [(Dialect, Migrator); 2] {
    static SQLITE: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/migrations/sqlite");
    static MYSQL: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/migrations/mysql");
    [(Dialect::Sqlite, sql::migrator(&SQLITE)), (Dialect::Mysql, sql::migrator(&MYSQL))]
}

/// How long a statement is, in bytes, that stores one message: in texts for MySQL, bytes are two digits each.
pub fn statement_bytes(content_bytes: usize, receivers: usize) -> usize {
    2 * (content_bytes + columns::RECEIVER_BYTES_MAX * receivers) + STATEMENT_BYTES
}

/// Around what a message holds.
const STATEMENT_BYTES: usize = 4096;

/// The repositories. Clones share the pools.
#[derive(Debug, Clone)]
pub struct Store {
    /// Pools and dialect.
    pub database: Database,
    /// What is kept of conversations, for each user.
    pub conversations: Conversations,
    /// Which conversations there are.
    pub conversation_heads: ConversationHeads,
    /// Where their messages stand.
    pub conversation_places: ConversationPlaces,
    /// Devices.
    pub devices: Devices,
    /// How far ids are settled.
    pub floors: Floors,
    /// Groups, for reading.
    pub groups: Groups,
    /// What another server kept, while none of this runs.
    pub imports: Imports,
    /// Inboxes, for reading.
    pub inboxes: Inboxes,
    /// Which nodes there are.
    pub logic_nodes: LogicNodes,
    /// Which pushes are being handed over.
    pub push_claims: PushClaims,
    /// Who can be woken about a message.
    pub push_targets: PushTargets,
    /// How far users have read.
    pub read_positions: ReadPositions,
    /// What sign-ins have to know.
    pub sign_in_reads: SignInReads,
    /// The turns of users who read.
    pub user_reads: UserReads,
    /// Revoked tokens.
    pub revocations: Revocations,
    /// Seqs of rooms.
    pub room_seqs: RoomSeqs,
    /// What goes after a time.
    pub retention: Retention,
    /// What happened.
    pub stored_events: StoredEvents,
    /// Who walks over it.
    pub walks: Walks,
    /// Lists of words that were put by calls.
    pub word_lists: StoredWordLists,
}

impl Store {
    /// A number that tells this database from others; copies have the same.
    pub async fn deployment_id(&self) -> Result<u64, sqlx::Error> {
        let id: i64 = sqlx::query_scalar("SELECT MIN(id) FROM deployment").fetch_one(&self.database.reader).await?;
        Ok(columns::from_sql(id))
    }

    /// The same, for those who give way to everybody else: what happened they read on connections of their own.
    pub fn aside(&self) -> Result<Self, StoreError> {
        let mut database = self.database.clone();
        database.reader = database.reader_aside()?;
        Ok(Self { stored_events: StoredEvents::new(&database), ..self.clone() })
    }

    /// The repositories of an open database. Must be called on a Tokio runtime.
    pub fn new(database: Database) -> Self {
        Self {
            conversations: Conversations::new(&database),
            conversation_heads: ConversationHeads::new(&database),
            conversation_places: ConversationPlaces::new(&database),
            devices: Devices::new(&database),
            floors: Floors::new(&database),
            groups: Groups::new(&database),
            imports: Imports::new(&database),
            inboxes: Inboxes::new(&database),
            logic_nodes: LogicNodes::new(&database),
            push_claims: PushClaims::new(&database),
            push_targets: PushTargets::new(&database),
            read_positions: ReadPositions::new(&database),
            revocations: Revocations::new(&database),
            room_seqs: RoomSeqs::new(&database),
            sign_in_reads: SignInReads::new(&database),
            user_reads: UserReads::new(&database),
            retention: Retention::new(&database),
            stored_events: StoredEvents::new(&database),
            walks: Walks::new(&database),
            word_lists: StoredWordLists::new(&database),
            database,
        }
    }
}
