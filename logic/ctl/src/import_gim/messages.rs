//! The steps that are about what was said: messages, inboxes, seqs, acks.

use std::collections::HashMap;

use gim_logic::{
    domain::{message::Message, message_id},
    store::import::InboxRow,
};
use gim_proto::{
    check,
    connect::MessageCommand,
    logic::{GroupMessagePush, UserMessagePush},
};
use prost::Message as _;

use super::{
    context::{BAD_ID, Import, ImportError},
    places::{self, Gap},
    source::{self, MessageRow},
};
use crate::progress::Progress;

const MESSAGES: &str = "messages";
const INBOXES: &str = "places in inboxes";
const WITHOUT_MESSAGE: &str = "places without message";
const ACKS: &str = "acks";
pub const KINDS: &[&str] = &[MESSAGES, INBOXES, WITHOUT_MESSAGE, ACKS];

/// Bytes that messages of one transaction say, or one that says more: a database takes so much in a statement.
const BATCH_BYTES_MAX: usize = 512 << 10;

/// Places that one transaction writes.
const BATCH_PLACES_MAX: usize = 1_000;

impl Import {
    pub async fn messages(&mut self) -> Result<(), ImportError> {
        let progress = Progress::of(MESSAGES, self.source.about("message").await);
        let mut after = match &self.target {
            Some(target) => target.logic.store.imports.place_of(MESSAGES).await?,
            None => 0,
        };
        loop {
            let rows = self.source.messages(after).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.id;
            progress.add(rows.len());
            self.report.of(MESSAGES).found += rows.len() as u64;
            let (mut batch, mut bytes) = (Vec::new(), 0);
            for row in rows {
                let id = row.id;
                if bytes > 0 && bytes + row.content.len() > BATCH_BYTES_MAX {
                    self.take_messages(&batch, id - 1).await?;
                    batch.clear();
                    bytes = 0;
                }
                bytes += row.content.len();
                batch.extend(self.judge_message(row));
            }
            self.take_messages(&batch, after).await?;
        }
    }

    async fn take_messages(&mut self, messages: &[Message], place: u64) -> Result<(), ImportError> {
        self.report.of(MESSAGES).taken += match &self.target {
            Some(target) => target.logic.store.imports.messages(messages, MESSAGES, place).await?,
            None => messages.len() as u64,
        };
        Ok(())
    }

    fn judge_message(&mut self, row: MessageRow) -> Option<Message> {
        let MessageRow { id, command, content, created_at_s } = row;
        let Ok(command) = i32::try_from(command) else {
            self.report.refuse(MESSAGES, "the command is too large", format!("message {id}"));
            return None;
        };
        let (sender_id, group_id) = said_by(command, &content);
        Some(Message {
            id: message_id::of_numbered(created_at_s.min(self.begun_s), id),
            command,
            content: content.into(),
            sender_id,
            created_at_ms: created_at_s.saturating_mul(1_000),
            status: 0,
            group_id,
        })
    }

    pub async fn inboxes(&mut self) -> Result<(), ImportError> {
        let progress = Progress::of(INBOXES, self.source.about("user_message").await);
        let (mut batch, mut after) = (Vec::new(), 0);
        loop {
            let page = self.source.inboxes(after).await?;
            let Some(&(last, _)) = page.last() else { break };
            after = last;
            let newest = self.newest_seqs(page.iter().map(|&(user_id, _)| user_id)).await?;
            for (user_id, largest_seq) in page {
                let newest_seq = newest.get(&user_id).copied().unwrap_or(0);
                if self.is_id(INBOXES, user_id) && newest_seq < largest_seq {
                    self.inbox(user_id, newest_seq, &mut batch, &progress).await?;
                }
            }
        }
        self.take_places(&mut batch).await
    }

    /// What is in the inbox of one user after a seq.
    async fn inbox(
        &mut self,
        user_id: u64,
        mut newest_seq: u64,
        batch: &mut Vec<InboxRow>,
        progress: &Progress,
    ) -> Result<(), ImportError> {
        loop {
            let rows = self.source.inbox(user_id, newest_seq).await?;
            if rows.is_empty() {
                return Ok(());
            }
            progress.add(rows.len());
            for row in rows {
                if check::id("", row.seq).is_err() {
                    self.report.refuse(INBOXES, "the seq is too large", format!("user {user_id}"));
                    return Ok(());
                }
                let created_at_s = row.created_at_s.min(self.begun_s);
                self.fill(user_id, newest_seq, row.seq, created_at_s, batch).await?;
                self.count(user_id, &row);
                batch.push(places::of_message(user_id, &row, self.begun_s));
                newest_seq = row.seq;
                if batch.len() >= BATCH_PLACES_MAX {
                    self.take_places(batch).await?;
                }
            }
        }
    }

    fn count(&mut self, user_id: u64, row: &source::InboxRow) {
        if row.has_message {
            self.report.of(INBOXES).found += 1;
        } else {
            self.report.of(WITHOUT_MESSAGE).found += 1;
            let what = "places in inboxes: the message is gone, an expired one takes its place";
            self.report.note(what, format!("user {user_id} seq {}", row.seq));
        }
    }

