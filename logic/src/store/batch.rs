//! One transaction of the inbox writer: many sends, pushes and acks numbered and stored together.
//!
//! Always holds: within a transaction the seqs of a user are gap-free and follow the order of the requests; a key that was
//! sent before, in the table or earlier in the batch, stores nothing. Runs on the writer's task.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use sqlx::{AnyConnection, Row as _};

use super::{
    dialect::Sql,
    from_sql,
    group_work::{GroupPost, GroupWork, HeldGroups},
    recall,
    script::Script,
    statement::MultiRow,
};
use crate::domain::{
    group_change::{GroupAction, GroupRefusal},
    message::{Delivery, GroupDelivery, Message, Receiver, Sent},
};

const INSERT_MESSAGES: MultiRow = MultiRow {
    head: "INSERT INTO message (id, command, content, sender_id, created_at_ms, status, group_id, receivers) VALUES ",
    row: "(?,?,?,?,?,?,?,?)",
    tail: "",
};
const INSERT_USER_MESSAGES: MultiRow =
    MultiRow { head: "INSERT INTO user_message (user_id, seq, message_id) VALUES ", row: "(?,?,?)", tail: "" };
const INSERT_DIRECT_MESSAGES: MultiRow = MultiRow {
    head: "INSERT INTO direct_message (user_id, peer_id, seq, message_id) VALUES ",
    row: "(?,?,?,?)",
    tail: "",
};
const INSERT_GROUP_MESSAGES: MultiRow = MultiRow {
    head: "INSERT INTO group_message (group_id, seq, message_id, is_recall) VALUES ",
    row: "(?,?,?,?)",
    tail: "",
};
const INSERT_SENT: MultiRow = MultiRow {
    head: "INSERT INTO sent (sender_id, client_msg_id, message_id, seq, created_at_ms) VALUES ",
    row: "(?,?,?,?,?)",
    tail: "",
};
const NEWEST_SEQS: MultiRow =
    MultiRow { head: "SELECT user_id, seq FROM inbox WHERE user_id IN (", row: "?", tail: ")" };

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

/// What a transaction did, once it is committed.
#[derive(Debug)]
pub(super) struct Written {
    /// In the order of the requests; shorter where the last ones did not fit.
    pub outcomes: Vec<Outcome>,
    /// What may leave for the devices, in order.
    pub deliveries: Vec<Delivery>,
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

    fn key(&self) -> Option<Key<'_>> {
        let (message, client_msg_id) = match self {
            Self::Post(post) => (&post.message, post.client_msg_id.as_deref()?),
            Self::Group(work) => (work.messages.first()?, work.client_msg_id.as_deref()?),
            _ => return None,
        };
        Some((message.sender_id, client_msg_id))
    }
}

/// A transaction in which everything is decided and numbered: it holds the groups and the counters of the users concerned.
pub(super) struct Numbered<'a> {
    works: &'a [&'a Work],
    decisions: Vec<Decision>,
    groups: HeldGroups,
    posts: Vec<NumberedPost<'a>>,
}

/// Decides about `works` and numbers their messages, inside the transaction that `connection` is in: about as many, from the
/// first on, as write at most `rows_max` rows into inboxes, but at least one.
pub(super) async fn number<'a>(
    connection: &mut AnyConnection,
    sql: &Sql,
    works: &'a [&'a Work],
    rows_max: usize,
) -> Result<Numbered<'a>, sqlx::Error> {
    let mut groups = HeldGroups::hold(connection, sql, group_ids(works)).await?;
    let works = &works[..groups.fitting(works, rows_max)];
    groups.read_members(connection, sql, works).await?;
    let recalls = recall::mark(connection, works).await?;
    let known = find_sent(connection, sql, works).await?;
    let Plan { decisions, mut fresh, .. } = Plan::new(connection, &mut groups, works, &known).await?;
    fresh.extend(recalls.into_iter().map(|post| Fresh { post: Cow::Borrowed(post), group: groups.recall(post) }));
    let posts = bump(connection, sql, fresh).await?;
    Ok(Numbered { works, decisions, groups, posts })
}

