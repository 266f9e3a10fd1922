//! The seam of long connections: a frame of an older client becomes today's packet, and today's packet one of its frames.
//!
//! Called on a reactor's thread. Always holds: what is read borrows from the frame or from a [`Scratch`] of the caller, so that a packet
//! costs no allocation.

use std::fmt::Display;

use gim_proto::ResultCode;

use crate::fields::Malformed;

/// The command of whatever has none of today's. Its answer has to repeat the number of the dialect, which stands before the request id.
pub const UNKNOWN: i32 = -1;

/// Between that number and the request id.
const BEHIND_NUMBER: char = '/';

/// What a packet says, in today's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Chosen by the client, repeated in the answer.
    pub request_id: &'a str,
    /// A `PacketCommand`, or [`UNKNOWN`].
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

impl Scratch {
    /// The request id of what has this number in the dialect and none today.
    pub(crate) fn unknown(&mut self, number: i32, request_id: impl Display) -> &str {
        use std::fmt::Write as _;
        self.request_id.clear();
        write!(self.request_id, "{number}{BEHIND_NUMBER}{request_id}").expect("a String takes everything");
        &self.request_id
    }
}

/// The number and the request id that [`Scratch::unknown`] has put together.
pub(crate) fn asked_as(request_id: &str) -> (i32, &str) {
    let (number, request_id) = request_id.split_once(BEHIND_NUMBER).unwrap_or(("", request_id));
    (number.parse().unwrap_or_default(), request_id)
}

/// How a dialect's packets travel.
pub trait Packets: Sync {
    /// The keys of the fields of its frames: with one of them each begins, unless it is empty.
    fn keys(&self) -> &'static [u8];

    /// Whether clients sync over their connection, and can be told there to do so.
    fn has_sync(&self) -> bool;

    /// What a client asks.
    ///
    /// # Errors
    /// Where the frame is none of the dialect's.
    fn read<'a>(&self, frame: &'a [u8], scratch: &'a mut Scratch) -> Result<Packet<'a>, Malformed>;

    /// Appends what the server says. False, and nothing is appended, where the dialect has no word for it.
    fn write(&self, said: &Packet<'_>, frame: &mut Vec<u8>) -> bool;

    /// Appends to today's refusal of a sign-in what clients of the dialect read of it, where they take it for one of theirs and so would
    /// read no refusal in it. Today's clients pass over that.
    fn put_wrong_port(&self, _code: ResultCode, _sentence: &str, _refusal: &mut Vec<u8>) {}
}