    /// Puts something into the places that are missing before `next_seq`.
    async fn fill(
        &mut self,
        user_id: u64,
        newest_seq: u64,
        next_seq: u64,
        created_at_s: i64,
        batch: &mut Vec<InboxRow>,
    ) -> Result<(), ImportError> {
        let which = || format!("user {user_id} after seq {newest_seq}");
        match Gap::between(newest_seq, next_seq) {
            Gap::Skipped(seqs) => {
                for seq in seqs {
                    self.report.of(WITHOUT_MESSAGE).found += 1;
                    batch.push(places::without_message(user_id, seq, created_at_s));
                    if batch.len() >= BATCH_PLACES_MAX {
                        self.take_places(batch).await?;
                    }
                }
            }
            Gap::Gone => {
                self.report.note("places in inboxes: the oldest are gone, the inbox begins behind them", which())
            }
            Gap::TooLong => {
                self.report.note("places in inboxes: so many in a row are missing that they are left out", which())
            }
        }
        Ok(())
    }

    async fn take_places(&mut self, batch: &mut Vec<InboxRow>) -> Result<(), ImportError> {
        let without_message = batch.iter().filter(|row| message_id::is_of_place(row.message_id)).count() as u64;
        let taken = match &self.target {
            Some(target) => target.logic.store.imports.inbox_rows(batch).await?,
            None => {
                self.read_seqs.extend(batch.iter().map(|row| (row.user_id, row.seq)));
                batch.len() as u64
            }
        };
        batch.clear();
        self.report.of(INBOXES).taken += taken.saturating_sub(without_message);
        self.report.of(WITHOUT_MESSAGE).taken += without_message.min(taken);
        Ok(())
    }

    /// Seqs that gim gave out after the last message of an inbox.
    pub async fn seqs(&mut self) -> Result<(), ImportError> {
        let (mut batch, mut after) = (Vec::new(), 0);
        loop {
            let page = self.source.seqs(after).await?;
            let Some(&(last, _)) = page.last() else { break };
            after = last;
            let newest = self.newest_seqs(page.iter().map(|&(user_id, _)| user_id)).await?;
            for (user_id, seq) in page {
                let newest_seq = newest.get(&user_id).copied().unwrap_or(0);
                if newest_seq < seq && check::ids("", &[user_id, seq], 2).is_ok() {
                    self.fill(user_id, newest_seq, seq, self.begun_s, &mut batch).await?;
                    // Also where those before it are gone: the next message comes after what clients have.
                    self.report.of(WITHOUT_MESSAGE).found += 1;
                    batch.push(places::without_message(user_id, seq, self.begun_s));
                }
            }
        }
        self.take_places(&mut batch).await
    }

    pub async fn acks(&mut self) -> Result<(), ImportError> {
        let progress = Progress::of(ACKS, self.source.about("device_ack").await);
        let mut after = 0;
        loop {
            let page = self.source.acks(after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.device_id;
            progress.add(page.len());
            self.report.of(ACKS).found += page.len() as u64;
            let newest = self.newest_seqs(page.iter().map(|ack| ack.user_id)).await?;
            let mut acks = Vec::with_capacity(page.len());
            for ack in page {
                let newest_seq = newest.get(&ack.user_id).copied().unwrap_or(0);
                let which = format!("user {} device {}", ack.user_id, ack.device_id);
                if check::ids("", &[ack.user_id, ack.device_id], 2).is_err() {
                    self.report.refuse(ACKS, BAD_ID, which);
                } else if ack.seq > newest_seq {
                    self.report.note("acks: beyond the newest message, lowered to it", which);
                    acks.push((ack.user_id, ack.device_id, newest_seq));
                } else {
                    acks.push((ack.user_id, ack.device_id, ack.seq));
                }
            }
            self.report.of(ACKS).taken += acks.len() as u64;
            if let Some(target) = &self.target {
                target.logic.store.imports.acks(&acks).await?;
            }
        }
    }

    /// The newest seqs that are here.
    async fn newest_seqs(&self, user_ids: impl Iterator<Item = u64>) -> Result<HashMap<u64, u64>, ImportError> {
        let user_ids = user_ids.filter(|&user_id| check::id("", user_id).is_ok());
        match &self.target {
            Some(target) => Ok(target.logic.store.imports.newest_seqs(&user_ids.collect::<Vec<_>>()).await?),
            None => Ok(user_ids.filter_map(|user_id| Some((user_id, *self.read_seqs.get(&user_id)?))).collect()),
        }
    }
}

/// Who said it, and in which group; 0 where that is not known.
fn said_by(command: i32, content: &[u8]) -> (u64, u64) {
    let known = |id: u64| if check::id("", id).is_ok() { id } else { 0 };
    match MessageCommand::try_from(command) {
        Ok(MessageCommand::McUserMessage) => {
            let push = UserMessagePush::decode(content).unwrap_or_default();
            (known(push.from_user.map_or(0, |user| user.user_id)), 0)
        }
        Ok(MessageCommand::McGroupMessage) => {
            let push = GroupMessagePush::decode(content).unwrap_or_default();
            (known(push.from_user.map_or(0, |user| user.user_id)), known(push.group_id))
        }
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gim_proto::logic::User;

    #[test]
    fn what_a_message_says_of_its_sender_and_group_is_kept() {
        let from_user = Some(User { user_id: 7, ..User::default() });
        let to_user = UserMessagePush { from_user: from_user.clone(), to_user_id: 8, ..UserMessagePush::default() };
        let to_group = GroupMessagePush { from_user, group_id: 9, ..GroupMessagePush::default() };
        assert_eq!(said_by(1, &to_user.encode_to_vec()), (7, 0));
        assert_eq!(said_by(2, &to_group.encode_to_vec()), (7, 9));
        assert_eq!(said_by(1, b"\xff"), (0, 0));
        assert_eq!(said_by(110, &to_user.encode_to_vec()), (0, 0));
    }
}