impl Numbered<'_> {
    /// Stores all of it.
    pub(super) async fn store(self, connection: &mut AnyConnection, sql: &Sql) -> Result<Written, sqlx::Error> {
        let Self { works, decisions, groups, posts } = self;
        let newest_seqs = newest_seqs(connection, sql, works).await?;
        groups.store_changed(connection).await?;
        let mut script = Script::new(sql.sends_text);
        add_messages(&mut script, &posts);
        add_inbox_rows(&mut script, &posts);
        add_places_and_keys(&mut script, &posts);
        groups.add_seqs(&mut script);
        add_acks(&mut script, sql, works, &newest_seqs);
        add_group_acks(&mut script, sql, works);
        script.run(connection).await?;

        let outcomes = works.iter().zip(&decisions).map(|(work, decision)| match (work, decision) {
            (Work::Ack(ack), _) => ack_outcome(ack, &newest_seqs),
            (Work::Recall(_), _) => Outcome::Recalled,
            (_, Decision::Known(sent)) => Outcome::Posted(*sent),
            (_, Decision::Fresh(index)) => Outcome::Posted(posts[*index].sent(false)),
            (_, Decision::Repeated(index)) => Outcome::Posted(posts[*index].sent(true)),
            (_, Decision::Refused(refusal)) => Outcome::Refused(*refusal),
            (_, Decision::None) => Outcome::Acked,
        });
        let outcomes = outcomes.collect();
        Ok(Written { outcomes, deliveries: posts.into_iter().map(NumberedPost::into_delivery).collect() })
    }
}

/// What to do about each request.
#[derive(Debug, Clone, Copy)]
enum Decision {
    /// Not a post.
    None,
    /// An earlier transaction stored it.
    Known(Sent),
    /// Stored now, as the n-th fresh post.
    Fresh(usize),
    /// The n-th fresh post has the same key.
    Repeated(usize),
    /// The group is left as it is.
    Refused(GroupRefusal),
}

/// A post that is stored now.
struct Fresh<'a> {
    post: Cow<'a, Post>,
    group: Option<GroupDelivery>,
}

#[derive(Default)]
struct Plan<'a> {
    decisions: Vec<Decision>,
    fresh: Vec<Fresh<'a>>,
    keys: HashMap<Key<'a>, usize>,
}

type Key<'a> = (u64, &'a str);

impl<'a> Plan<'a> {
    /// Decides about the works in their order: what one does to a group, the next one sees.
    async fn new(
        connection: &mut AnyConnection,
        groups: &mut HeldGroups,
        works: &[&'a Work],
        known: &HashMap<(u64, String), Sent>,
    ) -> Result<Self, sqlx::Error> {
        let known: HashMap<Key<'_>, Sent> = known.iter().map(|(key, sent)| ((key.0, key.1.as_str()), *sent)).collect();
        let mut plan = Self::default();
        for work in works {
            let decision = match plan.earlier(work, &known) {
                Some(decision) => decision,
                None => plan.decide(connection, groups, work).await?,
            };
            plan.decisions.push(decision);
        }
        Ok(plan)
    }

    fn earlier(&self, work: &Work, known: &HashMap<Key<'_>, Sent>) -> Option<Decision> {
        let key = work.key()?;
        let known = known.get(&key).map(|&sent| Decision::Known(sent));
        known.or_else(|| self.keys.get(&key).map(|&index| Decision::Repeated(index)))
    }

    async fn decide(
        &mut self,
        connection: &mut AnyConnection,
        groups: &mut HeldGroups,
        work: &'a Work,
    ) -> Result<Decision, sqlx::Error> {
        let first = self.fresh.len();
        match work {
            Work::Ack(_) | Work::GroupAcks(_) | Work::Recall(_) => return Ok(Decision::None),
            Work::Post(post) => self.fresh.push(Fresh { post: Cow::Borrowed(post), group: None }),
            Work::Group(group_work) => match groups.apply(connection, group_work).await? {
                Err(refusal) => return Ok(Decision::Refused(refusal)),
                Ok(posts) => self.fresh.extend(posts.into_iter().map(Fresh::from)),
            },
        }
        self.keys.extend(work.key().map(|key| (key, first)));
        Ok(Decision::Fresh(first))
    }
}

impl From<GroupPost> for Fresh<'_> {
    fn from(group_post: GroupPost) -> Self {
        Self { post: Cow::Owned(group_post.post), group: Some(group_post.delivery) }
    }
}

impl Post {
    fn key(&self) -> Option<Key<'_>> {
        self.client_msg_id.as_deref().map(|client_msg_id| (self.message.sender_id, client_msg_id))
    }

    /// The large group of a message that is in no inbox.
    pub(super) fn timeline_alone(&self) -> Option<u64> {
        (self.user_ids.is_empty() && self.message.group_id != 0).then_some(self.message.group_id)
    }

    /// Under whose name a receiver finds the message again.
    fn peer_of(&self, user_id: u64) -> Option<u64> {
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

/// A post whose receivers have their seqs.
struct NumberedPost<'a> {
    post: Cow<'a, Post>,
    group: Option<GroupDelivery>,
    receivers: Vec<Receiver>,
}

