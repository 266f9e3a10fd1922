//! What requests want of the inbox writer, and what becomes of it.
//!
//! Always holds: each kind of work is answered with its own kind of outcome; by construction, no other one can come.

use std::{collections::VecDeque, fmt::Debug, net::IpAddr};

use gim_proto::{logic::Device, trace::TraceContext};
use tokio::sync::oneshot;

use super::{error::StoreError, read_position::ReadPosition};
use crate::domain::{
    caller::RequestTag,
    conversation::Peer,
    group::{GroupAction, GroupRefusal, Member, MemberLimits},
    message::{Message, Sent},
    message_id::MessageIds,
};

/// What one request wants written.
#[derive(Debug)]
pub(super) enum Work {
    /// Store a message in inboxes.
    Post(Request<Post, Sent>),
    /// Note how far a device has read.
    Ack(Request<Ack, AckOutcome>),
    /// Recall a stored message: `message` is what is left of it, `user_ids` are those whose inboxes hold it (nobody's where it
    /// is in the timeline of a large group alone). Nothing where it is recalled already, or gone.
    Recall(Request<Post, ()>),
    /// Send to a group, or change it.
    Group(Request<Box<GroupWork>, GroupOutcome>),
    /// Note how far a user has read in large groups.
    GroupAcks(Request<Vec<GroupAck>, ()>),
    /// Note how far a user has read in a conversation.
    Read(Request<ReadMark, ()>),
    /// Note what a device tells about itself, or who signed in on it.
    Device(Request<Box<DeviceSave>, ()>),
}

/// What somebody wants, and where he waits for the outcome.
#[derive(Debug)]
pub(super) struct Request<W, T> {
    pub wants: W,
    /// Where it stands among the ids of messages, once the writer took it; 0 for what is not found by it.
    pub id: u64,
    pub reply: oneshot::Sender<Result<T, StoreError>>,
}

/// What became of the works of a transaction: of each kind, in their order. There is none for those that did not fit.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    pub posts: VecDeque<Sent>,
    pub acks: VecDeque<AckOutcome>,
    pub recalls: VecDeque<()>,
    pub groups: VecDeque<GroupOutcome>,
    pub group_acks: VecDeque<()>,
    pub reads: VecDeque<()>,
    pub devices: VecDeque<()>,
}

/// What became of an ack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckOutcome {
    /// It is noted.
    Noted,
    /// It is beyond the newest seq of the inbox and was not noted.
    Beyond {
        /// That newest seq.
        newest_seq: u64,
    },
}

/// What became of a [`GroupWork`]: its message is stored, now or since an earlier send with its key (of a change it is the
/// first notice), or the group was left as it is.
pub type GroupOutcome = Result<Sent, GroupRefusal>;

/// A message for the inboxes of its receivers.
#[derive(Debug, Clone)]
pub struct Post {
    /// What is said.
    pub message: Message,
    /// To whom; no user twice. A sender is among them, and first.
    pub user_ids: Vec<u64>,
    /// Whom the message is for, where these are only some of them: a part, of which the first one stores it.
    pub all_user_ids: Vec<u64>,
    /// The two sides of a conversation, sender first, where it is part of one: each finds it under the other's name.
    pub conversation: Option<(u64, u64)>,
    /// The key of a send, or of a service's push.
    pub client_msg_id: Option<String>,
    /// Whether a service asked for it, whose keys are not those of the user for whom it speaks.
    pub is_of_service: bool,
    /// The device that sent it and needs no copy; 0 for none.
    pub origin_device_id: u64,
    /// For the logs.
    pub request_id: RequestTag,
    /// Whether the message itself is stored already: this is for more of its receivers.
    pub is_stored: bool,
}

