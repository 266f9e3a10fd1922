//! Recall: the one update that makes it happen.
//!
//! A recalled message keeps its row and loses its content; of one between two users the row still says between whom. Every receiver gets one more inbox row that names the same
//! message, so that devices which had synced it learn of the recall too; in a large group, where nobody has a copy, the
//! timeline gets that row. Written by the inbox writer, in its transaction.

use gim_proto::connect::MessageStatus;
use sqlx::AnyConnection;

use super::{
    columns::to_sql,
    work::{Post, Work},
};

const MARK: &str = "UPDATE message SET status = ?, content = ?, receivers = CASE WHEN group_id = 0 THEN receivers END \
                    WHERE id = ? AND status = ?";

/// Recalls the messages that `works` asks for; returns the requests that changed something. Messages before inboxes, and
/// ascending: two transactions that meet wait for each other, and never in a circle.
pub(super) async fn mark<'a>(connection: &mut AnyConnection, works: &[&'a Work]) -> Result<Vec<&'a Post>, sqlx::Error> {
    let asked = |work: &&'a Work| match work {
        Work::Recall(request) => Some(&request.wants),
        _ => None,
    };
    let mut asked: Vec<&Post> = works.iter().filter_map(asked).collect();
    asked.sort_by_key(|post| post.message.id);
    let mut marked = Vec::new();
    for post in asked {
        let query = sqlx::query(MARK)
            .bind(i64::from(MessageStatus::MsRecalled as i32))
            .bind(Vec::new())
            .bind(to_sql(post.message.id))
            .bind(i64::from(MessageStatus::MsNormal as i32));
        if query.execute(&mut *connection).await?.rows_affected() > 0 {
            marked.push(post);
        }
    }
    Ok(marked)
}