impl NumberedPost<'_> {
    fn sent(&self, is_duplicate: bool) -> Sent {
        let message = &self.post.message;
        let seq = match &self.group {
            Some(group) if group.is_live => group.seq,
            _ => self.receivers.first().map_or(0, |receiver| receiver.seq),
        };
        Sent { message_id: message.id, seq, created_at_ms: message.created_at_ms, is_duplicate }
    }

    fn into_delivery(self) -> Delivery {
        let Post { message, origin_device_id, request_id, .. } = self.post.into_owned();
        Delivery { message, receivers: self.receivers, origin_device_id, request_id, group: self.group }
    }
}

async fn find_sent(
    connection: &mut AnyConnection,
    sql: &Sql,
    works: &[&Work],
) -> Result<HashMap<(u64, String), Sent>, sqlx::Error> {
    let keys: Vec<Key<'_>> = works.iter().filter_map(|work| work.key()).collect();
    let mut script = Script::new(sql.sends_text);
    script.add(sql.find_sent, &keys, |row, key| row.id(key.0).text(key.1));
    let rows = script.fetch(connection).await?;
    let read = |row: &sqlx::any::AnyRow| {
        let sent = Sent {
            message_id: from_sql(row.try_get(2)?),
            seq: from_sql(row.try_get(3)?),
            created_at_ms: row.try_get(4)?,
            is_duplicate: true,
        };
        Ok(((from_sql(row.try_get(0)?), row.try_get(1)?), sent))
    };
    rows.iter().map(read).collect()
}

/// Counters are bumped in ascending order of users: two transactions that meet wait for each other, and never in a circle.
async fn bump<'a>(
    connection: &mut AnyConnection,
    sql: &Sql,
    posts: Vec<Fresh<'a>>,
) -> Result<Vec<NumberedPost<'a>>, sqlx::Error> {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for user_id in posts.iter().flat_map(|fresh| &fresh.post.user_ids) {
        *counts.entry(*user_id).or_default() += 1;
    }
    let counts: Vec<(u64, u64)> = counts.into_iter().collect();
    let mut script = Script::new(sql.sends_text);
    script.add(sql.bump_inboxes, &counts, |row, &(user_id, count)| row.id(user_id).id(count));
    if !sql.bump_returns {
        script.add(NEWEST_SEQS, &counts, |row, &(user_id, _)| row.id(user_id));
    }
    let rows = script.fetch(connection).await?;
    let mut newest_seqs = HashMap::with_capacity(counts.len());
    for row in rows {
        newest_seqs.insert(from_sql(row.try_get(0)?), from_sql(row.try_get(1)?));
    }
    // From the seq after the bump back to the last one before it.
    for (user_id, count) in &counts {
        *newest_seqs.get_mut(user_id).ok_or(sqlx::Error::RowNotFound)? -= count;
    }
    let mut next = |&user_id: &u64| {
        let seq = newest_seqs.entry(user_id).or_default();
        *seq += 1;
        Receiver { user_id, seq: *seq }
    };
    let number = |Fresh { post, group }: Fresh<'a>| {
        let receivers = post.user_ids.iter().map(&mut next).collect();
        NumberedPost { post, group, receivers }
    };
    Ok(posts.into_iter().map(number).collect())
}

