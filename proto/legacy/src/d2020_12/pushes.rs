//! What is pushed and synced: today's message as the dialect's. Pure.
//!
//! Who says something stands in the message itself, and what is said has a type. News of the server and of the business are commands.

use gim_proto::connect::{MessageCommand, MessageStatus as TodaysStatus};

use super::{
    told,
    wire::{MessageStatus, PushCode, ReceiverType, SenderType},
};
use crate::{
    fields::{put_bytes, put_message, put_number},
    notices,
    today::{Card, Message, Wrapped, is_plain},
};

/// Today's numbers of news, and those of then.
const NEWS: [(MessageCommand, PushCode); 5] = [
    (MessageCommand::McAddFriend, PushCode::PcAddFriend),
    (MessageCommand::McAgreeAddFriend, PushCode::PcAgreeAddFriend),
    (MessageCommand::McUpdateGroup, PushCode::PcUpdateGroup),
    (MessageCommand::McAddGroupMembers, PushCode::PcAddGroupMembers),
    (MessageCommand::McRemoveGroupMember, PushCode::PcRemoveGroupMember),
];

/// Who says what.
enum Words<'a> {
    /// Nobody anything any more.
    Gone,
    User(Wrapped<'a>),
    News(PushCode),
    Business,
}

/// Appends a `Message`. False, and nothing is appended, where the dialect has no word for it: for what is said in rooms, say.
pub(super) fn put(out: &mut Vec<u8>, message: &Message<'_>) -> bool {
    if message.room_id != 0 || message.is_unheard_of(&NEWS.map(|(command, _)| command as i32)) {
        return false;
    }
    let words = words(message);
    let (sender, card, receiver_id) = match &words {
        Words::Gone => (SenderType::StUnknown, Card::default(), message.group_id),
        Words::User(wrapped) => (SenderType::StUser, wrapped.from_user, wrapped.to),
        Words::News(_) => (SenderType::StSystem, Card::default(), message.group_id),
        Words::Business => (SenderType::StBusiness, Card::default(), message.group_id),
    };
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
    match words {
        Words::Gone => {}
        Words::User(wrapped) => told::put_said(out, message.command, is_plain(message.command), wrapped.content),
        Words::News(code) => told::put_command(out, code as i32, |out| put_news(out, message)),
        Words::Business => told::put_numbered(out, message.command, message.content),
    }
    put_number(out, 7, message.seq);
    put_number(out, 8, message.created_at_ms as u64);
    put_number(out, 9, status(message) as u64);
    true
}

fn words<'a>(message: &Message<'a>) -> Words<'a> {
    if message.is_gone() {
        return Words::Gone;
    }
    if (message.is_from_user || is_plain(message.command))
        && let Ok(wrapped) = Wrapped::read(message.content)
    {
        return Words::User(wrapped);
    }
    let news = NEWS.iter().find(|(known, _)| *known as i32 == message.command);
    news.map_or(Words::Business, |(_, code)| Words::News(*code))
}

fn put_news(out: &mut Vec<u8>, message: &Message<'_>) {
    let before = out.len();
    if message.command == MessageCommand::McAddGroupMembers as i32
        && notices::put_added_members(out, message.content).is_ok()
    {
        return;
    }
    out.truncate(before);
    out.extend_from_slice(message.content);
}

fn status(message: &Message<'_>) -> MessageStatus {
    match TodaysStatus::try_from(message.status) {
        Ok(TodaysStatus::MsNormal) => MessageStatus::MsNormal,
        Ok(TodaysStatus::MsRecalled) => MessageStatus::MsRecall,
        Ok(TodaysStatus::MsExpired) | Err(_) => MessageStatus::MsUnknown,
    }
}
