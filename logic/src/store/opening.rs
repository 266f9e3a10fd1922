//! How a transaction of the inbox writer begins and ends without round trips of its own.
//!
//! Where statements are sent as texts, the first text that is sent begins the transaction and the last one commits it; elsewhere sqlx
//! does both. Always holds: nothing is read or written before the transaction has begun, and a transaction that failed in a way that
//! leaves its connection in use is rolled back.

use sqlx::AnyConnection;

use super::{
    script::{Row, Script},
    statement::MultiRow,
};
use crate::domain::settled_ids::FloorRow;

const BEGIN: &str = "BEGIN";
const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";

/// Has the transaction that it stands in go on only while the row of a node stands, and that stay until the commit. Without it the sum is
/// beyond all numbers, which ends a text.
pub(super) const FENCE: MultiRow = MultiRow {
    head: "SELECT 9223372036854775807 + (COUNT(*) = 0) FROM id_floor WHERE ",
    row: "node_number = ? AND epoch = ?",
    tail: " LOCK IN SHARE MODE",
};

/// What is still to be said to the database before anything else.
#[derive(Debug)]
pub(super) struct Opening {
    is_due: bool,
}

impl Opening {
    /// Of a transaction that is sent as texts.
    pub(super) fn with_first_text() -> Self {
        Self { is_due: true }
    }

    /// Of one that has begun.
    pub(super) fn done() -> Self {
        Self { is_due: false }
    }

    /// Begins the transaction with this script, if it has not begun.
    pub(super) fn put_into(&mut self, script: &mut Script) {
        if std::mem::take(&mut self.is_due) {
            script.add_plain(BEGIN);
        }
    }

    /// Begins it now, if it has not begun: what comes next is no script.
    pub(super) async fn send(&mut self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        if std::mem::take(&mut self.is_due) {
            sqlx::raw_sql(BEGIN).execute(connection).await?;
        }
        Ok(())
    }
}

/// Commits with the last script of a transaction; only as long as this row of the node stands, if there is one.
pub(super) fn commit_with(script: &mut Script, fence: Option<FloorRow>) {
    let put = |row: Row, fence: &FloorRow| row.number(fence.node_number).id(fence.epoch);
    script.add(FENCE, fence.as_slice(), put);
    script.add_plain(COMMIT);
}

/// Takes back what a failed transaction did.
pub(super) async fn roll_back(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(ROLLBACK).execute(connection).await.map(drop)
}
