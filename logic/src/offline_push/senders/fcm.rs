//! Google's service (FCM, HTTP v1): Android, and whatever else an app registered there.
//!
//! Always holds: its access token is asked for once for all, a while before the last one ends; a device's token of another project is given up
//! only once one of this project was taken, as all of them are another's where the settings name the wrong account.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use gim_config::https_client::HttpsClient;
use gim_proto::business::OfflinePush;
use http::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tonic::async_trait;

use super::{
    Outcome, PushSender,
    each::{LIMITS, Moment, TTL_S, conversation, headers, of_answer, of_no_answer, service_is_busy},
    signing::SigningKey,
};
use crate::{domain::push_device::PushService, settings::OfflinePushSettings};

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";

/// For how long an assertion is good, which is needed once.
const ASSERTION_S: i64 = 600;

/// So long before it ends a token is not used any more; of one that is good for a short time, the half of that.
const TOKEN_MARGIN: Duration = Duration::from_secs(300);

/// After it could not be had it is not asked for, for so long.
const TOKEN_PAUSE: Duration = Duration::from_secs(5);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct FcmSender {
    client: HttpsClient,
    url: Uri,
    account: Account,
    key: SigningKey,
    token_url: Uri,
    token: Mutex<KnownToken>,
    /// Whether the service ever took a push for this project.
    has_worked: AtomicBool,
}

/// What was answered last to who asked for an access token.
#[derive(Default)]
enum KnownToken {
    #[default]
    None,
    Good(String, Instant),
    /// Nobody asks again before this time.
    Failed(Outcome, Instant),
}

impl std::fmt::Debug for KnownToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("KnownToken")
    }
}

/// What a file of a service account says.
#[derive(Deserialize)]
struct Account {
    project_id: String,
    client_email: String,
    private_key: String,
    token_uri: String,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Account").field("client_email", &self.client_email).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct AccessToken {
    access_token: String,
    expires_in: u64,
}

impl FcmSender {
    pub(super) fn new(settings: &OfflinePushSettings) -> Result<Self, String> {
        let file = settings.fcm_account_file.as_path();
        let account = read_account(file).map_err(|problem| format!("offline_push.fcm_account_file: {problem}"))?;
        let key = SigningKey::rsa(&account.private_key)
            .map_err(|problem| format!("offline_push.fcm_account_file: its private_key {problem}"))?;
        let url = format!("{}/v1/projects/{}/messages:send", settings.fcm_endpoint, account.project_id);
        let url = url.parse().map_err(|error| format!("offline_push.fcm_endpoint: {error}"))?;
        let token_url = account.token_uri.parse();
        let token_url = token_url.map_err(|error| format!("offline_push.fcm_account_file: its token_uri: {error}"))?;
        let timeout = Duration::from_millis(settings.timeout_ms);
        let client = HttpsClient::new(&settings.authorities_file, false, timeout)?;
        Ok(Self { client, url, account, key, token_url, token: Mutex::default(), has_worked: AtomicBool::new(false) })
    }

    pub(super) async fn hand_out_one(&self, push: &OfflinePush, moment: Moment) -> Outcome {
        let token = match self.token(moment).await {
            Ok(token) => token,
            Err(outcome) => return outcome,
        };
        let body = json!({ "message": message(push) }).to_string();
        let headers =
            headers([("authorization", format!("Bearer {token}")), ("content-type", "application/json".into())]);
        match self.client.post(self.url.clone(), headers, body.into()).await {
            Err(error) => of_no_answer(&error),
            Ok(answer) if is_unregistered(&answer.body, self.has_worked.load(Relaxed)) => {
                Outcome::Unregistered(i64::MAX)
            }
            Ok(answer) if answer.status == StatusCode::UNAUTHORIZED => {
                self.forget(&token).await;
                service_is_busy(None)
            }
            Ok(answer) => {
                self.has_worked.fetch_or(answer.status.is_success(), Relaxed);
                of_answer(&answer)
            }
        }
    }

