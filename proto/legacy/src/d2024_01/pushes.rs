//! What is pushed and synced: today's message as the dialect's. Pure.
//!
//! A message has no room: in one, its content is what was said and nothing around it, and it has no seq. Whoever said it chose all of the
//! content, so that it never comes under a number whose content the dialect knows.

use gim_proto::connect::{MessageCommand, MessageStatus as TodaysStatus};

use super::wire::{MessageStatus, PushCode};
use crate::{
    fields::{Malformed, put_bytes, put_content, put_message, put_number},
    notices,
    today::{Message, Wrapped, is_plain},
};

/// Today's numbers from 110 on that are the dialect's, too.
const KNOWN: [i32; 5] = [
    PushCode::PcAddFriend as i32,
    PushCode::PcAgreeAddFriend as i32,
    PushCode::PcUpdateGroup as i32,
    PushCode::PcAddGroupMembers as i32,
    PushCode::PcRemoveGroupMember as i32,
];

/// Appends a `Message`. False, and nothing is appended, where the dialect has no word for it.
pub(super) fn put(out: &mut Vec<u8>, message: &Message<'_>) -> bool {
    if message.is_unheard_of(&KNOWN) {
        return false;
    }
    put_number(out, 1, if message.is_gone() { 0 } else { code(message) as u64 });
    put_content(out, 2, |out| {
        let before = out.len();
        if !message.is_gone() && put_rewritten(out, message).is_err() {
            // A backend may say with any command what it wants.
            out.truncate(before);
            out.extend_from_slice(message.content);
        }
    });
    put_number(out, 3, message.seq);
    put_number(out, 4, message.created_at_ms as u64);
    let is_recalled = message.status == TodaysStatus::MsRecalled as i32;
    put_number(out, 5, if is_recalled { MessageStatus::MsRecall as u64 } else { 0 });
    true
}

fn code(message: &Message<'_>) -> i32 {
    if message.is_plain_in_room() {
        return PushCode::PcAddDefault as i32;
    }
    match MessageCommand::try_from(message.command) {
        Ok(MessageCommand::McUserMessage) => PushCode::PcUserMessage as i32,
        Ok(MessageCommand::McGroupMessage) => PushCode::PcGroupMessage as i32,
        _ => message.command,
    }
}

fn put_rewritten(out: &mut Vec<u8>, message: &Message<'_>) -> Result<(), Malformed> {
    if let Some(said) = message.said_in_room()? {
        out.extend_from_slice(said);
    } else if message.is_from_user || is_plain(message.command) {
        let Wrapped { from_user, to, content } = Wrapped::read(message.content)?;
        put_message(out, 1, |out| notices::put_card(out, &from_user));
        put_number(out, 2, to);
        put_bytes(out, 3, content);
    } else if message.command == MessageCommand::McAddGroupMembers as i32 {
        notices::put_added_members(out, message.content)?;
    } else {
        out.extend_from_slice(message.content);
    }
    Ok(())
}
