//! A message on its way: what it says, who gets it under which seq, and how it looks on the wire.

use bytes::Bytes;
use gim_proto::{
    ResultCode, check, connect,
    logic::{GroupMessagePush, UserMessagePush},
    typed_content::{self, TypedContent},
};
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::{caller::RequestTag, message_id, refusal::Refusal};

/// What is said, once for all receivers. Never changes after it got its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Ordered by time.
    pub id: u64,
    /// A `connect.MessageCommand`, or a number of the business.
    pub command: i32,
    /// Opaque to logic, once it was checked that it is what the command says.
    pub content: Bytes,
    /// 0 where a service sent it.
    pub sender_id: u64,
    /// When it was sent, Unix milliseconds.
    pub created_at_ms: i64,
    /// A `connect.MessageStatus`.
    pub status: i32,
    /// The group that it is for; 0 for none.
    pub group_id: u64,
}

/// A receiver of a message, and the message's place in that inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receiver {
    /// Who.
    pub user_id: u64,
    /// The inbox seq; 0 where the message is not persisted.
    pub seq: u64,
}

/// A message that may leave for the devices of its receivers: it is durable, or is not meant to be.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What is said.
    pub message: Message,
    /// To whom.
    pub receivers: Vec<Receiver>,
    /// The user who caused it, and whose share it takes; 0 for a service.
    pub caused_by: u64,
    /// The device of that user that needs no copy; 0 for none.
    pub origin_device_id: u64,
    /// For the logs on the way.
    pub request_id: RequestTag,
    /// Where it is for a group.
    pub group: Option<GroupDelivery>,
}

/// What a message for a group changes beside the inboxes of its receivers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupDelivery {
    /// Which group.
    pub group_id: u64,
    /// The message's place in its timeline; 0 where it is not persisted.
    pub seq: u64,
    /// Whether everybody who is live in the (large) group gets it from there.
    pub is_live: bool,
    /// Who is live in the group from this message on.
    pub joined: Vec<u64>,
    /// Who is not any more.
    pub left: Vec<u64>,
}

/// The answer to a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// The message.
    pub message_id: u64,
    /// Its seq in the sender's own inbox; for a large group that of the group.
    pub seq: u64,
    /// The seq that it took in the sender's own inbox just now; 0 for none.
    pub inbox_seq: u64,
    /// When it was first sent, Unix milliseconds.
    pub created_at_ms: i64,
    /// Whether an earlier send with the same key stored it.
    pub is_duplicate: bool,
    /// In what that send differs from this one, if it does: this one is not stored.
    pub differs_in: Option<&'static str>,
}

impl Delivery {
    /// Everybody whose routes it takes to deliver it.
    pub fn user_ids(&self) -> impl Iterator<Item = u64> {
        self.receivers.iter().map(|receiver| receiver.user_id).chain(self.joined_or_left())
    }

    /// Those who come into a large group with it, or leave one.
    pub fn joined_or_left(&self) -> impl Iterator<Item = u64> {
        self.group.iter().flat_map(|group| group.joined.iter().chain(&group.left)).copied()
    }
}

impl Message {
    /// One that is to be stored: whoever stores it gives it its id and the time.
    pub fn unnumbered(command: i32, content: Bytes, sender_id: u64) -> Self {
        Self { id: 0, command, content, sender_id, created_at_ms: 0, status: 0, group_id: 0 }
    }

    /// What is left of a message that is kept no longer.
    pub fn expired(id: u64) -> Self {
        Self {
            id,
            command: 0,
            content: Bytes::new(),
            sender_id: 0,
            created_at_ms: message_id::time_ms(id),
            status: connect::MessageStatus::MsExpired as i32,
            group_id: 0,
        }
    }

    /// What is left of the message once it was recalled.
    pub fn recalled(self) -> Self {
        Self { content: Bytes::new(), status: connect::MessageStatus::MsRecalled as i32, ..self }
    }

    /// Whether it was recalled.
    pub fn is_recalled(&self) -> bool {
        self.status == connect::MessageStatus::MsRecalled as i32
    }