/// What one request wants done with a group.
#[derive(Debug)]
pub struct GroupWork {
    /// Which group.
    pub group_id: u64,
    /// Who asks, with no more rights than he has; none for a trusted service.
    pub actor: Option<u64>,
    /// What to do.
    pub action: GroupAction,
    /// The message, or the notices that tell members of the change: one, unless it would be too long.
    pub messages: Vec<Message>,
    /// Of a change: those whose inboxes are not told of it, because they blocked whoever asks.
    pub not_told: Vec<u64>,
    /// How many members there may be.
    pub limits: MemberLimits,
    /// The client's key of a send.
    pub client_msg_id: Option<String>,
    /// The device that sent it and needs no copy; 0 for none.
    pub origin_device_id: u64,
    /// For the logs.
    pub request_id: RequestTag,
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

/// How far a device has acknowledged a large group; at most its newest seq, which whoever submits it has seen.
#[derive(Debug, Clone, Copy)]
pub struct GroupAck {
    /// Who.
    pub user_id: u64,
    /// On which device.
    pub device_id: u64,
    /// Where.
    pub group_id: u64,
    /// Up to here.
    pub seq: u64,
}

/// How far a user has read in a conversation: at most its newest message, which whoever submits it has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadMark {
    /// Who.
    pub user_id: u64,
    /// What.
    pub peer: Peer,
    /// How far; marks as unread go.
    pub position: ReadPosition,
}

/// What is to be noted of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceSave {
    /// Whose device it is; [`NOBODY`](super::device::NOBODY) for that of whoever signs in on it next.
    pub owner: u64,
    /// The device; it has an id.
    pub device: Device,
    /// What of it.
    pub change: DeviceChange,
    /// When.
    pub now_ms: i64,
    /// Who asks.
    pub saver: Saver,
}

/// What is noted of a device. One that is not known becomes so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChange {
    /// All that it says of itself.
    All,
    /// Where pushes reach it, and which versions run on it.
    PushIdAndVersions,
    /// Its owner, who signed in on it: what was told about it before is hers from now on.
    Owner,
}

/// Who tells about a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saver {
    /// Somebody at this address, who showed no token.
    Stranger(IpAddr),
    /// The user who is signed in on it.
    User(u64),
    /// A trusted service.
    Service,
}

/// What has to be free for a request to be taken, and is locked until it is done: requests about the same stay in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum LockKey {
    /// A user.
    User(u64),
    /// A group.
    Group(u64),
    /// A device.
    Device(u64),
}

/// Who pays for a request: whose share it takes, and in whose turn it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Payer {
    /// A user, by however many devices, connections and calls.
    User(u64),
    /// Trusted services, for each receiver or group: they are as many as those whom they serve.
    Service(LockKey),
    /// Those at an address who show no token.
    Stranger(IpAddr),
}

impl Work {
    /// Adds what it locks, as far as can be told without looking: the members of a group that gets a message are not among
    /// them, but whoever sends it is.
    pub(super) fn add_lock_keys(&self, keys: &mut Vec<LockKey>) {
        let user = |&user_id: &u64| LockKey::User(user_id);
        match self {
            Self::Post(request) => keys.extend(request.wants.user_ids.iter().map(user)),
            Self::Recall(request) => {
                keys.extend(request.wants.user_ids.iter().map(user));
                keys.extend(request.wants.timeline_alone().map(LockKey::Group));
            }
            Self::Ack(request) => keys.push(LockKey::User(request.wants.user_id)),
            Self::GroupAcks(request) => keys.extend(request.wants.first().map(|ack| LockKey::User(ack.user_id))),
            Self::Read(request) => keys.push(LockKey::User(request.wants.user_id)),
            Self::Group(request) => {
                keys.push(LockKey::Group(request.wants.group_id));
                keys.extend(request.wants.actor.iter().map(user));
            }
            Self::Device(request) => keys.push(LockKey::Device(request.wants.device.id)),
        }
    }

