//! An endpoint of the operator's, which wakes devices itself: JSON over HTTP, signed as Standard Webhooks says.

use std::time::Duration;

use bytes::Bytes;
use gim_config::webhook::{Secret, Webhook, WebhookError};
use gim_proto::business::{OfflinePush, offline_push::Peer};
use ring::digest::{Context, SHA256};
use serde::Serialize;
use tonic::async_trait;

use super::{Outcome, PushSender};
use crate::{domain::clock, settings::OfflinePushSettings};

/// Pushes of one call.
const BATCH_MAX: usize = 100;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct WebhookSender {
    webhook: Webhook,
}

/// One call, as PROTOCOL.md describes it.
#[derive(Debug, Serialize)]
struct Call<'a> {
    r#type: &'static str,
    timestamp_ms: i64,
    data: Vec<PushJson<'a>>,
}

/// Ids are texts: numbers of JSON are not that large.
#[derive(Debug, Serialize)]
struct PushJson<'a> {
    id: &'a str,
    user_id: String,
    device_id: String,
    device_type: i32,
    push_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Option<String>,
    message_id: String,
    command: i32,
    title: &'a str,
    preview: &'a str,
    badge: u32,
    messages: u32,
    stored_at_ms: i64,
}

impl WebhookSender {
    pub(super) fn new(settings: &OfflinePushSettings) -> Result<Self, String> {
        let secret = Secret::new(&settings.webhook_secret)
            .map_err(|problem| format!("offline_push.webhook_secret: {problem}"))?;
        let webhook = Webhook::new(&settings.webhook, secret, Duration::from_millis(settings.timeout_ms))
            .map_err(|problem| format!("offline_push.webhook: {problem}"))?;
        Ok(Self { webhook })
    }
}

impl<'a> From<&'a OfflinePush> for PushJson<'a> {
    fn from(push: &'a OfflinePush) -> Self {
        let (peer_user_id, group_id) = match push.peer {
            Some(Peer::PeerUserId(user_id)) => (Some(user_id.to_string()), None),
            Some(Peer::GroupId(group_id)) => (None, Some(group_id.to_string())),
            None => (None, None),
        };
        Self {
            id: &push.id,
            user_id: push.user_id.to_string(),
            device_id: push.device_id.to_string(),
            device_type: push.device_type,
            push_id: &push.push_id,
            peer_user_id,
            group_id,
            message_id: push.message_id.to_string(),
            command: push.command,
            title: &push.title,
            preview: &push.preview,
            badge: push.badge,
            messages: push.messages,
            stored_at_ms: push.stored_at_ms,
        }
    }
}

#[async_trait]
impl PushSender for WebhookSender {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    async fn hand_out(&self, pushes: &[OfflinePush]) -> Vec<Outcome> {
        let data = pushes.iter().map(PushJson::from).collect();
        let call = Call { r#type: "push.handed_out", timestamp_ms: clock::now_ms(), data };
        let outcome = match (serde_json::to_vec(&call), self.webhook.place()) {
            (Ok(body), Ok(place)) => match self.webhook.call(place, &id_of(pushes), Bytes::from(body)).await {
                Ok(()) => Outcome::Taken,
                Err(WebhookError::Refused(status)) if status.is_client_error() && status.as_u16() != 429 => {
                    Outcome::Refused(format!("the webhook answered {status}"))
                }
                Err(_) => Outcome::Later(None),
            },
            (Err(error), _) => Outcome::Refused(error.to_string()),
            (_, Err(_)) => Outcome::Later(None),
        };
        vec![outcome; pushes.len()]
    }
}

/// The same for the same pushes, and for no others: a receiver may pass over a call whose id it knows.
fn id_of(pushes: &[OfflinePush]) -> String {
    let mut hash = Context::new(&SHA256);
    pushes.iter().for_each(|push| hash.update(format!("{} ", push.id).as_bytes()));
    hash.finish().as_ref()[..16].iter().fold("push_".to_owned(), |id, byte| id + &format!("{byte:02x}"))
}