    /// The access token; who waits for a new one waits for that of another push, and fails with it.
    async fn token(&self, moment: Moment) -> Result<String, Outcome> {
        let mut known = self.token.lock().await;
        match &*known {
            KnownToken::Good(token, until) if moment.at < *until => return Ok(token.clone()),
            KnownToken::Failed(outcome, until) if moment.at < *until => return Err(outcome.clone()),
            _ => {}
        }
        let begun = Instant::now();
        let asked = self.ask_for_token(moment.unix_s).await;
        *known = match &asked {
            // From when it was asked for, as it was made after that.
            Ok((token, lifetime)) => KnownToken::Good(token.clone(), moment.at + *lifetime),
            Err(outcome) => KnownToken::Failed(outcome.clone(), moment.at + begun.elapsed() + TOKEN_PAUSE),
        };
        asked.map(|(token, _)| token)
    }

    async fn ask_for_token(&self, now_s: i64) -> Result<(String, Duration), Outcome> {
        let claims = json!({
            "iss": self.account.client_email,
            "scope": SCOPE,
            "aud": self.account.token_uri,
            "iat": now_s,
            "exp": now_s + ASSERTION_S,
        });
        let assertion = self.key.token(None, &claims).map_err(Outcome::Refused)?;
        let headers = headers([("content-type", "application/x-www-form-urlencoded".into())]);
        let asked = self.client.post(self.token_url.clone(), headers, format!("{GRANT}{assertion}").into()).await;
        // Whatever became of that, the push was not handed out.
        let answer = asked.map_err(|error| {
            tracing::debug!(%error, "no token of FCM");
            service_is_busy(None)
        })?;
        if !answer.status.is_success() {
            return Err(of_answer(&answer));
        }
        let given: AccessToken = serde_json::from_slice(&answer.body)
            .map_err(|error| Outcome::Refused(format!("the token of the service account: {error}")))?;
        let lifetime = Duration::from_secs(given.expires_in);
        Ok((given.access_token, lifetime.saturating_sub(TOKEN_MARGIN.min(lifetime / 2))))
    }

    async fn forget(&self, token: &str) {
        let mut known = self.token.lock().await;
        if matches!(&*known, KnownToken::Good(other, _) if other == token) {
            *known = KnownToken::None;
        }
    }
}

#[async_trait]
impl PushSender for FcmSender {
    fn name(&self) -> &'static str {
        "fcm"
    }

    fn limits(&self) -> (usize, usize) {
        LIMITS
    }

    async fn hand_out(&self, pushes: &[OfflinePush], _made_at_ms: i64) -> Vec<Outcome> {
        join_all(pushes.iter().map(|push| self.hand_out_one(push, Moment::now()))).await
    }
}

fn read_account(file: &Path) -> Result<Account, String> {
    let shown = file.display();
    let text = fs::read_to_string(file).map_err(|error| format!("cannot read {shown}: {error}"))?;
    // The problem would repeat what it says.
    serde_json::from_str(&text).map_err(|_| format!("{shown} is no file of a service account"))
}

/// What the device gets: something to show, unless nothing is said, and what an app needs to open the conversation.
fn message(push: &OfflinePush) -> Value {
    let (_, token) = PushService::of(&push.push_id);
    let conversation = conversation(push);
    let mut message = json!({
        "token": token,
        "data": {
            "id": push.id,
            "conversation": conversation,
            "message_id": push.message_id.to_string(),
            "badge": push.badge.to_string(),
            "messages": push.messages.to_string(),
        },
        "android": { "priority": "HIGH", "collapse_key": conversation, "ttl": format!("{TTL_S}s") },
    });
    if !push.title.is_empty() || !push.preview.is_empty() {
        message["notification"] = json!({ "title": push.title, "body": push.preview });
        message["android"]["notification"] = json!({ "tag": conversation });
    }
    message
}

/// Whether the errors of an answer say so: the token is gone, is no token at all, or is one of another project.
fn is_unregistered(body: &[u8], has_worked: bool) -> bool {
    let error: Value = serde_json::from_slice(body).unwrap_or_default();
    let details = || error["error"]["details"].as_array().into_iter().flatten();
    let has_code = |code: &str| details().any(|detail| detail["errorCode"] == code);
    let violations = || details().flat_map(|detail| detail["fieldViolations"].as_array().into_iter().flatten());
    has_code("UNREGISTERED")
        || violations().any(|violation| violation["field"] == "message.token")
        || (has_worked && has_code("SENDER_ID_MISMATCH"))
}