    /// Whose share it takes: that of the user who asked for it, also through a service.
    pub(super) fn payer(&self) -> Payer {
        let of_post = |post: &Post| match (post.message.sender_id, post.user_ids.first()) {
            (0, Some(&user_id)) => Payer::Service(LockKey::User(user_id)),
            (0, None) => Payer::Service(LockKey::Group(post.message.group_id)),
            (sender_id, _) => Payer::User(sender_id),
        };
        match self {
            Self::Post(request) => of_post(&request.wants),
            Self::Recall(request) => of_post(&request.wants),
            Self::Ack(request) => Payer::User(request.wants.user_id),
            Self::GroupAcks(request) => Payer::User(request.wants.first().map_or(0, |ack| ack.user_id)),
            Self::Read(request) => Payer::User(request.wants.user_id),
            Self::Group(request) => match request.wants.actor {
                Some(user_id) => Payer::User(user_id),
                None => Payer::Service(LockKey::Group(request.wants.group_id)),
            },
            Self::Device(request) => match request.wants.saver {
                Saver::Stranger(address) => Payer::Stranger(address),
                Saver::User(user_id) => Payer::User(user_id),
                Saver::Service => Payer::Service(LockKey::Device(request.wants.device.id)),
            },
        }
    }

    /// Gives its messages their ids, and the time; what only moves something gets an id of its own. Those that have one keep it.
    pub(super) fn number(&mut self, ids: &MessageIds) {
        let number = |message: &mut Message| {
            if message.id == 0 {
                (message.id, message.created_at_ms) = ids.next_with_time();
            }
        };
        match self {
            Self::Post(request) => number(&mut request.wants.message),
            Self::Group(request) => request.wants.messages.iter_mut().for_each(number),
            Self::Recall(Request { id, .. }) | Self::Read(Request { id, .. }) if *id == 0 => *id = ids.next_id(),
            Self::Recall(_) | Self::Read(_) | Self::Ack(_) | Self::GroupAcks(_) | Self::Device(_) => {}
        }
    }

    /// Takes the ids back that [`Work::number`] gave, where nothing of it was stored.
    pub(super) fn unnumber(&mut self) {
        match self {
            // It goes on with what is stored.
            Self::Post(request) if request.wants.is_stored => {}
            Self::Post(request) => request.wants.message.id = 0,
            Self::Group(request) => request.wants.messages.iter_mut().for_each(|message| message.id = 0),
            Self::Recall(Request { id, .. }) | Self::Read(Request { id, .. }) => *id = 0,
            Self::Ack(_) | Self::GroupAcks(_) | Self::Device(_) => {}
        }
    }

    /// The group that gets a message by it.
    pub(super) fn group_sent_to(&self) -> Option<u64> {
        match self {
            Self::Group(request) if matches!(request.wants.action, GroupAction::Send) => Some(request.wants.group_id),
            _ => None,
        }
    }

