//! One transaction of the inbox writer: many sends, pushes and acks decided, numbered and stored together.
//!
//! Always holds: within a transaction the seqs of a user are gap-free and follow the order of the requests; a key that was
//! sent before, in an earlier transaction or earlier in the batch, stores nothing: it is looked up, or the transaction fails at it. Runs
//! on the writer's task.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use foldhash::{HashMap, HashMapExt as _};
use sqlx::{AnyConnection, Row as _};

use super::{
    acks::{ack_outcome, add_acks, add_group_acks, add_reads, newest_seqs},
    columns::{encode_receivers, from_sql, to_sql},
    device_saves,
    dialect::Sql,
    held_group::{ApplyError, GroupPost},
    held_groups::{BatchLimits, HeldGroups},
    id_floor::Permit,
    inbox::{NEWEST_SEQS, NOBODY},
    opening::{self, Opening},
    recall::{self, Recalled},
    repeats::{self, KnownSend},
    script::Script,
    send_key::SendKey,
    statement::MultiRow,
    work::{Key, Outcomes, Post, Work},
};
use crate::domain::{
    group::GroupRefusal,
    message::{Delivery, GroupDelivery, Message, Receiver, Sent},
};

const INSERT_MESSAGES: MultiRow = MultiRow {
    head: "INSERT INTO message (id, command, content, sender_id, created_at_ms, status, group_id, receivers, send_key, \
           sender_seq, receivers_version) VALUES ",
    row: "(?,?,?,?,?,?,?,?,?,?,?)",
    tail: "",
};
const INSERT_OTHER_ROWS: MultiRow =
    MultiRow { head: "INSERT INTO other_inbox (user_id, seq, message_id) VALUES ", row: "(?,?,?)", tail: "" };
const INSERT_DIRECT_ROWS: MultiRow = MultiRow {
    head: "INSERT INTO direct_inbox (user_id, seq, peer_id, message_id) VALUES ",
    row: "(?,?,?,?)",
    tail: "",
};
const INSERT_GROUP_MESSAGES: MultiRow = MultiRow {
    head: "INSERT INTO group_message (group_id, seq, message_id, is_recall) VALUES ",
    row: "(?,?,?,?)",
    tail: "",
};
/// What a transaction did, once it is committed.
#[derive(Debug)]
pub(super) struct Written {
    /// What became of the requests; the last ones may not have fitted.
    pub outcomes: Outcomes,
    /// What may leave for the devices, in order.
    pub deliveries: Vec<Delivery>,
    /// Whether some of the sends were stored before.
    pub has_repeats: bool,
}

/// Which keys of sends are looked up before anything is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyLookup {
    /// Those of groups alone, because what becomes of such a send depends on the group as it is by now. Where another key was
    /// sent before, storing it again fails, and with it the transaction.
    Groups,
    /// All.
    All,
}

/// A transaction in which everything is decided and numbered: it holds the groups and the counters of the users concerned.
pub(super) struct PreparedTransaction<'a> {
    works: &'a [&'a Work],
    fates: Fates,
    groups: HeldGroups,
    posts: Vec<NumberedPost<'a>>,
    recalled: Vec<Recalled<'a>>,
    device_count: usize,
    has_repeats: bool,
}

