//! One walk, as the process sees it that would like to hold it: taken where nobody holds it, shown to be held while it is, and moved on.

use std::time::{Duration, Instant};

use metrics::gauge;
use tokio::time::{sleep, sleep_until};

use super::{look_failures::LookFailures, settling::Settled};
use crate::{
    domain::{
        clock, message_id,
        settled_ids::{self, LEASE},
        stored_event::{EventPage, WalkPart},
    },
    metrics as names,
    store::{Store, StoreError, StoredEvents, Walks, others, walks::WalkRow},
};

/// Between two looks for what happened, unless there was more than a page may have, and for whether a walk may be taken. So what happened
/// waits for no longer than this, and where much happens pages are full.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const TAKE_INTERVAL: Duration = Duration::from_secs(1);

/// Where pages are handed out one after the other, it is noted so often how far that is.
const NOTE_INTERVAL: Duration = Duration::from_millis(100);

/// Whoever holds a walk shows it so often.
const BEAT_INTERVAL: Duration = Duration::from_secs(2);

/// Whoever could not show it for so long hands nothing out any more.
const HELD_WITHIN: Duration = Duration::from_secs(LEASE.as_secs() / 2);

/// How much a page holds.
#[derive(Debug, Clone, Copy)]
pub struct PageLimits {
    /// So much that happened.
    pub events: u32,
    /// So many bytes of what was said, but one message.
    pub bytes: usize,
}

/// The walk is held by somebody else, or was sent elsewhere; what was handed out since the last advance may be handed out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the walk is not held any more")]
pub struct WalkLost;

/// A walk. Its module says how it is used.
#[derive(Debug)]
pub struct Walk {
    name: &'static str,
    walks: Walks,
    events: StoredEvents,
    settled: Settled,
    /// Whether there is no other node that could hold it.
    is_alone: bool,
    held: Option<HeldWalk>,
    /// The next look for what happened is made then.
    look_at: Instant,
    /// What another one holds, and since when it was seen like that.
    seen: Option<(WalkRow, Instant)>,
    /// How far it was when its row was last read.
    noted_id: Option<u64>,
    failures: LookFailures,
}

#[derive(Debug)]
struct HeldWalk {
    holder: u64,
    /// How far it is by now: beyond what is stored of it where nothing was found.
    cursor_id: u64,
    /// Whether something was handed out since that was noted.
    is_ahead: bool,
    is_paused: bool,
    shown_at: Instant,
    /// When its row was last read.
    looked_at: Instant,
}

impl Walk {
    /// The walk of this name. Nothing is done before [`Walk::next`].
    pub fn new(name: &'static str, store: &Store, settled: Settled) -> Self {
        let is_alone = matches!(settled, Settled::Alone(_));
        let (walks, events) = (store.walks.clone(), store.stored_events.clone());
        let (look_at, failures) = (Instant::now(), LookFailures::default());
        Self { name, walks, events, settled, is_alone, held: None, look_at, seen: None, noted_id: None, failures }
    }

    /// What happened next: waits until there is something, and until this process holds the walk.
    pub async fn next(&mut self, limits: PageLimits) -> EventPage {
        loop {
            sleep_until(self.look_at.into()).await;
            let looked_at = Instant::now();
            match self.look(limits).await {
                Ok(Some(page)) => {
                    self.look_at = next_look(looked_at, &page);
                    return page;
                }
                Ok(None) => sleep(if self.held.is_some() { LOOK_INTERVAL } else { TAKE_INTERVAL }).await,
                Err(error) => {
                    self.failures.warn(&error);
                    self.show_lag();
                    sleep(TAKE_INTERVAL).await;
                }
            }
        }
    }

    /// Holds it, as far as nobody else does, for whoever reads [`Walk::ahead`] of what is done: who holds it, as the database knows it. Does
    /// not wait.
    pub async fn hold(&mut self) -> Result<Option<u64>, StoreError> {
        if self.held.is_none() {
            self.take().await?;
        }
        Ok(self.keep().await.ok().and(self.held.as_ref()).map(|held| held.holder))
    }

