//! What a reactor hands to the bridge: everything of a turn in one batch, whose texts and contents lie in one buffer.
//!
//! Always holds: items keep the order in which they happened. State (who left, which room was left) is never dropped; packets
//! are refused and heartbeats' questions left out while too much waits, so what waits is bounded by that and by the comings and
//! goings of connections.

use std::{fmt, net::SocketAddr, sync::Arc};

use bytes::{Bytes, BytesMut};
use crossbeam_channel::{Sender, TrySendError};

use crate::{ids::ConnectionId, session::Identity};

/// Calls that may wait, and their bytes: such a part of what packets have.
const CALLS_PART: usize = 4;

/// Room that is made for the items of a turn when it has one.
const ITEMS_RESERVED: usize = 64;

/// The items of one turn (or of several, where the bridge was behind).
#[derive(Debug, Default)]
pub struct UpBatch {
    /// Holds every [`Span`] of the items.
    pub bytes: Bytes,
    /// In order.
    pub items: Vec<UpItem>,
}

/// A piece of [`UpBatch::bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    start: u32,
    length: u32,
}

/// Whose room a packet takes while the bridge is behind: calls have a part of their own, so that they never push others out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UplinkShare {
    /// That of packets.
    Packets,
    /// That of calls, which is smaller.
    Calls,
}

/// Something that logic, or the bridge, has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpItem {
    /// A connection asks to be let in.
    SignIn {
        /// Which.
        connection: ConnectionId,
        /// Where it comes from.
        peer: Option<SocketAddr>,
        /// Of the packet.
        request_id: Span,
        /// Of the packet.
        content: Span,
    },
    /// A packet that logic has to decide about.
    Packet {
        /// From which connection.
        connection: ConnectionId,
        /// Of whom.
        identity: Identity,
        /// Of the packet.
        command: i32,
        /// Of the packet.
        request_id: Span,
        /// Of the packet.
        content: Span,
    },
    /// A signed-in connection ended, or logic let one in that was gone already.
    SignOut {
        /// Which.
        connection: ConnectionId,
        /// Whose.
        identity: Identity,
    },
    /// Logic put a connection into a room by itself.
    RoomJoined(u64),
    /// A subscription that was counted is over, or never came about.
    RoomLeft(u64),
    /// A heartbeat was answered; logic may know of a newer seq.
    Heartbeat {
        /// Of which connection.
        connection: ConnectionId,
        /// Of whom.
        identity: Identity,
        /// How long ago it signed in.
        age_ms: u64,
    },
    /// A live connection, told because it was asked for.
    Live {
        /// Which.
        connection: ConnectionId,
        /// Whose.
        identity: Identity,
        /// Unix time at which it signed in.
        since_ms: i64,
        /// How long ago that was.
        age_ms: u64,
        /// The large groups that it is in.
        large_group_ids: Box<[u64]>,
    },
    /// A push to all reached every connection of the reactor.
    PushAllDone(u64),
    /// A push came for a connection that is not there.
    Gone(ConnectionId),
}

impl UpBatch {
    /// The bytes of a span, without copying.
    pub fn slice(&self, span: Span) -> Bytes {
        self.bytes.slice(span.start as usize..(span.start + span.length) as usize)
    }
}

/// One reactor's way to the bridge.
pub struct Uplink {
    sender: Sender<UpBatch>,
    wake_bridge: Arc<dyn Fn() + Send + Sync>,
    bytes: BytesMut,
    items: Vec<UpItem>,
    /// Of the items, and of the bytes.
    calls: UplinkLoad,
    packets_max: usize,
    bytes_max: usize,
}

/// How much waits.
#[derive(Debug, Clone, Copy, Default)]
struct UplinkLoad {
    items: usize,
    bytes: usize,
}

impl Uplink {
    /// A way through `sender`; `wake_bridge` is called once per batch that was put in.
    pub fn new(
        sender: Sender<UpBatch>,
        wake_bridge: Arc<dyn Fn() + Send + Sync>,
        packets_max: usize,
        bytes_max: usize,
    ) -> Self {
        let (bytes, items, calls) = (BytesMut::new(), Vec::new(), UplinkLoad::default());
        Self { sender, wake_bridge, bytes, items, calls, packets_max, bytes_max }
    }

    /// Adds something that must not be lost.
    pub fn push(&mut self, item: UpItem) {
        if self.items.capacity() == 0 {
            self.items.reserve(ITEMS_RESERVED);
        }
        self.items.push(item);
    }

    /// Adds a question that the next heartbeat asks again: left out while the bridge is behind.
    pub fn push_question(&mut self, item: UpItem) {
        if self.packets().items < self.packets_max {
            self.push(item);
        }
    }

