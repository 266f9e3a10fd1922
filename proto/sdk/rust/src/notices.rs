//! What the server tells users by messages with commands from 110 to 122: friends and groups that changed. No IO, no state.

use gim_proto::{
    business::{AddFriendPush, AgreeAddFriendPush},
    connect::MessageCommand,
    logic::{AddGroupMembersPush, RemoveGroupMemberPush, UpdateGroupPush},
};
use prost::Message as _;

use crate::message::{Message, MessageStatus};

/// Somebody, and what they are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// 0 for a backend.
    pub user_id: u64,
    /// As it was then.
    pub nickname: String,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Somebody wants to be a friend.
    FriendAsked {
        /// Who.
        user: Named,
        /// What they say to it.
        description: String,
    },
    /// Somebody agreed to be a friend.
    FriendAgreed {
        /// Who.
        user: Named,
    },
    /// A group has another name or profile.
    GroupChanged {
        /// Which.
        group_id: u64,
        /// Who did it.
        by: Named,
        /// Its name now.
        name: String,
    },
    /// Members came.
    MembersAdded {
        /// Where.
        group_id: u64,
        /// Who did it.
        by: Named,
        /// Who came.
        members: Vec<Named>,
    },
    /// Members went.
    MembersRemoved {
        /// Where.
        group_id: u64,
        /// Who did it.
        by: Named,
        /// Who went.
        user_ids: Vec<u64>,
    },
}

/// None for any other message.
pub fn notice_of(message: &Message) -> Option<Notice> {
    if message.from.is_some() || message.status != MessageStatus::Normal {
        return None;
    }
    let (content, group_id) = (message.content.clone(), message.group_id);
    Some(match MessageCommand::try_from(message.command).ok()? {
        MessageCommand::McAddFriend => {
            let push = AddFriendPush::decode(content).ok()?;
            Notice::FriendAsked { user: named(push.friend_id, push.nickname), description: push.description }
        }
        MessageCommand::McAgreeAddFriend => {
            let push = AgreeAddFriendPush::decode(content).ok()?;
            Notice::FriendAgreed { user: named(push.friend_id, push.nickname) }
        }
        MessageCommand::McUpdateGroup => {
            let push = UpdateGroupPush::decode(content).ok()?;
            Notice::GroupChanged { group_id, by: named(push.opt_id, push.opt_name), name: push.name }
        }
        MessageCommand::McAddGroupMembers => {
            let push = AddGroupMembersPush::decode(content).ok()?;
            let members = push.members.into_iter().map(|member| named(member.user_id, member.nickname));
            Notice::MembersAdded { group_id, by: named(push.opt_id, push.opt_name), members: members.collect() }
        }
        MessageCommand::McRemoveGroupMember => {
            let push = RemoveGroupMemberPush::decode(content).ok()?;
            let is_of_one = push.deleted_user_ids.is_empty();
            let user_ids = if is_of_one { vec![push.deleted_user_id] } else { push.deleted_user_ids };
            Notice::MembersRemoved { group_id, by: named(push.opt_id, push.opt_name), user_ids }
        }
        _ => return None,
    })
}

fn named(user_id: u64, nickname: String) -> Named {
    Named { user_id, nickname }
}
