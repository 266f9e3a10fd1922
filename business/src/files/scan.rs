//! Asks a webhook of the operator's (a virus scanner, a person) whether what was uploaded may be read.
//!
//! One task of Tokio, woken by each upload, and now and then for what could not be asked; each call is a task of its own, so that one that
//! waits for the database or has it goes on while the next is looked for. As soon as a call is over the next one begins, about the content
//! whose turn it is ([`check_turns`](super::check_turns)). Always holds: a content that nobody has said anything about cannot be
//! read; it is asked about again until somebody does, by the same id, after longer and longer waits.
//!
//! Several nodes on one database share what waits: who asks reserves the content until her call must be over. A node that ends meanwhile
//! leaves it to the others after that. Each node has places and turns of its own.

use std::{net::SocketAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use gim_config::webhook::{Secret, Webhook, WebhookError};
use serde::Serialize;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    Files,
    check_turns::{CheckTurns, Kind, wait_ms},
    signed_url::Variant,
};
use crate::{
    clock,
    metrics::{FILE_CHECK_OLDEST_SECONDS, FILE_CHECKS_TOTAL, FILE_CHECKS_WAITING},
    settings::FilesSettings,
    store::{Content, ContentState, StoreError, UncheckedContent},
};

/// So often it is looked for what is to be asked about again.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// So often it is counted what waits.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);
/// For so long nothing is asked when nobody can be, or the database cannot say about what.
const REST: Duration = Duration::from_secs(5);

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

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Answered,
    /// Somebody was asked, and said nothing.
    InVain,
    /// Nobody could be asked.
    Away,
}

/// A call that is over.
struct Ended {
    kind: Kind,
    user_id: u64,
    outcome: Outcome,
}

/// Asks until it is aborted.
pub(super) async fn run(files: Files, address: SocketAddr) {
    let Some(scanner) = files.scanner.clone() else { return };
    let base_url: Arc<str> = match files.settings.public_url.as_str() {
        "" => format!("http://{address}").into(),
        url => url.into(),
    };
    let mut turns = CheckTurns::new(files.settings.check_calls_at_once);
    let (mut calls, mut rests_until) = (JoinSet::new(), Instant::now());
    let [mut looks, mut counts] = [LOOK_INTERVAL, COUNT_INTERVAL].map(interval);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    counts.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        while Instant::now() >= rests_until {
            match next(&files, &mut turns).await {
                Ok(Some((kind, content))) => {
                    let user_id = content.user_id;
                    let asked = ask_about(files.clone(), scanner.clone(), base_url.clone(), content);
                    calls.spawn(async move {
                        // One that fails gives its place back all the same.
                        let outcome = AssertUnwindSafe(asked).catch_unwind().await.unwrap_or(Outcome::InVain);
                        Ended { kind, user_id, outcome }
                    });
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "files could not be checked; it is tried again");
                    rests_until = Instant::now() + REST;
                }
            }
        }
        tokio::select! {
            Some(Ok(Ended { kind, user_id, outcome })) = calls.join_next() => {
                turns.give_back(kind, user_id);
                match outcome {
                    Outcome::Answered => {}
                    Outcome::InVain => turns.doubt(user_id, clock::now_ms()),
                    Outcome::Away => rests_until = Instant::now() + REST,
                }
            }
            () = scanner.news.notified() => {}
            _ = looks.tick() => {}
            _ = counts.tick() => tell_what_waits(&files).await,
        }
    }
}

/// What is asked about next, in a place that it has from now on.
async fn next(files: &Files, turns: &mut CheckTurns) -> Result<Option<(Kind, UncheckedContent)>, StoreError> {
    for kind in [Kind::New, Kind::Any] {
        if let Some(content) = next_of(files, turns, kind).await? {
            return Ok(Some((kind, content)));
        }
    }
    Ok(None)
}

