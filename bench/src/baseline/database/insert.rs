//! Bulk inserts: a batch of messages per transaction, each with its row in every inbox and, if it has one, its key, the rows of a table in
//! multi-row statements and in the order of the primary key, each commit on disk before the next begins.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use sqlx::{Connection as _, Encode, Executor, IntoArguments, MySql, QueryBuilder, Sqlite, Type};
use tokio::sync::watch;

use super::{DatabaseConnection, Shape};

/// Rows in one statement: SQLite takes 32,766 values in one.
const MESSAGES_MAX: usize = 1000;
const INBOX_ROWS_MAX: usize = 4000;

const NOW_MS: i64 = 1_700_000_000_000;

/// Inserts batch after batch.
pub async fn run(
    mut connection: DatabaseConnection,
    shape: Shape,
    writer: u32,
    mut may_run: watch::Receiver<bool>,
    rows: Arc<AtomicU64>,
) -> sqlx::Result<()> {
    let mut batch = TransactionRows::first(shape, writer);
    // An error here means that the run is over.
    while may_run.wait_for(|may_run| *may_run).await.is_ok() {
        batch.insert(&mut connection).await?;
        rows.fetch_add(batch.inboxes.len() as u64, Relaxed);
        batch.advance();
    }
    Ok(())
}

/// Inserts at least so many messages, and tells how many it has.
pub async fn fill(
    connection: &mut DatabaseConnection,
    shape: Shape,
    messages: u64,
    mut tell: impl FnMut(u64),
) -> sqlx::Result<()> {
    let mut batch = TransactionRows::first(shape, 0);
    for number in 1..=messages.div_ceil(shape.batch.into()) {
        batch.insert(connection).await?;
        batch.advance();
        tell(number * u64::from(shape.batch));
    }
    Ok(())
}

/// What one transaction inserts.
struct TransactionRows {
    shape: Shape,
    content: Vec<u8>,
    /// Message id and sender.
    messages: Vec<(i64, i64)>,
    /// User, seq and message id, in that order.
    inboxes: Vec<(i64, i64, i64)>,
    /// How much further the seqs of the next batch are.
    per_inbox: i64,
}

impl TransactionRows {
    /// Users and message ids of each writer are its own.
    fn first(shape: Shape, writer: u32) -> Self {
        let Shape { batch, groups, members, .. } = shape;
        let user = |group: u32, member: u32| {
            1 + (i64::from(writer) * i64::from(groups) + i64::from(group)) * i64::from(members) + i64::from(member)
        };
        let id = |number: u32| (i64::from(writer) << 40) + i64::from(number) + 1;
        let messages = (0..batch).map(|number| (id(number), user(number % groups, number % members))).collect();
        let inboxes = (0..groups.min(batch)).flat_map(move |group| {
            (0..members).flat_map(move |member| {
                let numbers = (group..batch).step_by(groups as usize);
                numbers.map(move |number| (user(group, member), i64::from(number / groups) + 1, id(number)))
            })
        });
        Self {
            shape,
            content: vec![b'.'; shape.size as usize],
            messages,
            inboxes: inboxes.collect(),
            per_inbox: i64::from(batch.div_ceil(groups)),
        }
    }

    fn advance(&mut self) {
        let batch = i64::from(self.shape.batch);
        self.messages.iter_mut().for_each(|(id, _)| *id += batch);
        for (_, seq, id) in &mut self.inboxes {
            (*seq, *id) = (*seq + self.per_inbox, *id + batch);
        }
    }

    async fn insert(&self, connection: &mut DatabaseConnection) -> sqlx::Result<()> {
        match connection {
            DatabaseConnection::Sqlite(connection) => insert::<Sqlite>(connection, self).await,
            DatabaseConnection::MySql(connection) => insert::<MySql>(connection, self).await,
        }
    }
}

async fn insert<D>(connection: &mut D::Connection, batch: &TransactionRows) -> sqlx::Result<()>
where
    D: sqlx::Database,
    D::Arguments: IntoArguments<D>,
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
    for<'q> &'q [u8]: Encode<'q, D> + Type<D>,
    for<'q> Option<Vec<u8>>: Encode<'q, D> + Type<D>,
    for<'q> i64: Encode<'q, D> + Type<D>,
{
    let mut transaction = connection.begin().await?;
    for chunk in batch.messages.chunks(MESSAGES_MAX) {
        let mut rows = QueryBuilder::<D>::new(
            "INSERT INTO message (id, command, content, sender_id, created_at_ms, status, send_key) ",
        );
        rows.push_values(chunk, |mut row, &(id, sender)| {
            row.push_bind(id).push_bind(1_i64).push_bind(&batch.content[..]);
            row.push_bind(sender).push_bind(NOW_MS).push_bind(0_i64);
            row.push_bind(batch.shape.is_keyed.then(|| send_key(sender, id)));
        });
        rows.build().execute(&mut *transaction).await?;
    }
    for chunk in batch.inboxes.chunks(INBOX_ROWS_MAX) {
        let mut rows = QueryBuilder::<D>::new("INSERT INTO user_message (user_id, seq, message_id) ");
        rows.push_values(chunk, |mut row, &(user, seq, id)| {
            row.push_bind(user).push_bind(seq).push_bind(id);
        });
        rows.build().execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// As many bytes as logic gives a key: the sender's first, the others anywhere.
fn send_key(sender: i64, id: i64) -> Vec<u8> {
    let [_, _, _, _, of_sender @ ..] = sender.to_be_bytes();
    let scattered = u128::from(id.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    [&of_sender[..], &scattered.to_be_bytes()[..12]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_in_the_inboxes_of_its_group_and_seqs_go_on_without_gaps() {
        let shape = Shape { batch: 4, groups: 2, members: 2, size: 1, is_keyed: false };
        let mut batch = TransactionRows::first(shape, 0);
        let group = |user, seqs: [i64; 2], ids: [i64; 2]| [(user, seqs[0], ids[0]), (user, seqs[1], ids[1])];
        let expected =
            [group(1, [1, 2], [1, 3]), group(2, [1, 2], [1, 3]), group(3, [1, 2], [2, 4]), group(4, [1, 2], [2, 4])];
        assert_eq!(batch.inboxes, expected.concat());
        batch.advance();
        assert_eq!(batch.inboxes[..2], group(1, [3, 4], [5, 7]));
        assert!(TransactionRows::first(shape, 1).inboxes.iter().all(|&(user, ..)| user > 4));
    }
}
