//! Where pushes to rooms pass on their way from all links of an app to the reactors: [`RoomResequencer`] with its lock, its clock
//! and its metrics. Used by the tasks of the links; one task of its own for what waited too long.
//!
//! Always holds: deciding what passes and handing it to the reactors is one step, so that reactors get it in the order that was
//! decided. Pushes without a seq, of rooms that one logic node numbers alone, take no lock.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gim_proto::{
    connect,
    logic::{RoomPush, RoomSubscribed},
};
use metrics::{Counter, counter};
use prost::Message as _;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use super::{
    reactors::Reactors,
    room_resequencer::{Counts, RoomResequencer, SequencedPush},
};
use crate::{
    metrics as names,
    reactor::command_queue::Command,
    settings::LinkSettings,
    wire::{encoded::Encoded, packet},
};

/// See the module's documentation.
pub(super) struct RoomGate {
    order: Mutex<RoomResequencer<Encoded>>,
    reactors: Reactors,
    /// Notified when something is due and nothing was before.
    has_due: Notify,
    held: Counter,
    given_up: Counter,
    late: Counter,
}

impl std::fmt::Debug for RoomGate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RoomGate").finish_non_exhaustive()
    }
}

impl RoomGate {
    pub(super) fn new(app_id: &str, reactors: Reactors, settings: &LinkSettings) -> Self {
        let hold = Duration::from_millis(settings.room_hold_ms);
        let named = |name: &'static str| counter!(name, "app" => app_id.to_owned());
        Self {
            order: Mutex::new(RoomResequencer::new(hold, settings.room_held_max)),
            reactors,
            has_due: Notify::new(),
            held: named(names::ROOM_PUSHES_HELD),
            given_up: named(names::ROOM_PUSHES_GIVEN_UP),
            late: named(names::ROOM_PUSHES_LATE),
        }
    }

    /// A push came on one of the links.
    pub(super) async fn push(&self, push: RoomPush) {
        let RoomPush { room_id, message, is_priority, seq, after_seq } = push;
        let frame = packet::message(&message, 0, 0);
        if seq == 0 || is_priority {
            return self.hand_over(room_id, frame, is_priority).await;
        }
        let mut order = self.order.lock().await;
        let had_due = order.next_due().is_some();
        let mut passed = Vec::new();
        order.push(SequencedPush { room_id, seq, after_seq, frame }, Instant::now(), &mut passed);
        for frame in passed {
            self.hand_over(room_id, frame, false).await;
        }
        self.count(&mut order);
        if !had_due {
            self.has_due.notify_one();
        }
    }

    /// A subscription was answered: `make` gets what its connection is to be given first, and makes of it what a reactor is told.
    pub(super) async fn subscribe(
        &self,
        subscribed: RoomSubscribed,
        reactor: usize,
        make: impl FnOnce(Vec<Encoded>) -> Command,
    ) {
        let RoomSubscribed { room_id, retained, newest_seq } = subscribed;
        if newest_seq == 0 {
            let frames = retained.iter().map(|message| packet::message(message, 0, 0)).collect();
            return self.reactors.send(reactor, make(frames)).await;
        }
        let kept = retained.iter().map(|message| (seq_of(message), packet::message(message, 0, 0))).collect();
        let mut order = self.order.lock().await;
        let frames = order.subscribed(room_id, newest_seq, kept, Instant::now());
        self.reactors.send(reactor, make(frames)).await;
    }

    /// Lets through what waited too long, until stopped.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let due = self.order.lock().await.next_due();
            let is_due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => self.has_due.notified().await,
                }
            };
            tokio::select! {
                () = is_due => self.expire().await,
                () = stop.cancelled() => return,
            }
        }
    }

    async fn expire(&self) {
        let mut order = self.order.lock().await;
        let mut passed = Vec::new();
        order.expire(Instant::now(), |room_id, frame| passed.push((room_id, frame)));
        for (room_id, frame) in passed {
            self.hand_over(room_id, frame, false).await;
        }
        self.count(&mut order);
    }

    async fn hand_over(&self, room_id: u64, frame: Encoded, urgent: bool) {
        self.reactors.send_all(|| Command::PushToRoom { room_id, frame: frame.clone(), urgent }).await;
    }

    fn count(&self, order: &mut RoomResequencer<Encoded>) {
        let Counts { held, given_up, late } = std::mem::take(&mut order.counts);
        for (counter, count) in [(&self.held, held), (&self.given_up, given_up), (&self.late, late)] {
            if count > 0 {
                counter.increment(count);
            }
        }
    }
}

/// The number of an encoded message in its room; 0 where it has none.
fn seq_of(message: &[u8]) -> u64 {
    connect::Message::decode(message).map_or(0, |message| message.room_seq)
}
