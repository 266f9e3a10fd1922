//! What is pushed and synced: today's message as the dialect's. Pure.
//!
//! Who says something stands in the message itself, and what is said has a type. News of the server and of the business are commands.

use bytes::Bytes;
use gim_proto::connect::{MessageCommand, MessageStatus as TodaysStatus};

use super::{
    contents::{self, Told},
    wire::{MessageStatus, MessageType, PushCode, ReceiverType, SenderType},
};
use crate::{
    fields::{put_bytes, put_message, put_number, put_numbers},
    notices,
    today::{Card, Message, Wrapped},
};

/// Today's numbers of news, and those of then.
const NEWS: [(MessageCommand, PushCode); 5] = [
    (MessageCommand::McAddFriend, PushCode::PcAddFriend),
    (MessageCommand::McAgreeAddFriend, PushCode::PcAgreeAddFriend),
    (MessageCommand::McUpdateGroup, PushCode::PcUpdateGroup),
    (MessageCommand::McAddGroupMembers, PushCode::PcAddGroupMembers),
    (MessageCommand::McRemoveGroupMember, PushCode::PcRemoveGroupMember),
];

/// A message in the words of then.
struct Rendered<'a> {
    sender: SenderType,
    card: Card<'a>,
    receiver_id: u64,
    told: Told,
}

/// Appends a `Message`. False, and nothing is appended, where the dialect has no word for it: for what is said in rooms, say.
pub(super) fn put(out: &mut Vec<u8>, message: &Message<'_>) -> bool {
    if message.room_id != 0 || message.is_unheard_of(&NEWS.map(|(command, _)| command as i32)) {
        return false;
    }
    let Rendered { sender, card, receiver_id, told } = render(message);
    put_message(out, 1, |out| {
        put_number(out, 1, sender as u64);
        put_number(out, 2, card.user_id);
        put_bytes(out, 3, card.avatar_url);
        put_bytes(out, 4, card.nickname);
        put_bytes(out, 5, card.extra);
    });
    let receiver_type = match message.group_id {
        0 => ReceiverType::RtUser,
        _ if message.group_seq != 0 => ReceiverType::RtLargeGroup,
        _ => ReceiverType::RtSmallGroup,
    };
    put_number(out, 2, receiver_type as u64);
    put_number(out, 3, receiver_id);
    put_numbers(out, 4, &told.to_user_ids);
    put_number(out, 5, told.message_type as u64);
    put_bytes(out, 6, told.content);
    put_number(out, 7, message.seq);
    put_number(out, 8, message.created_at_ms as u64);
    put_number(out, 9, status(message) as u64);
    true
}

fn status(message: &Message<'_>) -> MessageStatus {
    match TodaysStatus::try_from(message.status) {
        Ok(TodaysStatus::MsNormal) => MessageStatus::MsNormal,
        Ok(TodaysStatus::MsRecalled) => MessageStatus::MsRecall,
        Ok(TodaysStatus::MsExpired) | Err(_) => MessageStatus::MsUnknown,
    }
}

fn render<'a>(message: &Message<'a>) -> Rendered<'a> {
    let nothing = Told { message_type: MessageType::MtUnknown, content: Vec::new(), to_user_ids: Vec::new() };
    let (card, receiver_id) = (Card::default(), message.group_id);
    if message.is_gone() {
        return Rendered { sender: SenderType::StUnknown, card, receiver_id, told: nothing };
    }
    let command = MessageCommand::try_from(message.command).unwrap_or_default();
    let is_wrapped = matches!(command, MessageCommand::McUserMessage | MessageCommand::McGroupMessage);
    if (message.is_from_user || is_wrapped)
        && let Ok(Wrapped { from_user, to, content }) = Wrapped::read(message.content)
    {
        let told = said(message.command, is_wrapped, content);
        return Rendered { sender: SenderType::StUser, card: from_user, receiver_id: to, told };
    }
    let news = NEWS.iter().find(|(known, _)| *known == command);
    let (sender, (message_type, content)) = match news {
        Some((_, code)) => (SenderType::StSystem, contents::of_number(*code as i32, news_of(message))),
        None => (SenderType::StBusiness, contents::of_number(message.command, copy(message.content))),
    };
    Rendered { sender, card, receiver_id, told: Told { message_type, content, to_user_ids: Vec::new() } }
}

/// What a user says: a typed content, or bytes of the app's own, or a number of it.
fn said(command: i32, is_plain: bool, content: &[u8]) -> Told {
    if let Some(told) = contents::told(command, copy(content)) {
        return told;
    }
    let (message_type, content) =
        if is_plain { contents::of_bytes(content) } else { contents::of_number(command, copy(content)) };
    Told { message_type, content, to_user_ids: Vec::new() }
}

fn news_of(message: &Message<'_>) -> Bytes {
    let mut members = Vec::new();
    if message.command == MessageCommand::McAddGroupMembers as i32
        && notices::put_added_members(&mut members, message.content).is_ok()
    {
        return members.into();
    }
    copy(message.content)
}

fn copy(content: &[u8]) -> Bytes {
    Bytes::copy_from_slice(content)
}
