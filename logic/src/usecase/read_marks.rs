//! How far a user has read a conversation: looked up, noted, and told to whom it concerns.
//!
//! Any task. Always holds: a position never goes back; one that is reached already writes nothing and is told to nobody; it is durable
//! before it is told; and who may not write to the reader learns nothing of it.

use std::{collections::BTreeSet, sync::Arc};

use gim_proto::{
    check,
    connect::MessageCommand,
    logic::{ConversationPush, ConversationReadPush, conversation_push},
};
use metrics::counter;

use super::device_news::DeviceNews;
use crate::{
    clients::business::Business,
    domain::{
        caller::Caller,
        conversation::{Peer, no_message},
        group::GroupRefusal,
        reading::ReadUpTo,
        refusal::{Numbered, Refusal},
    },
    error::Error,
    metrics as names,
    store::{
        self, StoreError,
        read_position::{ReadPosition, ReadableGroup},
        work::ReadMark,
        writer::Writer,
    },
};

/// Messages of one conversation that are looked for in vain at once; whoever names more is refused.
const MISSES_MAX: usize = 4;

/// Why a read was not noted. Many who wait hear the same.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum ReadError {
    /// The request is to blame.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Refused(refusal) => refusal.into(),
            ReadError::Store(error) => error.into(),
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct ReadMarks {
    pub told_members_max: u32,
    pub reads: store::UserReads,
    pub inboxes: store::Inboxes,
    pub groups: store::Groups,
    pub places: store::ConversationPlaces,
    pub positions: store::ReadPositions,
    pub writer: Writer,
    pub business: Arc<Business>,
    pub news: DeviceNews,
}

/// What was found about reads of one conversation.
struct Judged {
    /// What becomes of each.
    verdicts: Vec<Result<(), ReadError>>,
    /// The furthest number of those that are good.
    furthest: Option<u64>,
    group: Option<ReadableGroup>,
}

/// A position that is raised.
struct Raise {
    former: ReadPosition,
    next: ReadPosition,
}

impl ReadMarks {
    /// Notes that a user has read a conversation up to the furthest of these, as `cause` says it; what becomes of each of them.
    pub(super) async fn note(&self, cause: Caller, peer: Peer, asked: &[ReadUpTo]) -> Vec<Result<(), ReadError>> {
        let Judged { mut verdicts, furthest, group } = match self.judge(cause.user_id, peer, asked).await {
            Ok(judged) => judged,
            Err(error) => return vec![Err(error); asked.len()],
        };
        if let Some(seq) = furthest
            && let Err(error) = self.raise(cause, peer, seq, group).await
        {
            verdicts.iter_mut().filter(|verdict| verdict.is_ok()).for_each(|verdict| *verdict = Err(error.clone()));
        }
        verdicts
    }

    async fn judge(&self, user_id: u64, peer: Peer, asked: &[ReadUpTo]) -> Result<Judged, ReadError> {
        let _turn = self.reads.turn(user_id).await?;
        let (newest_seq, of, group) = match peer {
            Peer::User(_) => (self.inboxes.newest_seq(user_id).await?, Numbered::Inbox, None),
            Peer::Group(group_id) => {
                let group = self.positions.group(user_id, group_id).await?;
                let group = group.ok_or(GroupRefusal::NotInGroup(group_id)).map_err(Refusal::from)?;
                (group.newest_seq, Numbered::Group(group_id), Some(group))
            }
        };
        let found = self.find(user_id, peer, asked, group).await?;
        let mut furthest = found.map(|(seq, _)| seq);
        let mut verdict = |up_to: &ReadUpTo| match *up_to {
            ReadUpTo::Seq(seq) if seq > newest_seq => {
                Err(Refusal::BeyondNewest { field: "seq", seq, of, newest_seq }.into())
            }
            ReadUpTo::Seq(seq) => {
                furthest = furthest.max(Some(seq));
                Ok(())
            }
            ReadUpTo::Message(message_id) if found.is_some_and(|(_, found_id)| message_id <= found_id) => Ok(()),
            ReadUpTo::Message(message_id) => Err(Refusal::from(no_message("message_id", message_id)).into()),
        };
        let verdicts = asked.iter().map(&mut verdict).collect();
        Ok(Judged { verdicts, furthest, group })
    }

    /// The newest of the messages that are named and there for the user, with its number.
    async fn find(
        &self,
        user_id: u64,
        peer: Peer,
        asked: &[ReadUpTo],
        group: Option<ReadableGroup>,
    ) -> Result<Option<(u64, u64)>, StoreError> {
        let message_id = |up_to: &ReadUpTo| match *up_to {
            ReadUpTo::Message(message_id) => Some(message_id),
            ReadUpTo::Seq(_) => None,
        };
        let message_ids: BTreeSet<u64> = asked.iter().filter_map(message_id).collect();
        if message_ids.is_empty() {
            return Ok(None);
        }
        let joined_after_seq = group.map_or(0, |group| group.joined_after_seq);
        let after_seq = self.positions.cleared_seq(user_id, peer).await?.max(joined_after_seq);
        for message_id in message_ids.into_iter().rev().take(MISSES_MAX) {
            let seq = self.places.find(user_id, peer, message_id).await?;
            if let Some(seq) = seq.filter(|seq| *seq > after_seq) {
                return Ok(Some((seq, message_id)));
            }
        }
        Ok(None)
    }