/// Decides about `works` and numbers their messages, inside the transaction that `connection` is in, or that begins with this: about
/// as many, from the first on, as `limits` allow, but at least one.
pub(super) async fn prepare<'a>(
    connection: &mut AnyConnection,
    sql: &Sql,
    works: &'a [&'a Work],
    (limits, lookup): (BatchLimits, KeyLookup),
    opening: &mut Opening,
) -> Result<PreparedTransaction<'a>, sqlx::Error> {
    let group_ids: Vec<Option<u64>> = works.iter().map(|work| work.stored_group_id()).collect();
    let mut held_ids: BTreeSet<u64> = group_ids.iter().copied().flatten().collect();
    let mut groups = HeldGroups::hold(connection, sql, &held_ids, opening).await?;
    let count = groups.fitting(works, limits);
    if count < works.len() {
        held_ids = group_ids[..count].iter().copied().flatten().collect();
    }
    let works = &works[..count];
    groups.read_members(connection, sql, &held_ids).await?;
    let begins_with_counters = |work: &&Work| match work {
        Work::Post(_) => lookup == KeyLookup::Groups,
        Work::Ack(_) | Work::GroupAcks(_) | Work::Read(_) => true,
        Work::Group(_) | Work::Recall(_) | Work::Device(_) => false,
    };
    if !works.iter().all(begins_with_counters) {
        opening.send(connection).await?;
    }
    let recalled = recall::mark(connection, works).await?;
    let device_count = device_saves::save(connection, sql, works).await?;
    let known = find_sent(connection, sql, works, lookup).await?;
    let Plan { fates, mut fresh, .. } = Plan::new(connection, &mut groups, works, &known).await?;
    let recall = |&Recalled { post, .. }: &Recalled<'a>| Fresh { group: groups.recall(post), ..Fresh::of(post) };
    fresh.extend(recalled.iter().map(recall));
    let posts = bump(connection, sql, fresh, opening).await?;
    Ok(PreparedTransaction { works, fates, groups, posts, recalled, device_count, has_repeats: !known.is_empty() })
}

impl PreparedTransaction<'_> {
    /// Stores all of it; where that is sent as texts, it is committed with it, within the fence of the permit.
    pub(super) async fn store(
        self,
        connection: &mut AnyConnection,
        sql: &Sql,
        (keeps_receivers, permit): (bool, Permit),
    ) -> Result<Written, sqlx::Error> {
        let Self { works, fates, groups, posts, recalled, device_count, has_repeats } = self;
        let newest_seqs = newest_seqs(connection, sql, works).await?;
        groups.store_changed(connection).await?;
        let mut script = Script::new(sql.sends_text);
        add_messages(&mut script, &posts, keeps_receivers);
        add_inbox_rows(&mut script, &posts);
        add_places(&mut script, &posts);
        groups.add_lists(&mut script);
        groups.add_seqs(&mut script);
        add_acks(&mut script, sql, works, &newest_seqs);
        add_group_acks(&mut script, sql, works);
        add_reads(&mut script, sql, works);
        recall::add_moments(&mut script, &recalled);
        if sql.sends_text {
            opening::commit_with(&mut script, permit.fence);
        }
        script.run(connection).await?;

        let devices = std::iter::repeat_n((), device_count).collect();
        let outcomes = Outcomes { devices, ..fates.outcomes(works, &posts, &newest_seqs) };
        let deliveries = posts.into_iter().map(NumberedPost::into_delivery).collect();
        Ok(Written { outcomes, deliveries, has_repeats })
    }
}

/// Where the message of a send is.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// An earlier transaction stored it.
    Known(Sent),
    /// Stored now, as the n-th fresh post.
    Fresh(usize),
    /// Nothing is: everything was as it was asked for.
    Untold,
    /// The n-th fresh post has the same key, and this differs.
    Repeated(usize, Option<&'static str>),
}

/// What becomes of sends, of each kind in the order of the works.
#[derive(Debug, Default)]
struct Fates {
    posts: Vec<Fate>,
    groups: Vec<Result<Fate, GroupRefusal>>,
}

