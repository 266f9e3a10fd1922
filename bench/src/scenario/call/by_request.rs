//! Callers by gRPC or JSON, a task each on the runtime of gRPC; they call in slices of time, and rest between.
//!
//! Always holds: what is under way when a slice ends is answered before the next one begins.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use tokio::{sync::watch, task::JoinSet};

use super::{
    Arguments, pairs,
    request::{Call, Door},
};
use crate::{
    paired_run::Slice,
    score::Score,
    swarm::DEADLINE,
    target::{Target, refused},
    users::User,
};

/// Between two looks at the time, for who waits.
const LOOK: Duration = Duration::from_millis(50);

/// All of them, until they are ended.
pub struct ByRequest {
    tasks: JoinSet<anyhow::Result<()>>,
    slice: watch::Sender<Option<Slice>>,
    shared: Arc<Shared>,
}

/// What the callers share.
#[derive(Default)]
struct Shared {
    score: Mutex<Score>,
    calling: AtomicUsize,
    called: AtomicU64,
}

impl ByRequest {
    /// One caller for each user, with a door.
    pub fn start(arguments: &Arguments, target: &Target, users: &[User], doors: Vec<Door>) -> Self {
        let mut callers = Self { tasks: JoinSet::new(), slice: watch::Sender::new(None), shared: Arc::default() };
        for ((user, peer_id), door) in pairs(users).zip(doors) {
            let call = Call { method: arguments.method, user: user.clone(), peer_id, content: arguments.content() };
            let task = Caller { call, door }.call_on(callers.slice.subscribe(), callers.shared.clone());
            callers.tasks.spawn_on(task, target.runtime());
        }
        callers
    }

    /// They call until the end of the slice; an error as soon as one of them has to end.
    pub fn call_in(&mut self, slice: Slice, target: &Target, mut look: impl FnMut()) -> anyhow::Result<()> {
        self.slice.send_replace(Some(slice));
        let deadline = slice.end + DEADLINE;
        while Instant::now() < slice.end || self.shared.calling.load(Relaxed) > 0 {
            let ended = async { tokio::time::timeout(LOOK, self.tasks.join_next()).await };
            if let Ok(Some(ended)) = target.runtime().block_on(ended) {
                ended.context("a caller ended early")??;
            }
            ensure!(Instant::now() < deadline, "calls were not answered within {DEADLINE:?}");
            look();
        }
        self.shared.score().end(&slice);
        Ok(())
    }

    /// Calls that were answered so far, measured or not.
    pub fn called(&self) -> u64 {
        self.shared.called.load(Relaxed)
    }

    /// Ends them; what they did.
    pub fn end(self) -> Score {
        drop(self.slice);
        std::mem::take(&mut *self.shared.score())
    }
}

impl Shared {
    fn score(&self) -> std::sync::MutexGuard<'_, Score> {
        self.score.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of them.
struct Caller {
    call: Call,
    door: Door,
}

impl Caller {
    async fn call_on(mut self, mut slices: watch::Receiver<Option<Slice>>, shared: Arc<Shared>) -> anyhow::Result<()> {
        // Ends with the run, whose sender is gone then.
        while slices.changed().await.is_ok() {
            let Some(slice) = *slices.borrow_and_update() else { continue };
            shared.calling.fetch_add(1, Relaxed);
            let ended = self.call_until(slice, &shared).await;
            shared.calling.fetch_sub(1, Relaxed);
            ended?;
        }
        Ok(())
    }

    async fn call_until(&mut self, slice: Slice, shared: &Shared) -> anyhow::Result<()> {
        loop {
            let began = Instant::now();
            if began >= slice.end {
                return Ok(());
            }
            let answer = tokio::time::timeout(DEADLINE, self.call.make(&mut self.door)).await;
            answer.context("a call was not answered in time")?.map_err(|status| refused("a call", &status))?;
            shared.called.fetch_add(1, Relaxed);
            shared.score().record(&slice, began, Instant::now());
        }
    }
}
