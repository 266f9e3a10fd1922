//! Asks a webhook of the operator's (a virus scanner, a person) whether what was uploaded may be read.
//!
//! One task of Tokio, woken by each upload, and now and then for what could not be asked. Always holds: a content that nobody has said
//! anything about cannot be read; it is asked about again until somebody does, by the same id, after those that wait for longer.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use gim_config::webhook::{Secret, Webhook, WebhookError};
use serde::Serialize;
use tokio::sync::Notify;

use super::{Files, signed_url::Variant};
use crate::{
    clock,
    metrics::FILE_CHECKS_TOTAL,
    settings::FilesSettings,
    store::{Content, ContentState, StoreError},
};

/// After so long it is asked again about what nobody said anything about.
const RETRY: Duration = Duration::from_secs(15);

/// Contents that are asked about together, and at the same time.
const STEP_MAX: usize = 64;
const CALLS_AT_ONCE: usize = 8;

/// The webhook of the settings.
#[derive(Debug)]
pub struct Scanner {
    webhook: Webhook,
    /// Somebody uploaded something.
    news: Notify,
}

/// What the webhook gets.
#[derive(Debug, Serialize)]
struct CheckEvent {
    r#type: &'static str,
    data: CheckData,
}

#[derive(Debug, Serialize)]
struct CheckData {
    sha256: String,
    size_bytes: u64,
    kind: String,
    /// Where the bytes are, for whoever checks.
    url: String,
}

impl Scanner {
    /// The webhook of the settings, if they have one.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn new(settings: &FilesSettings) -> Result<Option<Self>, String> {
        if settings.check_webhook.is_empty() {
            return Ok(None);
        }
        let secret = Secret::new(&settings.check_webhook_secret)
            .map_err(|problem| format!("files.check_webhook_secret: {problem}"))?;
        let timeout = Duration::from_millis(settings.check_webhook_timeout_ms);
        let webhook = Webhook::new(&settings.check_webhook, secret, timeout)
            .map_err(|problem| format!("files.check_webhook: {problem}"))?;
        Ok(Some(Self { webhook, news: Notify::new() }))
    }

    /// Has the task look.
    pub fn wake(&self) {
        self.news.notify_one();
    }
}

/// Asks until it is aborted.
pub(super) async fn run(files: Files, address: SocketAddr) {
    let Some(scanner) = &files.scanner else { return };
    let base_url = match files.settings.public_url.as_str() {
        "" => format!("http://{address}"),
        url => url.to_owned(),
    };
    loop {
        if let Err(error) = ask_about_all(&files, scanner, &base_url).await {
            tracing::warn!(%error, "files could not be checked; it is tried again");
        }
        let _ = tokio::time::timeout(RETRY, scanner.news.notified()).await;
    }
}

/// Asks once about each; about those that come meanwhile before those that were asked about in vain.
async fn ask_about_all(files: &Files, scanner: &Scanner, base_url: &str) -> Result<(), StoreError> {
    let begun_at_ms = clock::now_ms();
    while ask_about_some(files, scanner, base_url, begun_at_ms).await? == STEP_MAX {}
    Ok(())
}

/// Asks about those that wait for longest; how many that were.
async fn ask_about_some(
    files: &Files,
    scanner: &Scanner,
    base_url: &str,
    begun_at_ms: i64,
) -> Result<usize, StoreError> {
    let contents = files.store.unchecked_contents(begun_at_ms, STEP_MAX as u32).await?;
    let count = contents.len();
    let asked = contents.into_iter().map(|content| ask_about(files, scanner, base_url, content));
    let results: Vec<_> = stream::iter(asked).buffer_unordered(CALLS_AT_ONCE).collect().await;
    results.into_iter().collect::<Result<(), _>>()?;
    Ok(count)
}

async fn ask_about(files: &Files, scanner: &Scanner, base_url: &str, content: Content) -> Result<(), StoreError> {
    let now_ms = clock::now_ms();
    files.store.note_asked(content.hash, now_ms).await?;
    let signed = files.signer.sign(content.content_id, Variant::Check, now_ms);
    let data = CheckData {
        sha256: content.hash.to_string(),
        size_bytes: content.size_bytes,
        kind: content.kind.clone(),
        url: format!("{base_url}{}", signed.path),
    };
    let event = CheckEvent { r#type: "file.check", data };
    let body = serde_json::to_vec(&event).expect("texts and numbers are JSON");
    let answer = match scanner.webhook.place() {
        Ok(place) => scanner.webhook.call(place, &format!("file_{}", content.hash), Bytes::from(body)).await,
        Err(error) => Err(error),
    };
    let state = match answer {
        Ok(()) => ContentState::Good,
        Err(WebhookError::Refused(status)) if matches!(status.as_u16(), 403 | 406 | 422 | 451) => ContentState::Refused,
        Err(error) => {
            count("failed");
            tracing::warn!(%error, sha256 = %content.hash, "a file could not be checked; it is tried again");
            return Ok(());
        }
    };
    files.store.judge_content(content.hash, state).await?;
    if state == ContentState::Good {
        count("good");
        return Ok(());
    }
    count("refused");
    tracing::warn!(sha256 = %content.hash, "a file was checked and refused; its bytes are removed");
    if let Err(error) = files.contents.remove(content.content_id).await {
        tracing::warn!(%error, "the bytes of a refused file could not be removed; nobody can read them");
    }
    Ok(())
}

fn count(result: &'static str) {
    metrics::counter!(FILE_CHECKS_TOTAL, "result" => result).increment(1);
}
