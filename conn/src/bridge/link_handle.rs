//! A link, as the distributor sees it: its queue, what it gets next, and what it has to tell. Owned by the distributor.
//!
//! Always holds: what a link does not take stays with its handle as far as logic has to know it; requests are returned to be
//! refused.

use gim_proto::logic::SignOut;
use metrics::counter;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::{Instant, timeout_at},
};

use super::{requests::Request, uplink::LinkItem};
use crate::metrics as names;

/// Bytes of packets in one message to logic: far below what logic takes, whatever the largest frames are.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Items of users who are about to move that are kept back; requests beyond are answered "try again later". Of a link that takes
/// nothing, what logic has to know; beyond, the link is waited for after all.
const KEPT_ITEMS_MAX: usize = 65_536;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct LinkHandle {
    pub(super) id: u64,
    /// Whose link it is and where to: labels of metrics.
    app_id: String,
    name: String,
    /// Of the logic node's name: the same for all conn nodes, so that all choose the same logic node for a user.
    pub(super) hash: u64,
    queue: mpsc::Sender<Vec<LinkItem>>,
    pub(super) state: LinkState,
    /// Whether it took nothing when it was waited for.
    pub(super) is_stuck: bool,
    /// What it gets next; of a leaving one, what is kept back.
    batch: Vec<LinkItem>,
    batch_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkState {
    Detached,
    Attached,
    /// Its last items are under way.
    Leaving,
}

/// What the distributor has to know of a link.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// It is there, attached to nothing yet.
    Added(LinkHandle),
    /// It takes requests.
    Attached {
        id: u64,
        /// The name of the logic node.
        node: String,
    },
    /// It wants nothing more, and be told what was the last for this stream.
    Leaving { id: u64, stream: u64 },
    /// Everything that it was given is answered, and it takes no more.
    Left(u64),
    /// The stream ended.
    Detached(u64),
    /// Connections that are gone, of which a stream that broke may have said nothing.
    Lost(Vec<SignOut>),
    /// It is no more.
    Removed(u64),
}

impl LinkHandle {
    pub(super) fn new(id: u64, app_id: String, name: String, queue: mpsc::Sender<Vec<LinkItem>>) -> Self {
        let (state, batch) = (LinkState::Detached, Vec::new());
        Self { id, app_id, name, hash: 0, queue, state, is_stuck: false, batch, batch_bytes: 0 }
    }

    /// Whether one more request may be kept for it.
    pub(super) fn has_room(&self) -> bool {
        self.state == LinkState::Attached || self.batch.len() < KEPT_ITEMS_MAX
    }

    pub(super) fn push(&mut self, item: LinkItem) {
        if let LinkItem::Request(_, item) = &item {
            self.batch_bytes += item.encoded_len();
        }
        self.batch.push(item);
    }

    /// Whether its batch should be handed over before it becomes longer.
    pub(super) fn is_full(&self, items_max: usize) -> bool {
        let is_full = self.batch.len() >= items_max || self.batch_bytes >= BATCH_BYTES_MAX;
        is_full && self.state == LinkState::Attached && !self.is_stuck
    }

    /// Whether there is something that it should get now.
    pub(super) fn is_due(&self) -> bool {
        self.state == LinkState::Attached && !self.batch.is_empty()
    }

    /// Whether it was passed over and has something to get.
    pub(super) fn is_waited_for(&self) -> bool {
        self.is_stuck && self.is_due()
    }

    /// Ends when it takes something, or is gone. Only the distributor gives it anything, so the place stays free.
    pub(super) async fn takes(&self) {
        let _link_gone = self.queue.reserve().await.is_err();
    }

    /// All that it did not get.
    pub(super) fn take_batch(&mut self) -> Vec<LinkItem> {
        self.batch_bytes = 0;
        std::mem::take(&mut self.batch)
    }

    /// Gives it its batch, if it takes that at once.
    pub(super) fn try_hand_over(&mut self) -> Result<(), TrySendError<()>> {
        let place = self.queue.try_reserve()?;
        place.send(std::mem::take(&mut self.batch));
        (self.batch_bytes, self.is_stuck) = (0, false);
        Ok(())
    }

    /// Gives it its batch, waiting until `deadline` at most, and not at all where it took nothing the last time. Where it takes
    /// nothing, what logic has to know stays, and the requests are returned to be refused.
    pub(super) async fn hand_over(&mut self, deadline: Instant) -> Vec<Request> {
        let is_passed_over = self.is_stuck && self.batch.len() < KEPT_ITEMS_MAX;
        if !is_passed_over {
            let _is_late = timeout_at(deadline, self.takes()).await.is_err();
        }
        let Err(error) = self.try_hand_over() else { return Vec::new() };
        let (requests, known): (Vec<_>, Vec<_>) =
            self.take_batch().into_iter().partition(|item| matches!(item, LinkItem::Request(..)));
        if let TrySendError::Full(()) = error {
            if !std::mem::replace(&mut self.is_stuck, true) {
                tracing::warn!(
                    logic = self.name,
                    "a logic node takes nothing; requests for it are put off until it does"
                );
            }
            counter!(names::REQUESTS_BEYOND, "app" => self.app_id.clone(), "logic" => self.name.clone())
                .increment(requests.len() as u64);
            self.batch = known;
        }
        requests.into_iter().filter_map(LinkItem::into_request).collect()
    }
}