impl Fate {
    fn sent(self, posts: &[NumberedPost<'_>]) -> Sent {
        match self {
            Self::Known(sent) => sent,
            Self::Untold => Sent::default(),
            Self::Fresh(index) => posts[index].sent(false),
            Self::Repeated(index, differs_in) => Sent { differs_in, ..posts[index].sent(true) },
        }
    }
}

impl Fates {
    fn outcomes(self, works: &[&Work], posts: &[NumberedPost<'_>], newest_seqs: &NewestSeqs) -> Outcomes {
        let mut outcomes = Outcomes {
            posts: self.posts.into_iter().map(|fate| fate.sent(posts)).collect(),
            groups: self.groups.into_iter().map(|fate| Ok(fate?.sent(posts))).collect(),
            ..Outcomes::default()
        };
        for work in works {
            match work {
                Work::Post(_) | Work::Group(_) | Work::Device(_) => {}
                Work::Ack(request) => outcomes.acks.push_back(ack_outcome(&request.wants, newest_seqs)),
                Work::Recall(_) => outcomes.recalls.push_back(()),
                Work::GroupAcks(_) => outcomes.group_acks.push_back(()),
                Work::Read(_) => outcomes.reads.push_back(()),
            }
        }
        outcomes
    }
}

/// A post that is stored now.
struct Fresh<'a> {
    post: Cow<'a, Post>,
    group: Option<GroupDelivery>,
    /// As in [`GroupPost`].
    receivers_version: Option<u64>,
}

#[derive(Default)]
struct Plan<'a> {
    fates: Fates,
    fresh: Vec<Fresh<'a>>,
    keys: HashMap<Key<'a>, usize>,
}

/// The newest seqs of users who acked something.
type NewestSeqs = std::collections::HashMap<u64, u64>;

/// Sends of earlier transactions.
type KnownSends = HashMap<SendKey, KnownSend>;

impl<'a> Plan<'a> {
    /// Decides about the works in their order: what one does to a group, the next one sees.
    async fn new(
        connection: &mut AnyConnection,
        groups: &mut HeldGroups,
        works: &[&'a Work],
        known: &KnownSends,
    ) -> Result<Self, sqlx::Error> {
        let mut plan = Self::default();
        for &work in works {
            let earlier = plan.earlier(work, known);
            match work {
                Work::Ack(_) | Work::GroupAcks(_) | Work::Read(_) | Work::Recall(_) | Work::Device(_) => {}
                Work::Post(request) => {
                    let fate = earlier.unwrap_or_else(|| plan.add(work.key(), [Fresh::of(&request.wants)]));
                    plan.fates.posts.push(fate);
                }
                Work::Group(request) => {
                    let fate = match earlier {
                        Some(fate) => Ok(fate),
                        None => match groups.apply(connection, &request.wants).await {
                            Ok(posts) if posts.is_empty() => Ok(Fate::Untold),
                            Ok(posts) => Ok(plan.add(work.key(), posts.into_iter().map(Fresh::from))),
                            Err(ApplyError::Refused(refusal)) => Err(refusal),
                            Err(ApplyError::Failed(error)) => return Err(error),
                        },
                    };
                    plan.fates.groups.push(fate);
                }
            }
        }
        Ok(plan)
    }

    fn earlier(&self, work: &Work, known: &KnownSends) -> Option<Fate> {
        let key = work.key()?;
        if !known.is_empty()
            && let Some(known) = known.get(&SendKey::of(key))
        {
            return Some(Fate::Known(known.answer(work)));
        }
        let index = *self.keys.get(&key)?;
        Some(Fate::Repeated(index, repeats::differs_from(work, &self.fresh[index].post)))
    }

    /// Adds the posts of a send, of which the first one stands for it.
    fn add(&mut self, key: Option<Key<'a>>, posts: impl IntoIterator<Item = Fresh<'a>>) -> Fate {
        let first = self.fresh.len();
        self.fresh.extend(posts);
        self.keys.extend(key.map(|key| (key, first)));
        Fate::Fresh(first)
    }
}

impl<'a> Fresh<'a> {
    fn of(post: &'a Post) -> Self {
        Self { post: Cow::Borrowed(post), group: None, receivers_version: None }
    }
}

impl From<GroupPost> for Fresh<'_> {
    fn from(GroupPost { post, delivery, receivers_version }: GroupPost) -> Self {
        Self { post: Cow::Owned(post), group: Some(delivery), receivers_version }
    }
}