    /// In what a send under a used key differs from the message that is stored under it. A recalled message has nothing left to
    /// differ from.
    pub fn differs_in(&self, stored: &Self) -> Option<&'static str> {
        if stored.is_recalled() {
            return None;
        }
        first_difference(self.group_id == stored.group_id, self.command == stored.command, self.said() == stored.said())
    }

    /// What the sender said, without the card around it: that is not the same for ever. A service has none.
    pub fn said(&self) -> Bytes {
        let content = self.content.clone();
        if self.sender_id == 0 {
            return content;
        }
        match self.group_id {
            0 => UserMessagePush::decode(content.clone()).map_or(content, |push| push.content),
            _ => GroupMessagePush::decode(content.clone()).map_or(content, |push| push.content),
        }
    }

    /// The message on the wire, without what differs per receiver.
    pub fn to_wire(&self) -> connect::Message {
        connect::Message {
            command: self.command,
            content: self.content.clone(),
            created_at: self.created_at_ms.div_euclid(1000),
            created_at_ms: self.created_at_ms,
            message_id: self.id,
            status: self.status,
            group_id: self.group_id,
            is_from_user: self.sender_id != 0,
            ..connect::Message::default()
        }
    }

    /// The message on the wire as it stands in an inbox.
    pub fn to_wire_at(&self, seq: u64) -> connect::Message {
        connect::Message { seq, prev_seq: seq.saturating_sub(1), ..self.to_wire() }
    }

    /// The message on the wire as it stands in the timeline of its group; 0 where it is not persisted.
    pub fn to_wire_in_timeline(&self, group_seq: u64) -> connect::Message {
        connect::Message { group_seq, prev_group_seq: group_seq.saturating_sub(1), ..self.to_wire() }
    }

    /// [`Message::to_wire`], encoded: the body of a push to many.
    pub fn encode(&self) -> Bytes {
        self.to_wire().encode_to_vec().into()
    }
}

impl From<Sent> for connect::SendReply {
    fn from(sent: Sent) -> Self {
        Self {
            message_id: sent.message_id,
            seq: sent.seq,
            created_at_ms: sent.created_at_ms,
            duplicate: sent.is_duplicate,
        }
    }
}

/// The first time that is taken for one at which something was sent, in milliseconds: September 2001. In seconds there are then ten
/// digits, which as milliseconds would be January 1970.
const SENT_AT_MS_MIN: i64 = 1_000_000_000_000;

/// How far the clock of a service may be ahead of ours.
const AHEAD_MS_MAX: i64 = 24 * 60 * 60 * 1000;

/// When something was sent, as a service says it: in milliseconds, or in seconds. What can be neither, 0 among it, is now.
pub fn sent_at_ms(said: i64, now_ms: i64) -> i64 {
    let readings = [Some(said), said.checked_mul(1000)].into_iter().flatten();
    let plausible = SENT_AT_MS_MIN..=now_ms.saturating_add(AHEAD_MS_MAX);
    readings.into_iter().find(|sent_at_ms| plausible.contains(sent_at_ms)).unwrap_or(now_ms)
}

/// In what two sends under one key differ, by what is the same.
pub fn first_difference(target: bool, command: bool, content: bool) -> Option<&'static str> {
    let parts = [("target", target), ("command", command), ("content", content)];
    parts.into_iter().find_map(|(name, is_same)| (!is_same).then_some(name))
}

/// The refusal of a send whose key stands for another message, which differs in this.
pub fn key_is_used(differs_in: &str) -> Refusal {
    let problem = format!("was used for another message, whose {differs_in} differs: make a new one for each message");
    check::invalid("client_msg_id", problem).into()
}

/// Checks the command of a trusted caller, who has to say one; enums are open, so every positive number passes.
pub fn check_command(command: i32) -> Result<i32, Refusal> {
    if command == 0 {
        return Err(check::invalid("command", "must be set").into());
    }
    if command < 0 {
        return Err(check::invalid("command", "must not be negative").into());
    }
    Ok(command)
}

/// Checks what is said: not too long, and what the command says where that is of a typed content, which is returned.
pub fn check_content(command: i32, content: &Bytes, bytes_max: usize) -> Result<Option<TypedContent>, Refusal> {
    check::size("content", content, bytes_max)?;
    Ok(typed_content::check(command, content)?)
}

/// Whom a client's message is for, as far as its command has to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// One other user, or those who are in a room.
    People,
    /// The members of a group.
    Members,
}

/// The numbers that clients may send as commands, as ranges with both ends; those of plain messages always.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientCommands(pub Vec<[i32; 2]>);

impl Default for ClientCommands {
    /// All but those of the server, which sends friend and group notices.
    fn default() -> Self {
        Self(vec![[0, 99], [200, i32::MAX]])
    }
}

impl ClientCommands {
    /// Whether a number is among them.
    pub fn contain(&self, command: i32) -> bool {
        self.0.iter().any(|&[first, last]| (first..=last).contains(&command))
    }
}