    /// Inbox rows that it may write.
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Post(request) => request.wants.rows(),
            Self::Recall(request) => request.wants.rows(),
            Self::Group(request) => request.wants.rows(),
            Self::Ack(_) | Self::Read(_) | Self::Device(_) => 1,
            // The place of the user, and that of the device.
            Self::GroupAcks(request) => 2 * request.wants.len(),
        }
    }

    /// Memory that it holds while it waits.
    pub(super) fn bytes(&self) -> usize {
        let more = match self {
            Self::Post(request) => request.wants.bytes(),
            Self::Recall(request) => request.wants.bytes(),
            Self::Group(request) => request.wants.bytes(),
            Self::Ack(_) | Self::Read(_) => 0,
            Self::GroupAcks(request) => request.wants.len() * size_of::<GroupAck>(),
            Self::Device(request) => request.wants.bytes(),
        };
        size_of::<Self>() + more
    }

    /// The group whose row it needs to see: it has to be there, or (of one that is made) must not be.
    pub(super) fn stored_group_id(&self) -> Option<u64> {
        match self {
            Self::Group(request) => Some(request.wants.group_id),
            Self::Recall(request) => request.wants.timeline_alone(),
            Self::Post(_) | Self::Ack(_) | Self::GroupAcks(_) | Self::Read(_) | Self::Device(_) => None,
        }
    }

    /// The key of a send.
    pub(super) fn key(&self) -> Option<Key<'_>> {
        match self {
            Self::Post(request) => request.wants.key(),
            Self::Group(request) => request.wants.key(),
            Self::Ack(_) | Self::Recall(_) | Self::GroupAcks(_) | Self::Read(_) | Self::Device(_) => None,
        }
    }

    /// Where in a trace it is, for what travels.
    pub(super) fn trace(&self) -> TraceContext {
        match self {
            Self::Post(request) => request.wants.request_id.trace,
            Self::Recall(request) => request.wants.request_id.trace,
            Self::Group(request) => request.wants.request_id.trace,
            Self::Ack(_) | Self::GroupAcks(_) | Self::Read(_) | Self::Device(_) => TraceContext::default(),
        }
    }

    /// The user whose byte budget it needs: who sends, changes a group, or describes a device. Leaving a group, and what is hardly
    /// stored, needs none.
    pub(super) fn budgeted_user(&self) -> Option<u64> {
        match self {
            Self::Post(request) => {
                request.wants.key().map(|(sender_id, _)| sender_id).filter(|&sender_id| sender_id != 0)
            }
            Self::Group(request) if matches!(request.wants.action, GroupAction::RemoveMembers(_)) => None,
            Self::Group(request) => request.wants.actor,
            Self::Device(_) => self.paid_texts().map(|(user_id, _)| user_id),
            Self::Ack(_) | Self::Recall(_) | Self::GroupAcks(_) | Self::Read(_) => None,
        }
    }

    /// Of what a user says of a device: the user, and the bytes of it.
    pub(super) fn paid_texts(&self) -> Option<(u64, usize)> {
        let Self::Device(request) = self else { return None };
        let DeviceSave { device, change, saver: Saver::User(user_id), .. } = &*request.wants else { return None };
        let told_always = [&device.system_version, &device.sdk_version, &device.branch_push_id];
        let told_once = [&device.brand, &device.model];
        let bytes = |texts: &[&String]| texts.iter().map(|text| text.len()).sum::<usize>();
        match change {
            DeviceChange::All => Some((*user_id, bytes(&told_always) + bytes(&told_once))),
            DeviceChange::PushIdAndVersions => Some((*user_id, bytes(&told_always))),
            DeviceChange::Owner => None,
        }
    }

    /// Of a user's change of a group: the ids of the notices, which have no sender, each with that user.
    pub(super) fn paid_notices(&self) -> impl Iterator<Item = (u64, u64)> {
        let change = match self {
            Self::Group(request) if !matches!(request.wants.action, GroupAction::Send) => {
                request.wants.actor.map(|actor| (actor, &request.wants.messages))
            }
            _ => None,
        };
        change.into_iter().flat_map(|(actor, messages)| messages.iter().map(move |message| (message.id, actor)))
    }

    /// Tells whoever waits what became of it; gives it back where there is no outcome: it did not fit.
    pub(super) fn answer(self, outcomes: &mut Outcomes) -> Option<Self> {
        match self {
            Self::Post(request) => request.answer(outcomes.posts.pop_front()).map(Self::Post),
            Self::Ack(request) => request.answer(outcomes.acks.pop_front()).map(Self::Ack),
            Self::Recall(request) => request.answer(outcomes.recalls.pop_front()).map(Self::Recall),
            Self::Group(request) => request.answer(outcomes.groups.pop_front()).map(Self::Group),
            Self::GroupAcks(request) => request.answer(outcomes.group_acks.pop_front()).map(Self::GroupAcks),
            Self::Read(request) => request.answer(outcomes.reads.pop_front()).map(Self::Read),
            Self::Device(request) => request.answer(outcomes.devices.pop_front()).map(Self::Device),
        }
    }

    /// Tells whoever waits that nothing was done.
    pub(super) fn refuse(self, error: StoreError) {
        tracing::debug!(%error, "not committed");
        match self {
            Self::Post(request) => request.tell(Err(error)),
            Self::Ack(request) => request.tell(Err(error)),
            Self::Recall(request) => request.tell(Err(error)),
            Self::Group(request) => request.tell(Err(error)),
            Self::GroupAcks(request) => request.tell(Err(error)),
            Self::Read(request) => request.tell(Err(error)),
            Self::Device(request) => request.tell(Err(error)),
        }
    }
}

