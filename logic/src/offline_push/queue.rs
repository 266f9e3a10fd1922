//! What waits for one sender, and the task that hands it over.
//!
//! Always holds: the queue is bounded, and one push beyond is counted and left out; what cannot be handed over is tried again, less and less
//! often, until it is too old to wake anybody for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gim_config::seldom::Seldom;
use gim_proto::business::OfflinePush;
use metrics::{counter, gauge, histogram};
use tokio::{sync::mpsc, task::JoinHandle};

use super::senders::{Outcome, PushSender};
use crate::{
    domain::{clock, push_device::PushDevice},
    metrics as names,
    store::PushTargets,
};

/// What is older wakes nobody.
const AGE_MAX_MS: i64 = 10 * 60 * 1000;

/// From one attempt to the next, unless the service says how long.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The longest that a service may say.
const PAUSE_SAID_MAX: Duration = Duration::from_secs(300);

/// The end where pushes are put in.
#[derive(Debug)]
pub(super) struct SenderQueue {
    sender: mpsc::Sender<OfflinePush>,
    task: JoinHandle<()>,
}

/// The end where they are taken out.
struct Handing {
    sender: Arc<dyn PushSender>,
    waiting: mpsc::Receiver<OfflinePush>,
    targets: PushTargets,
    told: Seldom,
    failures: u32,
}

impl SenderQueue {
    pub(super) fn start(sender: Arc<dyn PushSender>, queue_max: usize, targets: PushTargets) -> Self {
        let (puts, waiting) = mpsc::channel(queue_max);
        let handing = Handing { sender, waiting, targets, told: Seldom::default(), failures: 0 };
        Self { sender: puts, task: tokio::spawn(handing.run()) }
    }

    pub(super) fn put(&self, push: OfflinePush) {
        if self.sender.try_send(push).is_err() {
            counter!(names::OFFLINE_PUSHES_DROPPED, "bound" => "queue").increment(1);
        }
    }

    /// Hands out what waits, within a time.
    pub(super) async fn stop(self, patience: Duration) {
        let Self { sender, mut task } = self;
        drop(sender);
        if tokio::time::timeout(patience, &mut task).await.is_err() {
            task.abort();
        }
    }
}

impl Handing {
    async fn run(mut self) {
        let batch_max = self.sender.batch_max();
        let mut batch: Vec<OfflinePush> = Vec::new();
        loop {
            let room = batch_max.saturating_sub(batch.len());
            if batch.is_empty() {
                if self.waiting.recv_many(&mut batch, room).await == 0 {
                    return;
                }
            } else {
                batch.extend(std::iter::from_fn(|| self.waiting.try_recv().ok()).take(room));
            }
            gauge!(names::OFFLINE_PUSHES_QUEUED, "sender" => self.sender.name()).set(self.waiting.len() as f64);
            self.give_up_old(&mut batch, clock::now_ms());
            if batch.is_empty() {
                continue;
            }
            let outcomes = self.sender.hand_out(&batch).await;
            let pause = self.note(&mut batch, outcomes).await;
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
        }
    }

    fn give_up_old(&self, batch: &mut Vec<OfflinePush>, now_ms: i64) {
        let count = batch.len();
        batch.retain(|push| now_ms - push.stored_at_ms <= AGE_MAX_MS);
        self.count("late", count - batch.len());
    }

    /// Leaves in the batch what is to be handed out again; says how long to wait before that.
    async fn note(&mut self, batch: &mut Vec<OfflinePush>, outcomes: Vec<Outcome>) -> Option<Duration> {
        let (mut again, mut said) = (Vec::new(), None);
        for (push, outcome) in batch.drain(..).zip(outcomes) {
            match outcome {
                Outcome::Taken => self.done("taken", &push),
                Outcome::Unregistered => {
                    self.done("unregistered", &push);
                    self.forget(push).await;
                }
                Outcome::NotWanted => self.count("unwanted", 1),
                Outcome::Refused(problem) => {
                    self.done("refused", &push);
                    if let Some(untold) = self.told.due(Instant::now()) {
                        tracing::warn!(sender = self.sender.name(), untold, ?problem, "a push was refused");
                    }
                }
                Outcome::Later(wait) => {
                    said = said.max(wait);
                    again.push(push);
                }
            }
        }
        *batch = again;
        if batch.is_empty() {
            self.failures = 0;
            return None;
        }
        if self.failures == 0 {
            tracing::info!(sender = self.sender.name(), "pushes wait: the service takes none for now");
        }
        self.failures += 1;
        Some(said.map_or_else(|| backoff(self.failures), |said| said.min(PAUSE_SAID_MAX)))
    }

    fn done(&self, result: &'static str, push: &OfflinePush) {
        self.count(result, 1);
        let age_ms = (clock::now_ms() - push.stored_at_ms).max(0);
        histogram!(names::OFFLINE_PUSH_SECONDS).record(age_ms as f64 / 1000.0);
    }

    fn count(&self, result: &'static str, count: usize) {
        if count > 0 {
            let sender = self.sender.name();
            counter!(names::OFFLINE_PUSHES, "sender" => sender, "result" => result).increment(count as u64);
        }
    }

    async fn forget(&self, push: OfflinePush) {
        if push.push_id.is_empty() {
            return;
        }
        let OfflinePush { user_id, device_id, device_type, push_id, .. } = push;
        match self.targets.forget(&PushDevice { user_id, device_id, device_type, push_id }).await {
            Ok(true) => counter!(names::PUSH_IDS_FORGOTTEN).increment(1),
            Ok(false) => {}
            Err(error) => tracing::warn!(user_id, device_id, %error, "a push id that reaches nobody stays for now"),
        }
    }
}

/// Twice as long after each failure, and somewhere between the half of it and all, so that nodes do not come together.
fn backoff(failures: u32) -> Duration {
    let longest = PAUSE_FIRST.saturating_mul(1 << failures.min(10)).min(PAUSE_MAX);
    longest.mul_f64(rand::random_range(0.5..=1.0))
}
