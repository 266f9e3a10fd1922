//! Seqs of rooms, handed out in blocks: a seq never goes back over a restart, and costs no write of its own.

use gim_config::sql::{self, Database, Pool};
use sqlx::AnyConnection;

use super::{
    columns::{from_sql, to_sql},
    dialect::{self, Sql},
    error::StoreError,
};

/// Seqs in a block: a crash skips at most so many.
pub const BLOCK_SEQS: u64 = 1024;

/// Whose row is the floor: from where rooms begin that have no row yet.
const NO_ROOM: u64 = 0;

const RESERVED_UNTIL: &str = "SELECT reserved_until FROM room_seq WHERE room_id = ?";

/// What a room reserved and did not use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnusedSeqs {
    /// Which room.
    pub room_id: u64,
    /// The last seq that a message got.
    pub last_used: u64,
    /// The last seq that was reserved.
    pub reserved_until: u64,
}

/// The repository.
#[derive(Debug, Clone)]
pub struct RoomSeqs {
    writer: Pool,
    sql: &'static Sql,
}

impl RoomSeqs {
    pub(super) fn new(database: &Database) -> Self {
        Self { writer: database.writer.clone(), sql: dialect::sql(database.dialect) }
    }

    /// Reserves the next block of a room and returns its last seq; its first is that minus [`BLOCK_SEQS`] plus 1.
    pub async fn reserve(&self, room_id: u64) -> Result<u64, StoreError> {
        let reserve = sqlx::query(self.sql.reserve_room_seqs).bind(to_sql(room_id)).bind(to_sql(BLOCK_SEQS));
        let read = sqlx::query_scalar(RESERVED_UNTIL).bind(to_sql(room_id));
        let floor = sqlx::query_scalar(RESERVED_UNTIL).bind(to_sql(NO_ROOM));
        let raise = sqlx::query("UPDATE room_seq SET reserved_until = reserved_until + ? WHERE room_id = ?");
        let work = async |connection: &mut AnyConnection| {
            let mut transaction = sql::begin(connection).await?;
            reserve.execute(&mut *transaction).await?;
            let mut reserved_until: i64 = read.fetch_one(&mut *transaction).await?;
            if from_sql(reserved_until) == BLOCK_SEQS {
                // Its first block begins after the floor.
                let floor: i64 = floor.fetch_one(&mut *transaction).await?;
                raise.bind(floor).bind(to_sql(room_id)).execute(&mut *transaction).await?;
                reserved_until += floor;
            }
            transaction.commit().await?;
            Ok(from_sql(reserved_until))
        };
        self.writer.run(work).await
    }

    /// Gives the unused rest of blocks back. Where another block was reserved meanwhile, the rest is just skipped.
    pub async fn give_back(&self, rests: &[UnusedSeqs]) -> Result<(), StoreError> {
        let work = async |connection: &mut AnyConnection| {
            let mut transaction = sql::begin(connection).await?;
            for rest in rests {
                let sql = "UPDATE room_seq SET reserved_until = ? WHERE room_id = ? AND reserved_until = ?";
                let query = sqlx::query(sql)
                    .bind(to_sql(rest.last_used))
                    .bind(to_sql(rest.room_id))
                    .bind(to_sql(rest.reserved_until));
                query.execute(&mut *transaction).await?;
            }
            Ok(transaction.commit().await?)
        };
        self.writer.run(work).await
    }
}