impl<W, T: Debug> Request<W, T> {
    fn answer(self, outcome: Option<T>) -> Option<Self> {
        let Some(outcome) = outcome else { return Some(self) };
        tracing::debug!(?outcome, "committed");
        self.tell(Ok(outcome));
        None
    }

    fn tell(self, result: Result<T, StoreError>) {
        if self.reply.send(result).is_err() {
            tracing::debug!("the caller left before the commit");
        }
    }
}

/// A sender, and what makes a send of theirs a repeated one.
pub(super) type Key<'a> = (u64, &'a str);

impl Post {
    fn rows(&self) -> usize {
        self.user_ids.len().max(1)
    }

    fn bytes(&self) -> usize {
        self.message.content.len() + (self.user_ids.len() + self.all_user_ids.len()) * size_of::<u64>()
    }

    /// Whom the message is for.
    pub(super) fn receivers(&self) -> &[u64] {
        if self.all_user_ids.is_empty() { &self.user_ids } else { &self.all_user_ids }
    }

    /// The key of a send, among those of its sender, or of a push, among those of all services.
    pub(super) fn key(&self) -> Option<Key<'_>> {
        let sender_id = if self.is_of_service { 0 } else { self.message.sender_id };
        self.client_msg_id.as_deref().map(|client_msg_id| (sender_id, client_msg_id))
    }

    /// Whether somebody may ask for whom it was: a recall has to reach them. A service recalls nothing, but may repeat a push under its key.
    pub(super) fn is_asked_for(&self) -> bool {
        self.message.sender_id != 0 || self.client_msg_id.is_some()
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

impl DeviceSave {
    fn bytes(&self) -> usize {
        let Device { brand, model, system_version, sdk_version, branch_push_id, .. } = &self.device;
        let texts = [brand, model, system_version, sdk_version, branch_push_id];
        size_of::<Self>() + texts.into_iter().map(String::len).sum::<usize>()
    }
}

impl GroupWork {
    /// Rows, as far as can be told without looking.
    fn rows(&self) -> usize {
        self.members_named() + ROWS_GUESSED
    }

    /// Members who come or go by it.
    pub(super) fn members_named(&self) -> usize {
        match &self.action {
            GroupAction::Create { members, .. } | GroupAction::AddMembers(members) => members.len(),
            GroupAction::RemoveMembers(user_ids) => user_ids.len(),
            GroupAction::Send | GroupAction::Update { .. } | GroupAction::UpdateMember { .. } => 0,
        }
    }

    fn bytes(&self) -> usize {
        let members = match &self.action {
            GroupAction::Create { members, .. } | GroupAction::AddMembers(members) => {
                members.len() * size_of::<Member>()
            }
            GroupAction::RemoveMembers(user_ids) => user_ids.len() * size_of::<u64>(),
            _ => 0,
        };
        let contents: usize = self.messages.iter().map(|message| size_of::<Message>() + message.content.len()).sum();
        size_of::<Self>() + members + contents
    }

    fn key(&self) -> Option<Key<'_>> {
        Some((self.messages.first()?.sender_id, self.client_msg_id.as_deref()?))
    }
}

/// What a message to a group is taken for while a batch is put together: most groups are small.
const ROWS_GUESSED: usize = 64;
