//! The seam of long connections: a frame of an older client becomes today's packet, and today's packet one of its frames.
//!
//! Called on a reactor's thread. Always holds: what is read borrows from the frame or from a [`Scratch`] of the caller, so that a packet
//! costs no allocation.

use crate::fields::Malformed;

/// What a packet says, in today's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Chosen by the client, repeated in the answer.
    pub request_id: &'a str,
    /// A `PacketCommand`. What a dialect asks that today's clients do not is below 0, which nobody knows.
    pub command: i32,
    /// What is inside depends on the command.
    pub content: &'a [u8],
}

/// Where a dialect writes what it cannot borrow. Kept by the caller, so that it grows once.
#[derive(Debug, Default)]
pub struct Scratch {
    /// A request id that is no text in the dialect.
    pub request_id: String,
    /// A content that has another form there.
    pub content: Vec<u8>,
}

/// How a dialect's packets travel.
pub trait Packets: Sync {
    /// The keys of the fields of its frames: with one of them each begins, unless it is empty.
    fn keys(&self) -> &'static [u8];

    /// What a client asks.
    ///
    /// # Errors
    /// Where the frame is none of the dialect's.
    fn read<'a>(&self, frame: &'a [u8], scratch: &'a mut Scratch) -> Result<Packet<'a>, Malformed>;

    /// Appends what the server says. False, and nothing is appended, where the dialect has no word for it.
    fn write(&self, said: &Packet<'_>, frame: &mut Vec<u8>) -> bool;
}