    /// Raises a user's position to the message at a number, or the last one before it, and tells of it.
    async fn raise(&self, cause: Caller, peer: Peer, seq: u64, group: Option<ReadableGroup>) -> Result<(), ReadError> {
        let user_id = cause.user_id;
        let (former, reached) = self.reached(user_id, peer, seq, group).await?;
        let next = match peer {
            Peer::User(peer_id) if peer_id != user_id => self.for_peer(user_id, peer_id, reached).await?,
            _ => reached,
        };
        let is_news = next.seq > former.seq || next.peer_seq > former.peer_seq || former.is_marked_unread;
        if !is_news {
            return Ok(());
        }
        self.writer.submit_read(ReadMark { user_id, peer, position: next })?.committed().await?;
        counter!(names::READ_POSITIONS_WRITTEN).increment(1);
        self.tell(cause, peer, &Raise { former, next }, group).await;
        Ok(())
    }

    /// The position as it was, and as it is with the message at a number; where there is none to read, it stays.
    async fn reached(
        &self,
        user_id: u64,
        peer: Peer,
        seq: u64,
        group: Option<ReadableGroup>,
    ) -> Result<(ReadPosition, ReadPosition), ReadError> {
        let _turn = self.reads.turn(user_id).await?;
        let place = self.places.at(user_id, peer, seq).await?;
        let after_seq = group.map_or(0, |group| group.joined_after_seq);
        let place = place.filter(|(seq, _)| *seq > after_seq);
        if place.is_none()
            && let Peer::User(peer_id) = peer
            && self.places.at(user_id, peer, check::ID_MAX).await?.is_none()
        {
            let problem = format!("there is no conversation with user {peer_id}");
            return Err(Refusal::from(check::invalid("user_id", problem)).into());
        }
        let (seq, message_id) = place.unwrap_or_default();
        let former = self.positions.get(user_id, peer).await?;
        Ok((former, former.max(ReadPosition { seq, message_id, ..ReadPosition::default() })))
    }

    /// With what the other user may know of it: as much as before, where that one may not write to the reader.
    async fn for_peer(&self, user_id: u64, peer_id: u64, reached: ReadPosition) -> Result<ReadPosition, StoreError> {
        if reached.message_id == reached.peer_message_id {
            return Ok(reached);
        }
        if let Err(error) = self.business.check_may_write(peer_id, user_id, "").await {
            tracing::debug!(%error, peer_id, "the other user is not told what was read");
            return Ok(reached);
        }
        let _turn = self.reads.turn(user_id).await?;
        let peer_seq = self.places.find(peer_id, Peer::User(user_id), reached.message_id).await?;
        let told = ReadPosition { peer_seq: peer_seq.unwrap_or(0), peer_message_id: reached.message_id, ..reached };
        Ok(reached.max(told))
    }

    async fn tell(&self, cause: Caller, peer: Peer, raise: &Raise, group: Option<ReadableGroup>) {
        let Raise { former, next } = *raise;
        let user_id = cause.user_id;
        let is_raised = next.seq > former.seq;
        if is_raised || former.is_marked_unread {
            let of = match peer {
                Peer::User(user_id) => conversation_push::Peer::UserId(user_id),
                Peer::Group(group_id) => conversation_push::Peer::GroupId(group_id),
            };
            let push = ConversationPush {
                peer: Some(of),
                is_marked_unread: former.is_marked_unread.then_some(false),
                read_seq: if is_raised { next.seq } else { 0 },
                read_message_id: if is_raised { next.message_id } else { 0 },
                ..ConversationPush::default()
            };
            self.news.tell(cause, vec![user_id], MessageCommand::McConversation as i32, &push).await;
        }
        match peer {
            Peer::User(peer_id) if next.peer_seq > former.peer_seq => {
                let (seq, message_id) = (next.peer_seq, next.peer_message_id);
                let push = ConversationReadPush { user_id, group_id: 0, seq, message_id };
                self.news.tell(cause, vec![peer_id], MessageCommand::McRead as i32, &push).await;
            }
            Peer::Group(group_id) if is_raised => {
                let (seq, message_id) = (next.seq, next.message_id);
                self.tell_members(cause, group, ConversationReadPush { user_id, group_id, seq, message_id }).await;
            }
            _ => {}
        }
    }

    /// Of a group that is not too large.
    async fn tell_members(&self, cause: Caller, group: Option<ReadableGroup>, push: ConversationReadPush) {
        let members_max = self.told_members_max;
        if group.is_none_or(|group| group.member_count > u64::from(members_max)) {
            return;
        }
        match self.groups.members(push.group_id, 0, members_max).await {
            Ok(members) => {
                let others = members.iter().map(|member| member.user_id).filter(|id| *id != cause.user_id).collect();
                self.news.tell(cause, others, MessageCommand::McRead as i32, &push).await;
            }
            Err(error) => tracing::debug!(%error, group_id = push.group_id, "members were not told who has read"),
        }
    }
}