    /// What happened after an id, as far as that is settled: nothing, it may be.
    pub async fn ahead(&self, after_id: u64, limits: PageLimits) -> Result<EventPage, StoreError> {
        let before_id = self.settled.get();
        if before_id <= after_id + 1 {
            return Ok(EventPage { events: Vec::new(), up_to: after_id, has_more: false });
        }
        self.events.page(WalkPart { after_id, before_id, events_max: limits.events, bytes_max: limits.bytes }).await
    }

    /// Everything up to it is settled.
    pub fn settled_id(&self) -> u64 {
        self.settled.get().saturating_sub(1)
    }

    /// Moves on to an id: everything up to it was handed out, or is not going to be. Waits for a database that is away, as long as the
    /// walk may be held.
    ///
    /// # Errors
    /// [`WalkLost`].
    pub async fn advance(&mut self, up_to: u64) -> Result<(), WalkLost> {
        loop {
            let Some(holder) = self.held.as_ref().map(|held| held.holder) else { return Err(WalkLost) };
            let shown_at = Instant::now();
            let advanced = self.note(holder, up_to).await;
            let Some(held) = &mut self.held else { return Err(WalkLost) };
            match advanced {
                Ok(true) => {
                    (held.cursor_id, held.is_ahead, held.shown_at) = (up_to, false, shown_at);
                    return Ok(());
                }
                Ok(false) => self.held = None,
                Err(error) if held.shown_at.elapsed() < HELD_WITHIN => {
                    tracing::debug!(%error, walk = self.name, "the place is noted later");
                    sleep(LOOK_INTERVAL).await;
                }
                Err(_) => self.held = None,
            }
        }
    }

    /// Moves on as [`Walk::advance`] does, for whoever asks for what happened next then: that is noted with one of the next moves, ten times
    /// a second, or soon after the last one. What was handed out since then is handed out again where this process is killed.
    ///
    /// # Errors
    /// [`WalkLost`].
    pub async fn move_on(&mut self, up_to: u64) -> Result<(), WalkLost> {
        let Some(held) = &mut self.held else { return Err(WalkLost) };
        if held.shown_at.elapsed() >= NOTE_INTERVAL {
            return self.advance(up_to).await;
        }
        (held.cursor_id, held.is_ahead) = (up_to, true);
        Ok(())
    }

    /// Moves on over what nobody wants to hear of, or was handed out in another way than one after the other, which is noted later.
    pub fn pass(&mut self, up_to: u64) {
        self.held.iter_mut().for_each(|held| held.cursor_id = held.cursor_id.max(up_to));
        self.show_lag();
    }

    /// Shows that it is held, if that is due: to be called before each hand-out.
    ///
    /// # Errors
    /// [`WalkLost`].
    pub async fn keep(&mut self) -> Result<(), WalkLost> {
        self.show_lag();
        let Some(HeldWalk { holder, cursor_id, shown_at, looked_at, .. }) = self.held else { return Err(WalkLost) };
        if looked_at.elapsed() < BEAT_INTERVAL && shown_at.elapsed() < BEAT_INTERVAL {
            return Ok(());
        }
        let shown_at = Instant::now();
        let shown = match self.note(holder, cursor_id).await {
            Ok(true) => self.row().await,
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        let Some(held) = &mut self.held else { return Err(WalkLost) };
        match shown {
            Ok(Some(row)) if row.holder == held.holder => {
                (held.shown_at, held.looked_at) = (shown_at, shown_at);
                (held.is_ahead, held.is_paused) = (false, row.is_paused);
            }
            Err(_) if held.shown_at.elapsed() < HELD_WITHIN => {}
            _ => self.held = None,
        }
        self.held.as_ref().map(drop).ok_or(WalkLost)
    }

    /// Whether it is to stand still.
    pub fn is_paused(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.is_paused)
    }

    /// Shows how far behind it is, whoever holds it: somebody has to say that it stands still, also where nobody holds it.
    fn show_lag(&self) {
        let Some(cursor_id) = self.cursor_id().or(self.noted_id) else { return };
        let behind_ms = clock::now_ms() - message_id::time_ms(cursor_id);
        gauge!(names::WALK_LAG_SECONDS, "walk" => self.name).set(behind_ms.max(0) as f64 / 1_000.0);
    }

