//! Apple's service (APNs, HTTP/2, tokens of a key).
//!
//! Always holds: its token is made anew before the hour is over for which the service takes it; a device's token that the service calls bad is
//! given up only once another one was taken, as all of them are bad where the settings name the wrong endpoint or app.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use gim_config::https_client::{HttpsAnswer, HttpsClient};
use gim_proto::business::OfflinePush;
use http::{StatusCode, Uri};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tonic::async_trait;

use super::{
    Outcome, PushSender,
    each::{LIMITS, Moment, TTL_S, conversation, headers, of_answer, of_no_answer, service_is_busy},
    signing::SigningKey,
};
use crate::{domain::push_device::PushService, settings::OfflinePushSettings};

/// The service refuses tokens that are older than an hour, and those that are made more often than every twenty minutes.
const TOKEN_LIFETIME: Duration = Duration::from_secs(40 * 60);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct ApnsSender {
    client: HttpsClient,
    endpoint: String,
    topic: String,
    key: SigningKey,
    key_id: String,
    team_id: String,
    token: Mutex<Option<(String, Instant)>>,
    /// Whether the service ever took a push for this app.
    has_worked: AtomicBool,
}

impl ApnsSender {
    pub(super) fn new(settings: &OfflinePushSettings) -> Result<Self, String> {
        let key = SigningKey::p256(&settings.apns_key_file);
        let client = HttpsClient::new(&settings.authorities_file, true, Duration::from_millis(settings.timeout_ms))?;
        Ok(Self {
            client,
            endpoint: settings.apns_endpoint.clone(),
            topic: settings.apns_topic.clone(),
            key: key.map_err(|problem| format!("offline_push.apns_key_file: {problem}"))?,
            key_id: settings.apns_key_id.clone(),
            team_id: settings.apns_team_id.clone(),
            token: Mutex::default(),
            has_worked: AtomicBool::new(false),
        })
    }

    pub(super) async fn hand_out_one(&self, push: &OfflinePush, moment: Moment) -> Outcome {
        let (_, device) = PushService::of(&push.push_id);
        if !device.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Outcome::Unregistered(i64::MAX);
        }
        let url = format!("{}/3/device/{device}", self.endpoint).parse::<Uri>();
        let (Ok(url), Ok(token)) = (url, self.token(moment)) else {
            return Outcome::Refused("the settings of APNs make no request".into());
        };
        let is_shown = is_shown(push);
        let expires_s = moment.unix_s + TTL_S as i64;
        let headers = headers([
            ("authorization", format!("bearer {token}")),
            ("apns-topic", self.topic.clone()),
            ("apns-push-type", if is_shown { "alert" } else { "background" }.into()),
            ("apns-priority", if is_shown { "10" } else { "5" }.into()),
            ("apns-expiration", expires_s.to_string()),
            ("apns-collapse-id", conversation(push)),
            ("apns-id", uuid_of(&push.id)),
        ]);
        match self.client.post(url, headers, payload(push).to_string().into()).await {
            Err(error) => of_no_answer(&error),
            Ok(answer) => self.read(&answer, &token),
        }
    }

    fn read(&self, answer: &HttpsAnswer, token: &str) -> Outcome {
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match (answer.status, said["reason"].as_str().unwrap_or_default()) {
            (StatusCode::GONE, _) => Outcome::Unregistered(said["timestamp"].as_i64().unwrap_or(i64::MAX)),
            (StatusCode::BAD_REQUEST, "BadDeviceToken" | "DeviceTokenNotForTopic") if self.has_worked.load(Relaxed) => {
                Outcome::Unregistered(i64::MAX)
            }
            (StatusCode::TOO_MANY_REQUESTS, "TooManyProviderTokenUpdates") => service_is_busy(answer.retry_after),
            (StatusCode::FORBIDDEN, "ExpiredProviderToken") => {
                let mut known = self.token.lock().unwrap_or_else(PoisonError::into_inner);
                if known.as_ref().is_some_and(|(other, _)| other == token) {
                    *known = None;
                }
                service_is_busy(None)
            }
            (status, _) => {
                self.has_worked.fetch_or(status.is_success(), Relaxed);
                of_answer(answer)
            }
        }
    }

    fn token(&self, moment: Moment) -> Result<String, String> {
        let mut known = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, until)) = &*known
            && moment.at < *until
        {
            return Ok(token.clone());
        }
        let claims = json!({ "iss": self.team_id, "iat": moment.unix_s });
        let token = self.key.token(Some(&self.key_id), &claims)?;
        *known = Some((token.clone(), moment.at + TOKEN_LIFETIME));
        Ok(token)
    }
}

#[async_trait]
impl PushSender for ApnsSender {
    fn name(&self) -> &'static str {
        "apns"
    }

    fn limits(&self) -> (usize, usize) {
        LIMITS
    }

    async fn hand_out(&self, pushes: &[OfflinePush], _made_at_ms: i64) -> Vec<Outcome> {
        join_all(pushes.iter().map(|push| self.hand_out_one(push, Moment::now()))).await
    }
}

fn is_shown(push: &OfflinePush) -> bool {
    !push.title.is_empty() || !push.preview.is_empty()
}

fn payload(push: &OfflinePush) -> Value {
    let conversation = conversation(push);
    let mut aps = json!({});
    if is_shown(push) {
        aps = json!({
            "alert": { "title": push.title, "body": push.preview },
            "sound": "default",
            "thread-id": conversation,
        });
        if push.badge > 0 {
            aps["badge"] = push.badge.into();
        }
    } else {
        aps["content-available"] = 1.into();
    }
    let message_id = push.message_id.to_string();
    json!({ "aps": aps, "gim": { "id": push.id, "conversation": conversation, "message_id": message_id } })
}

/// The same UUID for the same push.
fn uuid_of(id: &str) -> String {
    let hash = digest(&SHA256, id.as_bytes());
    let hex: String = hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