    /// Adds a packet. False, and nothing added, where the bridge is so far behind that it has to be refused.
    #[must_use]
    pub fn push_packet(
        &mut self,
        share: UplinkShare,
        request_id: &str,
        content: &[u8],
        item: impl FnOnce(Span, Span) -> UpItem,
    ) -> bool {
        let (waiting, part) = match share {
            UplinkShare::Packets => (self.packets(), 1),
            UplinkShare::Calls => (self.calls, CALLS_PART),
        };
        if waiting.items >= self.packets_max.div_ceil(part) || waiting.bytes + content.len() > self.bytes_max / part {
            return false;
        }
        if share == UplinkShare::Calls {
            self.calls.items += 1;
            self.calls.bytes += request_id.len() + content.len();
        }
        let request_id = self.append(request_id.as_bytes());
        let content = self.append(content);
        self.push(item(request_id, content));
        true
    }

    /// Whether something is left that the bridge did not take yet.
    pub fn is_behind(&self) -> bool {
        !self.items.is_empty()
    }

    /// Hands the batch over, if there is one and the bridge has room. True where it is gone.
    pub fn flush(&mut self) -> bool {
        if self.items.is_empty() {
            return true;
        }
        let batch = UpBatch { bytes: self.bytes.split().freeze(), items: std::mem::take(&mut self.items) };
        match self.sender.try_send(batch) {
            Ok(()) => {
                self.calls = UplinkLoad::default();
                (self.wake_bridge)();
            }
            Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => {
                self.bytes = batch.bytes.into();
                self.items = batch.items;
                return false;
            }
        }
        true
    }

    /// What waits and is no call.
    fn packets(&self) -> UplinkLoad {
        UplinkLoad { items: self.items.len() - self.calls.items, bytes: self.bytes.len() - self.calls.bytes }
    }

    fn append(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        Span { start, length: bytes.len() as u32 }
    }
}

impl fmt::Debug for Uplink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Uplink").field("items", &self.items.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uplink(capacity: usize) -> (Uplink, crossbeam_channel::Receiver<UpBatch>) {
        let (sender, receiver) = crossbeam_channel::bounded(capacity);
        (Uplink::new(sender, Arc::new(|| {}), 2, 1000), receiver)
    }

    fn packet(request_id: Span, content: Span) -> UpItem {
        let connection = ConnectionId::new(0, 1, 2);
        UpItem::Packet { connection, identity: Identity::default(), command: 7, request_id, content }
    }

    #[test]
    fn a_bridge_that_is_behind_costs_packets_but_no_state() {
        let (mut uplink, receiver) = uplink(1);
        uplink.push(UpItem::RoomLeft(1));
        assert!(uplink.flush());
        assert!(uplink.push_packet(UplinkShare::Packets, "a", b"one", packet));
        assert!(!uplink.flush());
        assert!(uplink.push_packet(UplinkShare::Packets, "b", b"two", packet));
        assert!(!uplink.push_packet(UplinkShare::Packets, "c", b"three", packet));
        uplink.push(UpItem::RoomLeft(2));
        assert_eq!(receiver.recv().unwrap().items, [UpItem::RoomLeft(1)]);
        assert!(uplink.flush());
        let batch = receiver.recv().unwrap();
        let texts: Vec<(Bytes, Bytes)> = batch
            .items
            .iter()
            .filter_map(|item| match item {
                UpItem::Packet { request_id, content, .. } => Some((batch.slice(*request_id), batch.slice(*content))),
                _ => None,
            })
            .collect();
        assert_eq!(texts, [("a".into(), "one".into()), ("b".into(), "two".into())]);
        assert_eq!(batch.items.last(), Some(&UpItem::RoomLeft(2)));
    }

    #[test]
    fn calls_have_room_of_their_own_beside_packets() {
        let (mut uplink, receiver) = uplink(1);
        uplink.push(UpItem::RoomLeft(1));
        assert!(uplink.flush());
        assert!(!uplink.push_packet(UplinkShare::Calls, "", &[1; 251], packet), "a quarter of the bytes");
        assert!(uplink.push_packet(UplinkShare::Calls, "", &[1; 250], packet));
        assert!(!uplink.flush());
        assert!(!uplink.push_packet(UplinkShare::Calls, "", b"", packet), "and a quarter of the places");
        assert!(uplink.push_packet(UplinkShare::Packets, "", &[2; 500], packet));
        assert!(uplink.push_packet(UplinkShare::Packets, "", &[2; 500], packet), "which packets do not miss");
        receiver.recv().unwrap();
        assert!(uplink.flush());
        assert!(uplink.push_packet(UplinkShare::Calls, "", b"", packet));
    }
}