    /// Up to which id it is done, as far as this process holds it.
    pub fn cursor_id(&self) -> Option<u64> {
        self.held.as_ref().map(|held| held.cursor_id)
    }

    /// Gives it back, so that another node goes on at once.
    pub async fn leave(&mut self) {
        let Some(HeldWalk { holder, cursor_id, .. }) = self.held.take() else { return };
        let (name, walks) = (self.name, self.walks.clone());
        let left = async move {
            walks.advance(name, holder, cursor_id).await?;
            walks.leave(name, holder).await
        };
        if let Err(error) = others::ask(left).await {
            tracing::debug!(%error, walk = self.name, "another node takes it after a lease");
        }
    }

    async fn look(&mut self, limits: PageLimits) -> Result<Option<EventPage>, StoreError> {
        if self.held.is_none() {
            self.take().await?;
        }
        if self.keep().await.is_err() {
            return Ok(None);
        }
        if self.held.as_ref().is_some_and(|held| held.is_ahead && held.shown_at.elapsed() >= NOTE_INTERVAL)
            && let Some(cursor_id) = self.cursor_id()
            && self.advance(cursor_id).await.is_err()
        {
            return Ok(None);
        }
        let Some(held) = self.held.as_mut().filter(|held| !held.is_paused) else { return Ok(None) };
        let (after_id, before_id) = (held.cursor_id, self.settled.get());
        if before_id <= after_id + 1 {
            return Ok(None);
        }
        let part = WalkPart { after_id, before_id, events_max: limits.events, bytes_max: limits.bytes };
        let page = self.events.page(part).await?;
        if page.events.is_empty() {
            held.cursor_id = page.up_to;
        }
        Ok(Some(page).filter(|page| !page.events.is_empty()))
    }

    /// Takes the walk where nobody holds it, or whoever did has shown nothing for a lease.
    async fn take(&mut self) -> Result<(), StoreError> {
        self.settled.need();
        let shown_at = Instant::now();
        let Some(row) = self.row().await? else {
            let (name, walks, settled) = (self.name, self.walks.clone(), self.settled.get());
            let begin = async move { walks.begin(name, settled - 1).await };
            return if settled == 0 { Ok(()) } else { others::ask(begin).await };
        };
        let seen = self.seen.filter(|(seen, _)| *seen == row).unwrap_or_else(|| (row, Instant::now()));
        let (_, since) = *self.seen.insert(seen);
        self.noted_id = Some(row.cursor_id);
        let is_free = row.holder == 0 || self.is_alone || shown_at.saturating_duration_since(since) >= LEASE;
        let holder = settled_ids::new_epoch();
        let (name, walks) = (self.name, self.walks.clone());
        if is_free && others::ask(async move { walks.take(name, row, holder).await }).await? {
            self.seen = None;
            let WalkRow { cursor_id, is_paused, .. } = row;
            self.held = Some(HeldWalk { holder, cursor_id, is_ahead: false, is_paused, shown_at, looked_at: shown_at });
        }
        Ok(())
    }

    async fn row(&self) -> Result<Option<WalkRow>, StoreError> {
        let (name, walks) = (self.name, self.walks.clone());
        others::ask(async move { walks.get(name).await }).await
    }

    /// Whether it was still held.
    async fn note(&self, holder: u64, cursor_id: u64) -> Result<bool, StoreError> {
        let (name, walks) = (self.name, self.walks.clone());
        others::ask(async move { walks.advance(name, holder, cursor_id).await }).await
    }
}

/// When it is looked again after one that found a page: at once where there is more.
fn next_look(looked_at: Instant, page: &EventPage) -> Instant {
    if page.has_more { looked_at } else { looked_at + LOOK_INTERVAL }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_waits_for_a_moment_at_most_and_not_behind_a_full_page() {
        let now = Instant::now();
        let page = |has_more| EventPage { events: Vec::new(), up_to: 1, has_more };
        assert_eq!(next_look(now, &page(true)), now);
        assert_eq!(next_look(now, &page(false)), now + Duration::from_millis(100));
    }
}
