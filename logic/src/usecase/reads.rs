//! Reads of conversations: gathered for a moment, so that a device that reads much at once costs one write and one event, and who has read
//! in a group.
//!
//! Shared by tasks of Tokio; one task waits for each conversation of a user that is being read. Always holds: conversations that wait are
//! bounded, in all and for each user, and so are those who wait for the answer; whoever wants an answer gets one, after the commit.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gim_proto::{
    ResultCode, check,
    logic::{ConversationReadRequest, ConversationReader, ConversationReadersReply, ConversationReadersRequest},
};
use metrics::counter;
use tokio::sync::oneshot;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    read_marks::{ReadError, ReadMarks},
    under_way::{UnderWay, UserPlace},
};
use crate::{
    domain::{
        caller::Caller,
        conversation::{Peer, checked, no_message},
        group::GroupRefusal,
        reading::{Furthest, ReadUpTo, decode_cursor, encode_cursor, only_device},
        refusal::{Numbered, Refusal},
    },
    error::Error,
    metrics as names,
    settings::ConversationSettings,
};

/// Who wait for the answer about one conversation of a user.
const ASKERS_MAX: usize = 256;

/// Members in a page of readers.
const READERS_PAGE_MAX: u32 = 100;

/// See the module's documentation.
#[derive(Debug)]
pub struct Reads {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    marks: ReadMarks,
    delay: Duration,
    waiting_max: usize,
    of_users: Arc<UnderWay>,
    gathered: Mutex<HashMap<(u64, Peer), Gathered>>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

/// What was said of one conversation, by the devices of one user.
#[derive(Debug)]
struct Gathered {
    /// Of what nobody waits for.
    furthest: Furthest,
    /// The only device that said something, which need not be told.
    device_id: u64,
    askers: Vec<Asker>,
    _place: UserPlace,
}

#[derive(Debug)]
struct Asker {
    up_to: ReadUpTo,
    answer: oneshot::Sender<Result<(), ReadError>>,
}

/// A read that waits to be noted.
#[derive(Debug)]
pub struct PendingRead(oneshot::Receiver<Result<(), ReadError>>);

impl PendingRead {
    /// Waits until it is durable.
    pub async fn noted(self) -> Result<(), Error> {
        self.0.await.unwrap_or(Err(crate::store::StoreError::PutOff("reads are gathered no more").into()))?;
        Ok(())
    }
}

impl Reads {
    pub(super) fn new(settings: &ConversationSettings, marks: ReadMarks) -> Self {
        let shared = Shared {
            marks,
            delay: Duration::from_millis(settings.read_delay_ms),
            waiting_max: settings.reads_waiting_max,
            of_users: UnderWay::new(settings.reads_waiting_per_user_max),
            gathered: Mutex::default(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Notes how far the caller has read.
    pub async fn read(&self, caller: Caller, request: ConversationReadRequest) -> Result<(), Error> {
        match self.submit(caller, request, true)? {
            Some(pending) => pending.noted().await,
            None => Ok(()),
        }
    }

    /// Takes on how far the caller has read; what is to be waited for, where an answer is wanted.
    pub fn submit(
        &self,
        caller: Caller,
        request: ConversationReadRequest,
        is_answered: bool,
    ) -> Result<Option<PendingRead>, Error> {
        counter!(names::READ_POSITIONS_ASKED).increment(1);
        let peer = checked(request.peer)?;
        let up_to = ReadUpTo::checked(request.seq, request.message_id)?;
        let key = (caller.user_id, peer);
        let mut all = self.shared.lock();
        let gathered = match all.get_mut(&key) {
            Some(gathered) => gathered,
            None => {
                if all.len() >= self.shared.waiting_max {
                    return Err(refused("all", ResultCode::TryAgainLater));
                }
                let place = self.shared.of_users.enter(caller.user_id);
                let _place = place.ok_or_else(|| refused("user", ResultCode::TooManyRequests))?;
                let shared = self.shared.clone();
                self.shared.tasks.spawn(async move { shared.settle_later(key).await });
                let (furthest, device_id) = (Furthest::default(), caller.device_id);
                all.entry(key).or_insert(Gathered { furthest, device_id, askers: Vec::new(), _place })
            }
        };
        gathered.device_id = only_device(gathered.device_id, caller.device_id);
        if !is_answered {
            gathered.furthest = gathered.furthest.and(up_to);
            return Ok(None);
        }
        if gathered.askers.len() >= ASKERS_MAX {
            return Err(refused("user", ResultCode::TooManyRequests));
        }
        let (answer, pending) = oneshot::channel();
        gathered.askers.push(Asker { up_to, answer });
        Ok(Some(PendingRead(pending)))
    }

    /// Notes what was gathered, at once.
    pub async fn stop(&self) {
        self.shared.stopping.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Members who have read a group of the caller up to a message.
    pub async fn readers(
        &self,
        caller: Caller,
        request: ConversationReadersRequest,
    ) -> Result<ConversationReadersReply, Error> {
        let ReadMarks { reads, places, positions, .. } = &self.shared.marks;
        let group_id = check::id("group_id", request.group_id)?;
        let up_to = ReadUpTo::checked(request.seq, request.message_id)?;
        let after = decode_cursor(&request.after);
        let after = after.ok_or_else(|| check::invalid("after", "is not what a reply said in `next`"))?;
        let limit = if request.limit == 0 { READERS_PAGE_MAX } else { request.limit.min(READERS_PAGE_MAX) };
        let _turn = reads.turn(caller.user_id).await?;
        let group = positions.group(caller.user_id, group_id).await?.ok_or(GroupRefusal::NotInGroup(group_id))?;
        let newest_seq = group.newest_seq;
        let seq = match up_to {
            ReadUpTo::Seq(seq) if seq > newest_seq => {
                return Err(
                    Refusal::BeyondNewest { field: "seq", seq, of: Numbered::Group(group_id), newest_seq }.into()
                );
            }
            ReadUpTo::Seq(seq) if seq <= group.joined_after_seq => {
                return Err(check::invalid("seq", "is of a message before you joined").into());
            }
            ReadUpTo::Seq(seq) => seq,
            ReadUpTo::Message(message_id) => {
                let seq = places.find(caller.user_id, Peer::Group(group_id), message_id).await?;
                seq.filter(|seq| *seq > group.joined_after_seq).ok_or_else(|| no_message("message_id", message_id))?
            }
        };
        let count = if after == (0, 0) { positions.count_readers(group_id, seq).await? } else { 0 };
        let page = positions.readers(group_id, seq, after, limit).await?;
        let readers = page.readers.into_iter().map(|(user_id, seq)| ConversationReader { user_id, seq }).collect();
        Ok(ConversationReadersReply { readers, next: page.next.map_or_else(Vec::new, encode_cursor).into(), count })
    }
}

impl Shared {
    async fn settle_later(self: Arc<Self>, key: (u64, Peer)) {
        tokio::select! {
            () = tokio::time::sleep(self.delay) => {}
            () = self.stopping.cancelled() => {}
        }
        let Some(gathered) = self.lock().remove(&key) else { return };
        self.settle(key, gathered).await;
    }

    async fn settle(&self, (user_id, peer): (u64, Peer), gathered: Gathered) {
        let Gathered { furthest, device_id, askers, _place } = gathered;
        let asked: Vec<ReadUpTo> = askers.iter().map(|asker| asker.up_to).chain(furthest.each()).collect();
        let verdicts = self.marks.note(Caller { user_id, device_id }, peer, &asked).await;
        let mut askers = askers.into_iter();
        for verdict in verdicts {
            match (askers.next(), verdict) {
                (Some(asker), verdict) => drop(asker.answer.send(verdict)),
                (None, Err(error)) => tracing::debug!(%error, user_id, ?peer, "what was read is not noted"),
                (None, Ok(())) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(u64, Peer), Gathered>> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(bound: &'static str, code: ResultCode) -> Error {
    counter!(names::READ_POSITIONS_REFUSED, "bound" => bound).increment(1);
    code.into()
}