/// A post whose receivers have their seqs.
struct NumberedPost<'a> {
    post: Cow<'a, Post>,
    group: Option<GroupDelivery>,
    receivers_version: Option<u64>,
    receivers: Vec<Receiver>,
}

impl NumberedPost<'_> {
    fn sent(&self, is_duplicate: bool) -> Sent {
        let message = &self.post.message;
        let (seq, inbox_seq) = match &self.group {
            Some(group) if group.is_live => (group.seq, 0),
            _ => {
                let seq = self.receivers.first().map_or(0, |receiver| receiver.seq);
                (seq, seq)
            }
        };
        let (message_id, created_at_ms) = (message.id, message.created_at_ms);
        let inbox_seq = if is_duplicate { 0 } else { inbox_seq };
        Sent { message_id, seq, inbox_seq, created_at_ms, is_duplicate, differs_in: None }
    }

    fn into_delivery(self) -> Delivery {
        let Post { message, origin_device_id, request_id, .. } = self.post.into_owned();
        let (receivers, caused_by) = (self.receivers, message.sender_id);
        Delivery { message, receivers, caused_by, origin_device_id, request_id, group: self.group }
    }
}

async fn find_sent(
    connection: &mut AnyConnection,
    sql: &Sql,
    works: &[&Work],
    lookup: KeyLookup,
) -> Result<KnownSends, sqlx::Error> {
    let is_looked_up = |work: &&&Work| lookup == KeyLookup::All || matches!(work, Work::Group(_));
    let keys: Vec<Key<'_>> = works.iter().filter(is_looked_up).filter_map(|work| work.key()).collect();
    repeats::find(connection, sql, &keys).await
}

/// Counters are bumped in ascending order of users: two transactions that meet wait for each other, and never in a circle.
async fn bump<'a>(
    connection: &mut AnyConnection,
    sql: &Sql,
    posts: Vec<Fresh<'a>>,
    opening: &mut Opening,
) -> Result<Vec<NumberedPost<'a>>, sqlx::Error> {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for user_id in posts.iter().flat_map(|fresh| &fresh.post.user_ids) {
        *counts.entry(*user_id).or_default() += 1;
    }
    let counts: Vec<(u64, u64)> = counts.into_iter().collect();
    let mut script = Script::new(sql.sends_text);
    opening.put_into(&mut script);
    script.add(sql.bump_inboxes, &counts, |row, &(user_id, count)| row.id(user_id).id(count));
    if !sql.bump_returns {
        script.add(NEWEST_SEQS, &counts, |row, &(user_id, _)| row.id(user_id));
    }
    let rows = script.fetch(connection).await?;
    let mut newest_seqs = HashMap::with_capacity(counts.len());
    for row in rows {
        newest_seqs.insert(from_sql(row.try_get(0)?), from_sql(row.try_get(1)?));
    }
    begin_after_floor(connection, sql, &counts, &mut newest_seqs).await?;
    // From the seq after the bump back to the last one before it.
    for (user_id, count) in &counts {
        *newest_seqs.get_mut(user_id).ok_or(sqlx::Error::RowNotFound)? -= count;
    }
    let mut next = |&user_id: &u64| {
        let seq = newest_seqs.entry(user_id).or_default();
        *seq += 1;
        Receiver { user_id, seq: *seq }
    };
    let number = |Fresh { post, group, receivers_version }: Fresh<'a>| {
        let receivers = post.user_ids.iter().map(&mut next).collect();
        NumberedPost { post, group, receivers_version, receivers }
    };
    Ok(posts.into_iter().map(number).collect())
}