/// The same for a kind of place: of the next user who may have one, up from the one whose turn it is and then from the first.
async fn next_of(files: &Files, turns: &mut CheckTurns, kind: Kind) -> Result<Option<UncheckedContent>, StoreError> {
    let Some(begin) = turns.next_user(kind) else { return Ok(None) };
    let (mut from, mut is_second_round) = (begin, false);
    loop {
        let now_ms = clock::now_ms();
        let found = match kind {
            Kind::New => files.store.new_content(from).await?,
            Kind::Any => files.store.due_content(from, now_ms).await?,
        };
        let Some(found) = found.filter(|found| !is_second_round || found.user_id < begin) else {
            if is_second_round || begin == 0 {
                return Ok(None);
            }
            (from, is_second_round) = (0, true);
            continue;
        };
        if !turns.may_take(kind, found.user_id, now_ms) {
            from = found.user_id + 1;
            continue;
        }
        from = found.user_id;
        let call_ms = i64::try_from(files.settings.check_webhook_timeout_ms).unwrap_or(i64::MAX);
        let until_ms = now_ms.saturating_add(call_ms).saturating_add(wait_ms(found.failed_checks.saturating_add(1)));
        if files.store.reserve_check(&found, until_ms).await? {
            turns.take(kind, found.user_id);
            return Ok(Some(found));
        }
    }
}

async fn tell_what_waits(files: &Files) {
    match files.store.unchecked_contents().await {
        Ok((count, oldest_ms)) => {
            let age_ms = if count == 0 { 0 } else { clock::now_ms() - oldest_ms };
            metrics::gauge!(FILE_CHECKS_WAITING).set(count as f64);
            metrics::gauge!(FILE_CHECK_OLDEST_SECONDS).set(age_ms.max(0) as f64 / 1_000.0);
        }
        Err(error) => tracing::debug!(%error, "it is not known how many files are to be checked"),
    }
}

async fn ask_about(files: Files, scanner: Arc<Scanner>, base_url: Arc<str>, asked: UncheckedContent) -> Outcome {
    let hash = asked.content.hash;
    let answer = call(&files, &scanner, &base_url, &asked.content).await;
    let (outcome, noted) = match answer {
        Ok(state) => (Outcome::Answered, judge(&files, &asked.content, state).await),
        Err(error) => {
            count("failed");
            tracing::warn!(%error, sha256 = %hash, "a file could not be checked; it is tried again");
            // Who was not reached has not seen the file, so that says nothing of it.
            let is_away = matches!(error, WebhookError::Away(_) | WebhookError::Full);
            let failed = if is_away { asked.failed_checks } else { asked.failed_checks.saturating_add(1) };
            let ask_at_ms = if is_away { asked.ask_at_ms } else { clock::now_ms() + wait_ms(failed) };
            let outcome = if is_away { Outcome::Away } else { Outcome::InVain };
            (outcome, files.store.put_off_check(hash, ask_at_ms, failed).await)
        }
    };
    if let Err(error) = noted {
        tracing::warn!(%error, sha256 = %hash, "what came of checking a file could not be noted; it is checked again");
    }
    outcome
}

/// Asks about a content, for whether it may be read.
async fn call(
    files: &Files,
    scanner: &Scanner,
    base_url: &str,
    content: &Content,
) -> Result<ContentState, WebhookError> {
    let signed = files.signer.sign(content.content_id, Variant::Check, clock::now_ms());
    let data = CheckData {
        sha256: content.hash.to_string(),
        size_bytes: content.size_bytes,
        kind: content.kind.clone(),
        url: format!("{base_url}{}", signed.path),
    };
    let event = CheckEvent { r#type: "file.check", data };
    let body = serde_json::to_vec(&event).expect("texts and numbers are JSON");
    let place = scanner.webhook.place()?;
    match scanner.webhook.call(place, &format!("file_{}", content.hash), Bytes::from(body)).await {
        Ok(()) => Ok(ContentState::Good),
        Err(WebhookError::Refused(status)) if matches!(status.as_u16(), 403 | 406 | 422 | 451) => {
            Ok(ContentState::Refused)
        }
        Err(error) => Err(error),
    }
}

/// Notes what was said of a content; of a refused one the bytes go.
async fn judge(files: &Files, content: &Content, state: ContentState) -> Result<(), StoreError> {
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
