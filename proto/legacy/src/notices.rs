//! Contents that have the same numbers in several dialects: cards of senders, and the news that members joined a group. Pure.

use crate::{
    fields::{Malformed, put_bytes, put_message, put_number, visit},
    today::{Card, Member},
};

/// Who says something, as since 2024.
pub(crate) fn put_card(out: &mut Vec<u8>, card: &Card<'_>) {
    put_number(out, 2, card.user_id);
    put_number(out, 3, card.device_id);
    put_bytes(out, 4, card.avatar_url);
    put_bytes(out, 5, card.nickname);
    put_bytes(out, 6, card.extra);
}

/// `AddGroupMembersPush`, out of today's.
///
/// # Errors
/// Where the content is none; what was appended is of no use then.
pub(crate) fn put_added_members(out: &mut Vec<u8>, content: &[u8]) -> Result<(), Malformed> {
    visit(content, |field| {
        match field.tag {
            1 => put_number(out, 1, field.number()?),
            2 => put_bytes(out, 2, field.bytes()?),
            3 => {
                let member = Member::read(field.bytes()?)?;
                put_message(out, 3, |out| put_member(out, &member));
            }
            _ => {}
        }
        Ok(())
    })
}

/// A member's own name in the group was called its remarks.
fn put_member(out: &mut Vec<u8>, member: &Member<'_>) {
    put_number(out, 1, member.user_id);
    put_number(out, 6, member.member_type);
    put_bytes(out, 7, member.nickname);
    put_bytes(out, 8, member.extra);
}
