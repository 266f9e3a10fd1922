//! What requests want of the inbox writer, and what becomes of it.

use super::group_work::GroupWork;
use crate::domain::{
    group::{GroupAction, GroupRefusal},
    message::{Message, Sent},
};

/// What one request wants written.
#[derive(Debug)]
pub enum Work {
    /// Store a message in inboxes.
    Post(Post),
    /// Note how far a device has read.
    Ack(Ack),
    /// Recall a stored message: `message` is what is left of it, `user_ids` are those whose inboxes hold it (nobody's where it
    /// is in the timeline of a large group alone). Nothing where it is recalled already, or gone.
    Recall(Post),
    /// Send to a group, or change it.
    Group(Box<GroupWork>),
    /// Note how far a user has read in large groups.
    GroupAcks(Vec<GroupAck>),
}

/// A message for the inboxes of its receivers.
#[derive(Debug, Clone)]
pub struct Post {
    /// What is said.
    pub message: Message,
    /// To whom; no user twice. A sender is among them, and first.
    pub user_ids: Vec<u64>,
    /// The two sides of a conversation, sender first, where it is part of one: each finds it under the other's name.
    pub conversation: Option<(u64, u64)>,
    /// The client's key of a send; none for a push of a service.
    pub client_msg_id: Option<String>,
    /// The device that sent it and needs no copy; 0 for none.
    pub origin_device_id: u64,
    /// For the logs.
    pub request_id: String,
}

/// How far a device has read.
#[derive(Debug, Clone, Copy)]
pub struct Ack {
    /// Whose inbox.
    pub user_id: u64,
    /// Which device.
    pub device_id: u64,
    /// Up to here.
    pub seq: u64,
}

/// How far a user has read in a large group; at most its newest seq, which whoever submits it has seen.
#[derive(Debug, Clone, Copy)]
pub struct GroupAck {
    /// Who.
    pub user_id: u64,
    /// Where.
    pub group_id: u64,
    /// Up to here.
    pub seq: u64,
}

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The message is in the inboxes, now or since an earlier send with its key. `seq` is that of the first receiver; in a
    /// large group that of the group. Of a change of a group it is the first notice.
    Posted(Sent),
    /// The group was left as it is.
    Refused(GroupRefusal),
    /// The ack is noted.
    Acked,
    /// The message is recalled, now or since an earlier request.
    Recalled,
    /// The ack is beyond the newest seq of the inbox and was not noted.
    AckBeyond {
        /// That newest seq.
        newest_seq: u64,
    },
}

/// Somebody whose requests have to stay in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Concern {
    /// A user.
    User(u64),
    /// A group.
    Group(u64),
}

impl Work {
    /// Adds whom it concerns, as far as can be told without looking: the members of a group that gets a message are not
    /// among them, but whoever sends it is.
    pub(super) fn add_concerns(&self, concerns: &mut Vec<Concern>) {
        let user = |&user_id: &u64| Concern::User(user_id);
        match self {
            Self::Post(post) => concerns.extend(post.user_ids.iter().map(user)),
            Self::Recall(post) => {
                concerns.extend(post.user_ids.iter().map(user));
                concerns.extend(post.timeline_alone().map(Concern::Group));
            }
            Self::Ack(ack) => concerns.push(Concern::User(ack.user_id)),
            Self::GroupAcks(acks) => concerns.extend(acks.iter().map(|ack| Concern::User(ack.user_id)).next()),
            Self::Group(work) => {
                concerns.push(Concern::Group(work.group_id));
                concerns.extend(work.actor.iter().map(user));
            }
        }
    }

    /// Inbox rows that it may write.
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Post(post) | Self::Recall(post) => post.user_ids.len().max(1),
            Self::Group(work) => work.rows(),
            Self::Ack(_) => 1,
            Self::GroupAcks(acks) => acks.len(),
        }
    }

    /// Memory that it holds while it waits.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Post(post) | Self::Recall(post) => {
                size_of::<Self>() + post.message.content.len() + post.user_ids.len() * size_of::<u64>()
            }
            Self::Group(work) => size_of::<Self>() + work.bytes(),
            Self::Ack(_) => size_of::<Self>(),
            Self::GroupAcks(acks) => size_of::<Self>() + acks.len() * size_of::<GroupAck>(),
        }
    }

    /// The key of a send.
    pub(super) fn key(&self) -> Option<Key<'_>> {
        let (message, client_msg_id) = match self {
            Self::Post(post) => (&post.message, post.client_msg_id.as_deref()?),
            Self::Group(work) => (work.messages.first()?, work.client_msg_id.as_deref()?),
            _ => return None,
        };
        Some((message.sender_id, client_msg_id))
    }
}

/// A sender, and what makes a send of theirs a repeated one.
pub(super) type Key<'a> = (u64, &'a str);

impl Post {
    /// The key of a send.
    pub(super) fn key(&self) -> Option<Key<'_>> {
        self.client_msg_id.as_deref().map(|client_msg_id| (self.message.sender_id, client_msg_id))
    }

    /// The large group of a message that is in no inbox.
    pub(super) fn timeline_alone(&self) -> Option<u64> {
        (self.user_ids.is_empty() && self.message.group_id != 0).then_some(self.message.group_id)
    }

    /// Under whose name a receiver finds the message again.
    pub(super) fn peer_of(&self, user_id: u64) -> Option<u64> {
        let (from, to) = self.conversation?;
        match user_id {
            user_id if user_id == from => Some(to),
            user_id if user_id == to => Some(from),
            _ => None,
        }
    }
}

/// The groups that have to be there already.
pub(super) fn group_ids(works: &[&Work]) -> Vec<u64> {
    let group_id = |work: &&Work| match work {
        Work::Group(work) if !matches!(work.action, GroupAction::Create { .. }) => Some(work.group_id),
        Work::Recall(post) => post.timeline_alone(),
        _ => None,
    };
    works.iter().filter_map(group_id).collect()
}
