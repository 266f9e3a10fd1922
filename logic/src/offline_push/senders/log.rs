//! For development: pushes are told in the log, and wake nobody.

use gim_proto::business::OfflinePush;
use tonic::async_trait;

use super::{Outcome, PushSender};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct LogSender;

#[async_trait]
impl PushSender for LogSender {
    fn name(&self) -> &'static str {
        "log"
    }

    fn limits(&self) -> (usize, usize) {
        (1_000, 1)
    }

    async fn hand_out(&self, pushes: &[OfflinePush], _made_at_ms: i64) -> Vec<Outcome> {
        for push in pushes {
            let OfflinePush { id, user_id, device_id, title, preview, badge, messages, .. } = push;
            tracing::info!(id, user_id, device_id, title, preview, badge, messages, "somebody is away");
        }
        vec![Outcome::Taken; pushes.len()]
    }
}
