//! An endpoint of the operator's, which wakes devices itself: JSON over HTTP, signed as Standard Webhooks says.
//!
//! Always holds: a call that is repeated has the same id and body, but where one of its pushes is of no use any more.

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use gim_config::webhook::{Secret, Webhook, WebhookError};
use gim_proto::business::{OfflinePush, offline_push::Peer};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use tonic::async_trait;

use super::{Cause, Outcome, PushSender};
use crate::settings::OfflinePushSettings;

/// Pushes of one call, and calls at the same time.
const LIMITS: (usize, usize) = (100, 4);

/// An answer that is longer says nothing.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

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

/// What it may answer.
#[derive(Debug, Default, Deserialize)]
struct Answer {
    /// Ids of pushes under whose push id nobody is reached.
    #[serde(default)]
    unregistered_ids: HashSet<String>,
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
        let timeout = Duration::from_millis(settings.timeout_ms);
        let webhook = Webhook::within(&settings.webhook, secret, timeout, settings.reach())
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

    fn limits(&self) -> (usize, usize) {
        LIMITS
    }

    async fn hand_out(&self, pushes: &[OfflinePush], made_at_ms: i64) -> Vec<Outcome> {
        let data = pushes.iter().map(PushJson::from).collect();
        let call = Call { r#type: "push.handed_out", timestamp_ms: made_at_ms, data };
        let body = match serde_json::to_vec(&call) {
            Ok(body) => Bytes::from(body),
            Err(error) => return vec![Outcome::Refused(error.to_string()); pushes.len()],
        };
        let Ok(place) = self.webhook.place() else {
            return vec![Outcome::Later(Cause::Service, None); pushes.len()];
        };
        match self.webhook.ask(place, &id_of(pushes), body, ANSWER_BYTES_MAX).await {
            Ok(answer) => {
                let Answer { unregistered_ids } = serde_json::from_slice(&answer).unwrap_or_default();
                let outcome = |push: &OfflinePush| match unregistered_ids.contains(&push.id) {
                    true => Outcome::Unregistered(i64::MAX),
                    false => Outcome::Taken,
                };
                pushes.iter().map(outcome).collect()
            }
            Err(error) => vec![of_error(&error); pushes.len()],
        }
    }
}

fn of_error(error: &WebhookError) -> Outcome {
    match error {
        WebhookError::Refused(status) if status.is_client_error() && status.as_u16() != 429 => {
            Outcome::Refused(format!("the webhook answered {status}"))
        }
        WebhookError::Unanswered(_) => Outcome::Later(Cause::Unanswered, None),
        _ => Outcome::Later(Cause::Service, None),
    }
}

/// The same for the same pushes, and for no others: a receiver may pass over a call whose id it knows.
fn id_of(pushes: &[OfflinePush]) -> String {
    let mut hash = Context::new(&SHA256);
    pushes.iter().for_each(|push| hash.update(format!("{} ", push.id).as_bytes()));
    hash.finish().as_ref()[..16].iter().fold("push_".to_owned(), |id, byte| id + &format!("{byte:02x}"))
}