/// Checks the command that a client sends: 0 means a plain message, and that of the other audience would be unwrapped wrongly.
pub fn check_client_command(command: i32, audience: Audience, allowed: &ClientCommands) -> Result<i32, Refusal> {
    let user_message = connect::MessageCommand::McUserMessage as i32;
    let group_message = connect::MessageCommand::McGroupMessage as i32;
    let (plain, other) = match audience {
        Audience::People => (user_message, group_message),
        Audience::Members => (group_message, user_message),
    };
    match command {
        0 => Ok(plain),
        command if command == other => {
            let problem = format!("{command} does not fit the target, whose plain messages are {plain}");
            Err(check::invalid("command", problem).into())
        }
        command if command == plain || command < 0 || allowed.contain(command) => check_command(command),
        command => {
            let text = format!("command: {command} is not for clients");
            Err(Refusal::new(ResultCode::NotAllowed, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_send_says_the_same_whatever_card_its_sender_has_by_now() {
        let wrap = |nickname: &str, content: &'static str| {
            let from_user = gim_proto::logic::User { nickname: nickname.into(), ..Default::default() };
            UserMessagePush { from_user: Some(from_user), to_user_id: 8, content: content.into() }
                .encode_to_vec()
                .into()
        };
        let message = |command, content: Bytes, group_id| Message {
            command,
            content,
            sender_id: 7,
            group_id,
            ..Message::expired(1)
        };
        let stored = message(1, wrap("Ada", "hi"), 0);
        let differs_in = |again: Message| again.differs_in(&stored);
        assert_eq!(differs_in(message(1, wrap("Lovelace", "hi"), 0)), None);
        assert_eq!(differs_in(message(1, wrap("Ada", "ho"), 0)), Some("content"));
        assert_eq!(differs_in(message(5000, wrap("Ada", "ho"), 0)), Some("command"));
        assert_eq!(differs_in(message(5000, wrap("Ada", "ho"), 9)), Some("target"));
        assert_eq!(message(5000, wrap("Ada", "ho"), 9).differs_in(&stored.clone().recalled()), None);
    }

    #[test]
    fn created_at_is_when_it_was_sent_in_both_units() {
        let message = Message {
            id: 9,
            command: 1,
            content: Bytes::from_static(b"x"),
            sender_id: 3,
            created_at_ms: 1_700_000_000_999,
            status: 0,
            group_id: 0,
        };
        let wire = message.to_wire_at(5);
        assert_eq!((wire.created_at, wire.created_at_ms), (1_700_000_000, 1_700_000_000_999));
        assert_eq!((wire.seq, wire.prev_seq, wire.message_id), (5, 4, 9));
        let in_timeline = message.to_wire_in_timeline(5);
        assert_eq!((in_timeline.seq, in_timeline.prev_seq), (0, 0), "no number but the inbox's is a seq");
        assert_eq!((in_timeline.group_seq, in_timeline.prev_group_seq), (5, 4));
        let body = connect::Message::decode(message.encode()).unwrap();
        assert_eq!((body.seq, body.prev_seq), (0, 0), "a body travels without what differs per receiver");
    }

    #[test]
    fn a_time_of_sending_is_read_in_milliseconds_or_seconds_and_else_is_now() {
        let now_ms = 1_800_000_000_123;
        for (said, sent_at_ms) in [
            (1_700_000_000_500, 1_700_000_000_500),
            (1_700_000_000, 1_700_000_000_000),
            (now_ms + 1000, now_ms + 1000),
            (now_ms / 1000, 1_800_000_000_000),
            (0, now_ms),
            (7, now_ms),
            (-1_700_000_000, now_ms),
            (now_ms + 2 * AHEAD_MS_MAX, now_ms),
            (1_700_000_000_000_000, now_ms),
            (i64::MAX, now_ms),
            (i64::MIN, now_ms),
        ] {
            assert_eq!(super::sent_at_ms(said, now_ms), sent_at_ms, "{said}");
        }
    }

    #[test]
    fn clients_send_no_notices_of_the_server() {
        let allowed = ClientCommands::default();
        for (audience, plain, other) in [(Audience::People, 1, 2), (Audience::Members, 2, 1)] {
            assert_eq!(check_client_command(0, audience, &allowed).unwrap(), plain);
            assert_eq!(check_client_command(plain, audience, &allowed).unwrap(), plain);
            assert_eq!(check_client_command(5_000, audience, &allowed).unwrap(), 5_000);
            let refusal = check_client_command(other, audience, &allowed).unwrap_err();
            assert_eq!(refusal.code(), ResultCode::BadRequest);
        }
        for command in [100, 110, 122, 199] {
            let refusal = check_client_command(command, Audience::People, &allowed).unwrap_err();
            assert_eq!(refusal.code(), ResultCode::NotAllowed);
            assert!(check_command(command).is_ok());
        }
        assert!(check_client_command(-1, Audience::Members, &allowed).is_err());
        assert!(check_command(-1).is_err());
    }

    #[test]
    fn clients_send_the_commands_that_the_settings_allow_and_plain_messages() {
        let allowed = ClientCommands(vec![[1_000, 1_001], [1_005, 1_005]]);
        let code =
            |command| check_client_command(command, Audience::People, &allowed).map_err(|refusal| refusal.code());
        for command in [0, 1, 1_000, 1_001, 1_005] {
            assert_eq!(code(command), Ok(command.max(1)));
        }
        for command in [3, 999, 1_002, 1_006] {
            assert_eq!(code(command), Err(ResultCode::NotAllowed));
        }
    }
}