/// Inboxes that the bump made, which is why they count as much as was added, begin after the floor.
async fn begin_after_floor(
    connection: &mut AnyConnection,
    sql: &Sql,
    counts: &[(u64, u64)],
    newest_seqs: &mut HashMap<u64, u64>,
) -> Result<(), sqlx::Error> {
    let is_new = |(user_id, count): &&(u64, u64)| newest_seqs.get(user_id) == Some(count);
    let new: Vec<u64> = counts.iter().filter(is_new).map(|(user_id, _)| *user_id).collect();
    if new.is_empty() {
        return Ok(());
    }
    let floor = sqlx::query_scalar("SELECT seq FROM inbox WHERE user_id = ?").bind(to_sql(NOBODY));
    let floor = from_sql(floor.fetch_one(&mut *connection).await?);
    if floor > 0 {
        let mut script = Script::new(sql.sends_text);
        script.add(sql.bump_inboxes, &new, |row, &user_id| row.id(user_id).id(floor));
        script.run(connection).await?;
        new.iter().filter_map(|user_id| newest_seqs.get_mut(user_id).map(|seq| *seq += floor)).for_each(drop);
    }
    Ok(())
}

fn add_messages(script: &mut Script, posts: &[NumberedPost<'_>], keeps_receivers: bool) {
    // What is recalled is stored already, too.
    let is_new = |post: &&Post| !post.is_stored && !post.message.is_recalled();
    let messages: Vec<&NumberedPost<'_>> = posts.iter().filter(|numbered| is_new(&&*numbered.post)).collect();
    script.add(INSERT_MESSAGES, &messages, |row, numbered| {
        let post = &*numbered.post;
        let message = &post.message;
        let key = post.key().map(SendKey::of);
        let is_kept = post.is_asked_for() || keeps_receivers && message.group_id == 0;
        let is_kept = is_kept && numbered.receivers_version.is_none();
        let receivers = is_kept.then(|| encode_receivers(post.receivers()));
        row.id(message.id)
            .number(message.command.into())
            .bytes(&message.content)
            .id(message.sender_id)
            .number(message.created_at_ms)
            .number(message.status.into())
            .id(message.group_id)
            .bytes_if_any(receivers.as_deref())
            .bytes_if_any(key.as_ref().map(SendKey::bytes))
            .id(if key.is_some() { numbered.sent(false).seq } else { 0 })
            .id_if_any(numbered.receivers_version)
    });
}

/// In the order of the primary keys, which a b-tree likes.
fn add_inbox_rows(script: &mut Script, posts: &[NumberedPost<'_>]) {
    let (mut direct, mut others) = (Vec::new(), Vec::new());
    for NumberedPost { post, receivers, .. } in posts {
        for receiver in receivers {
            match post.peer_of(receiver.user_id) {
                Some(peer_id) => direct.push((*receiver, peer_id, post.message.id)),
                None => others.push((*receiver, post.message.id)),
            }
        }
    }
    others.sort_unstable_by_key(|(receiver, _)| (receiver.user_id, receiver.seq));
    script.add(INSERT_OTHER_ROWS, &others, |row, (receiver, message_id)| {
        row.id(receiver.user_id).id(receiver.seq).id(*message_id)
    });
    direct.sort_unstable_by_key(|(receiver, ..)| (receiver.user_id, receiver.seq));
    script.add(INSERT_DIRECT_ROWS, &direct, |row, (receiver, peer_id, message_id)| {
        row.id(receiver.user_id).id(receiver.seq).id(*peer_id).id(*message_id)
    });
}

/// The places of messages in the timelines of groups.
fn add_places(script: &mut Script, posts: &[NumberedPost<'_>]) {
    let places: Vec<(&GroupDelivery, &Message)> =
        posts.iter().filter_map(|numbered| Some((numbered.group.as_ref()?, &numbered.post.message))).collect();
    script.add(INSERT_GROUP_MESSAGES, &places, |row, (group, message)| {
        row.id(group.group_id).id(group.seq).id(message.id).number(message.is_recalled().into())
    });
}
