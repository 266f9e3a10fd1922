//! Recall: the one update that makes it happen.
//!
//! A recalled message keeps its row and loses its content; of one between two users the row still says between whom. Every receiver gets one more inbox row that names the same
//! message, so that devices which had synced it learn of the recall too; in a large group, where nobody has a copy, the
//! timeline gets that row. When it was recalled stands in a row of its own, by an id among those of messages, so that whoever walks over
//! what is stored finds it. Written by the inbox writer, in its transaction.

use gim_proto::connect::MessageStatus;
use sqlx::AnyConnection;

use super::{
    columns::to_sql,
    script::Script,
    statement::MultiRow,
    work::{Post, Work},
};

const INSERT_RECALLS: MultiRow =
    MultiRow { head: "INSERT INTO message_recall (id, message_id) VALUES ", row: "(?,?)", tail: "" };

const MARK: &str = "UPDATE message SET status = ?, content = ?, receivers = CASE WHEN group_id = 0 THEN receivers END, \
                    receivers_version = NULL WHERE id = ? AND status = ?";

/// A message that was recalled just now.
pub(super) struct Recalled<'a> {
    /// What is left of it.
    pub post: &'a Post,
    id: u64,
}

/// Recalls the messages that `works` asks for; returns the requests that changed something. Messages before inboxes, and
/// ascending: two transactions that meet wait for each other, and never in a circle.
pub(super) async fn mark<'a>(
    connection: &mut AnyConnection,
    works: &[&'a Work],
) -> Result<Vec<Recalled<'a>>, sqlx::Error> {
    let asked = |work: &&'a Work| match work {
        Work::Recall(request) => Some(Recalled { post: &request.wants, id: request.id }),
        _ => None,
    };
    let mut asked: Vec<Recalled<'a>> = works.iter().filter_map(asked).collect();
    asked.sort_by_key(|recalled| recalled.post.message.id);
    let mut marked = Vec::new();
    for recalled in asked {
        let query = sqlx::query(MARK)
            .bind(i64::from(MessageStatus::MsRecalled as i32))
            .bind(Vec::new())
            .bind(to_sql(recalled.post.message.id))
            .bind(i64::from(MessageStatus::MsNormal as i32));
        if query.execute(&mut *connection).await?.rows_affected() > 0 {
            marked.push(recalled);
        }
    }
    Ok(marked)
}

/// Notes when that was.
pub(super) fn add_moments(script: &mut Script, recalled: &[Recalled<'_>]) {
    script.add(INSERT_RECALLS, recalled, |row, recalled| row.id(recalled.id).id(recalled.post.message.id));
}
