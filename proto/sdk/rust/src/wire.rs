//! Packets as bytes, and the bounds and codes of the wire that a client acts on by itself. No IO, no state.

use bytes::Bytes;
use gim_proto::{
    ResultCode,
    connect::{MessageCommand, Packet, PacketCommand, SendRequest, send_request},
};
use prost::Message as _;

/// Most bytes in the content of a message, as servers have it unless they are set otherwise.
pub const CONTENT_BYTES_MAX: usize = 60 * 1024;

/// Most bytes of a packet that is read. Answers are about 64 KiB, those of large groups twice as long, and a backend may make longer ones.
pub const PACKET_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Whom a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// Another user, or the user's own devices.
    User(u64),
    /// A group of either kind.
    Group(u64),
    /// A room, and whoever is in it at the moment.
    Room(u64),
}

impl Target {
    /// The number of the user, group or room.
    pub fn id(self) -> u64 {
        match self {
            Self::User(id) | Self::Group(id) | Self::Room(id) => id,
        }
    }
}

/// A packet of the client.
pub fn encode_packet(command: i32, request_id: &str, content: Bytes) -> Bytes {
    Packet { request_id: request_id.to_owned(), command, content, seq: 0 }.encode_to_vec().into()
}

/// The content of a `PC_SEND`.
pub(crate) fn encode_send(target: Target, command: i32, content: Bytes, client_msg_id: &str) -> Bytes {
    let target = match target {
        Target::User(id) => send_request::Target::UserId(id),
        Target::Group(id) => send_request::Target::GroupId(id),
        Target::Room(id) => send_request::Target::RoomId(id),
    };
    let client_msg_id = client_msg_id.to_owned();
    SendRequest { target: Some(target), command, content, client_msg_id }.encode_to_vec().into()
}

/// The command that a send without one has when it arrives.
pub(crate) fn plain_command(target: Target) -> i32 {
    match target {
        Target::Group(_) => MessageCommand::McGroupMessage as i32,
        Target::User(_) | Target::Room(_) => MessageCommand::McUserMessage as i32,
    }
}

/// Whether the very same request may be sent again after a pause.
pub(crate) fn is_put_off(code: i32) -> bool {
    ResultCode::from_number(code).is_some_and(ResultCode::is_retryable)
}

/// Whether a packet has this command.
pub(crate) fn has_command(packet: &Packet, command: PacketCommand) -> bool {
    packet.command == command as i32
}
