//! What is pushed and synced: today's message as the dialect's. Pure.
//!
//! The contents of its own commands have other numbers than today's where a user stands in them. In a room content is what was said and
//! nothing around it, as rooms were then. Whoever said it chose all of the content, so that it never comes under a command whose content
//! the dialect knows.

use std::ops::RangeInclusive;

use gim_proto::connect::MessageCommand;

use super::wire::connect::Command;
use crate::{
    fields::{Malformed, put_bytes, put_content, put_message, put_number},
    notices,
    today::{Message, Wrapped},
};

/// Today's numbers from 110 on that are the dialect's, too.
const KNOWN: [i32; 5] = [
    Command::AddFriend as i32,
    Command::AgreeAddFriend as i32,
    Command::UpdateGroup as i32,
    Command::AddGroupMembers as i32,
    Command::RemoveGroupMember as i32,
];

/// The numbers of what clients ask on their connection.
const REQUESTS: RangeInclusive<i32> = Command::SignIn as i32..=Command::SubscribeRoom as i32;

/// Appends a `connect.Message`. False, and nothing is appended, where the dialect has no word for it.
pub(super) fn put(frame: &mut Vec<u8>, message: &Message<'_>) -> bool {
    if message.is_unheard_of(&KNOWN) {
        return false;
    }
    let command = if message.is_gone() { Command::Unknown as i32 } else { command(message) };
    put_number(frame, 2, command as u64);
    put_content(frame, 3, |out| {
        let before = out.len();
        if !message.is_gone() && put_rewritten(out, message).is_err() {
            // A backend may say with any command what it wants.
            out.truncate(before);
            out.extend_from_slice(message.content);
        }
    });
    put_number(frame, 4, message.seq);
    put_number(frame, 5, message.created_at as u64);
    put_number(frame, 6, message.room_id);
    true
}

fn command(message: &Message<'_>) -> i32 {
    if message.is_plain_in_room() {
        return Command::Unknown as i32;
    }
    match MessageCommand::try_from(message.command) {
        Ok(MessageCommand::McUserMessage) => Command::UserMessage as i32,
        Ok(MessageCommand::McGroupMessage) => Command::GroupMessage as i32,
        // The answer to a request has its number.
        _ if REQUESTS.contains(&message.command) => Command::Unknown as i32,
        _ => message.command,
    }
}

fn put_rewritten(out: &mut Vec<u8>, message: &Message<'_>) -> Result<(), Malformed> {
    let command = MessageCommand::try_from(message.command).unwrap_or_default();
    let is_to_group = command == MessageCommand::McGroupMessage || message.is_from_user && message.group_id != 0;
    if let Some(said) = message.said_in_room()? {
        out.extend_from_slice(said);
    } else if is_to_group {
        let Wrapped { from_user, to: group_id, content } = Wrapped::read(message.content)?;
        put_message(out, 1, |out| notices::put_card(out, &from_user));
        put_number(out, 2, group_id);
        put_bytes(out, 3, content);
    } else if message.is_from_user || command == MessageCommand::McUserMessage {
        let Wrapped { from_user, content, .. } = Wrapped::read(message.content)?;
        put_message(out, 1, |out| notices::put_card(out, &from_user));
        put_bytes(out, 2, content);
    } else if command == MessageCommand::McAddGroupMembers {
        notices::put_added_members(out, message.content)?;
    } else {
        out.extend_from_slice(message.content);
    }
    Ok(())
}