fn add_messages(script: &mut Script, posts: &[NumberedPost<'_>]) {
    // What is recalled is stored already.
    let messages: Vec<&Post> =
        posts.iter().map(|numbered| &*numbered.post).filter(|post| !post.message.is_recalled()).collect();
    script.add(INSERT_MESSAGES, &messages, |row, post| {
        let message = &post.message;
        // Who a recall has to reach; a service recalls nothing.
        let receivers = (message.sender_id != 0).then(|| recall::encode_receivers(&post.user_ids));
        row.id(message.id)
            .number(message.command.into())
            .bytes(&message.content)
            .id(message.sender_id)
            .number(message.created_at_ms)
            .number(message.status.into())
            .id(message.group_id)
            .bytes_if_any(receivers.as_deref())
    });
}

/// In the order of the primary keys, which a b-tree likes.
fn add_inbox_rows(script: &mut Script, posts: &[NumberedPost<'_>]) {
    let mut rows: Vec<(Receiver, u64)> = posts
        .iter()
        .flat_map(|numbered| numbered.receivers.iter().map(|&receiver| (receiver, numbered.post.message.id)))
        .collect();
    rows.sort_unstable_by_key(|(receiver, _)| (receiver.user_id, receiver.seq));
    script.add(INSERT_USER_MESSAGES, &rows, |row, (receiver, message_id)| {
        row.id(receiver.user_id).id(receiver.seq).id(*message_id)
    });

    let mut direct: Vec<(Receiver, u64, u64)> = Vec::new();
    for NumberedPost { post, receivers, .. } in posts {
        let found_under = |receiver: &Receiver| Some((*receiver, post.peer_of(receiver.user_id)?, post.message.id));
        direct.extend(receivers.iter().filter_map(found_under));
    }
    direct.sort_unstable_by_key(|(receiver, peer_id, _)| (receiver.user_id, *peer_id, receiver.seq));
    script.add(INSERT_DIRECT_MESSAGES, &direct, |row, (receiver, peer_id, message_id)| {
        row.id(receiver.user_id).id(*peer_id).id(receiver.seq).id(*message_id)
    });
}

/// The places of messages in the timelines of groups, and the keys of sends.
fn add_places_and_keys(script: &mut Script, posts: &[NumberedPost<'_>]) {
    let places: Vec<(&GroupDelivery, &Message)> =
        posts.iter().filter_map(|numbered| Some((numbered.group.as_ref()?, &numbered.post.message))).collect();
    script.add(INSERT_GROUP_MESSAGES, &places, |row, (group, message)| {
        row.id(group.group_id).id(group.seq).id(message.id).number(message.is_recalled().into())
    });

    let mut keyed: Vec<(Key<'_>, Sent)> =
        posts.iter().filter_map(|numbered| Some((numbered.post.key()?, numbered.sent(false)))).collect();
    keyed.sort_unstable_by_key(|(key, _)| *key);
    script.add(INSERT_SENT, &keyed, |row, ((sender_id, client_msg_id), sent)| {
        row.id(*sender_id).text(client_msg_id).id(sent.message_id).id(sent.seq).number(sent.created_at_ms)
    });
}

/// Of the users who acked something.
async fn newest_seqs(
    connection: &mut AnyConnection,
    sql: &Sql,
    works: &[&Work],
) -> Result<HashMap<u64, u64>, sqlx::Error> {
    let user_id = |work: &&Work| match work {
        Work::Ack(ack) => Some(ack.user_id),
        _ => None,
    };
    let mut user_ids: Vec<u64> = works.iter().filter_map(user_id).collect();
    user_ids.sort_unstable();
    user_ids.dedup();
    let mut script = Script::new(sql.sends_text);
    script.add(NEWEST_SEQS, &user_ids, |row, user_id| row.id(*user_id));
    let rows = script.fetch(connection).await?;
    rows.iter().map(|row| Ok((from_sql(row.try_get(0)?), from_sql(row.try_get(1)?)))).collect()
}

/// Notes the acks that are not beyond their inbox.
fn add_acks(script: &mut Script, sql: &Sql, works: &[&Work], newest_seqs: &HashMap<u64, u64>) {
    let mut acks: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for work in works {
        if let Work::Ack(ack) = work
            && ack_outcome(ack, newest_seqs) == Outcome::Acked
        {
            let seq = acks.entry((ack.user_id, ack.device_id)).or_default();
            *seq = ack.seq.max(*seq);
        }
    }
    let rows: Vec<_> = acks.into_iter().collect();
    script.add(sql.raise_acks, &rows, |row, ((user_id, device_id), seq)| row.id(*user_id).id(*device_id).id(*seq));
}

fn add_group_acks(script: &mut Script, sql: &Sql, works: &[&Work]) {
    let mut cursors: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for work in works {
        let Work::GroupAcks(acks) = work else { continue };
        for ack in acks {
            let seq = cursors.entry((ack.user_id, ack.group_id)).or_default();
            *seq = ack.seq.max(*seq);
        }
    }
    let rows: Vec<_> = cursors.into_iter().collect();
    script
        .add(sql.raise_group_cursors, &rows, |row, ((user_id, group_id), seq)| row.id(*user_id).id(*group_id).id(*seq));
}

fn ack_outcome(ack: &Ack, newest_seqs: &HashMap<u64, u64>) -> Outcome {
    match newest_seqs.get(&ack.user_id).copied().unwrap_or(0) {
        newest_seq if ack.seq > newest_seq => Outcome::AckBeyond { newest_seq },
        _ => Outcome::Acked,
    }
}
