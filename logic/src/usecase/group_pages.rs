//! Large groups, as a device catches up with them: pages of their timelines after its cursors, and acks.

use std::collections::HashMap;

use gim_proto::{
    ResultCode,
    check::{self, ID_MAX},
    logic::{GroupCursor, GroupPage},
};
use prost::Message as _;

use super::syncs::{SpaceLeft, Syncs, fitting};
use crate::{
    domain::{
        caller::Caller,
        group::GroupRefusal,
        refusal::{Numbered, Refusal},
    },
    error::Error,
    store::{
        Limit,
        group::{Timeline, TimelineMessage},
        work::GroupAck,
        writer::PendingCommit,
    },
};

/// Cursors or acks in one request.
const CURSORS_MAX: usize = 2_000;

/// Messages of one group in a reply.
const PAGE_MESSAGES: u32 = 50;

/// Groups in a reply.
const GROUPS_MAX: usize = 128;

/// Groups that are looked for at once, and groups whose messages one statement reads.
const GROUPS_READ: u32 = 256;
const GROUPS_PER_STATEMENT: usize = 16;

/// Bytes that the frame of one group's page takes in a reply.
const PAGE_FRAME_BYTES: usize = 32;

impl Syncs {
    /// What the large groups of a user have after the cursors, or after the acks (none of them `from_start`) where there is no
    /// cursor, as far as there is space; and whether there is more.
    pub(super) async fn sync_groups(
        &self,
        caller: Caller,
        cursors: &[GroupCursor],
        from_start: bool,
        space: SpaceLeft,
    ) -> Result<(Vec<GroupPage>, bool), Error> {
        let cursors = check_cursors("group_cursors", cursors)?;
        let mut places = self.places_with_news(caller, &cursors, from_start).await?;
        let mut has_more = places.len() > GROUPS_MAX;
        places.truncate(GROUPS_MAX);
        let (mut pages, mut bytes_left): (Vec<GroupPage>, _) = (Vec::new(), space.bytes);
        for places in places.chunks(GROUPS_PER_STATEMENT) {
            if bytes_left <= PAGE_FRAME_BYTES {
                has_more = true;
                break;
            }
            let after: Vec<(u64, u64)> = places.iter().map(|place| (place.timeline.group_id, place.after)).collect();
            let found = self.groups.pages(&after, Limit { messages: PAGE_MESSAGES + 1, bytes: bytes_left }).await?;
            let mut found = found.into_iter().peekable();
            for PageStart { timeline, .. } in places {
                let own = std::iter::from_fn(|| found.next_if(|message| message.group_id == timeline.group_id));
                let is_first = space.is_whole && pages.is_empty();
                let page = group_page(timeline, own, bytes_left.saturating_sub(PAGE_FRAME_BYTES), is_first);
                has_more |= page.has_more;
                if !page.messages.is_empty() {
                    bytes_left = bytes_left.saturating_sub(page.encoded_len() + PAGE_FRAME_BYTES);
                    pages.push(page);
                }
            }
        }
        Ok((pages, has_more))
    }

    /// Where a device goes on in its large groups that have something for it, in the order of their ids; of more than fit into a reply,
    /// at least one more than those.
    async fn places_with_news(
        &self,
        caller: Caller,
        cursors: &HashMap<u64, u64>,
        from_start: bool,
    ) -> Result<Vec<PageStart>, Error> {
        let named: Vec<u64> = cursors.iter().filter(|(_, seq)| **seq > 0).map(|(&group_id, _)| group_id).collect();
        let mut places = Vec::new();
        for timeline in self.groups.timelines(caller.user_id, &named).await? {
            let after = place(&timeline, cursors.get(&timeline.group_id).copied())?;
            if after < timeline.newest_seq {
                places.push(PageStart { timeline, after });
            }
        }
        let (mut after_group_id, mut others) = (0, 0);
        while others <= GROUPS_MAX {
            let found =
                self.groups.timelines_with_news(caller.user_id, after_group_id, from_start, GROUPS_READ).await?;
            after_group_id = found.last().map_or(0, |timeline| timeline.group_id);
            let is_last = found.len() < GROUPS_READ as usize;
            for mut timeline in found {
                if cursors.get(&timeline.group_id).is_none_or(|&seq| seq == 0) {
                    timeline.cursor = if from_start { 0 } else { timeline.cursor };
                    places.push(PageStart { timeline, after: place(&timeline, None)? });
                    others += 1;
                }
            }
            if is_last {
                break;
            }
        }
        places.sort_unstable_by_key(|place| place.timeline.group_id);
        Ok(places)
    }

    /// Takes acks of large groups on; the reply to `pending` says that they are noted. Those of groups that the user has left are passed
    /// over, as their cursors are in a sync; where all are, there is nothing to do.
    pub(super) async fn submit_group_acks(
        &self,
        caller: Caller,
        acks: &[GroupCursor],
    ) -> Result<Result<PendingCommit<()>, GroupRefusal>, Error> {
        let mut acks = check_cursors("group_acks", acks)?;
        let turn = self.reads.turn(caller.user_id).await?;
        let group_ids: Vec<u64> = acks.keys().copied().collect();
        let timelines = self.groups.timelines(caller.user_id, &group_ids).await?;
        drop(turn);
        let newest: HashMap<u64, u64> =
            timelines.into_iter().map(|timeline| (timeline.group_id, timeline.newest_seq)).collect();
        let left = acks.keys().find(|group_id| !newest.contains_key(group_id)).copied();
        acks.retain(|group_id, _| newest.contains_key(group_id));
        if let Some((&group_id, &seq)) = acks.iter().find(|&(group_id, seq)| *seq > newest[group_id]) {
            return Err(beyond("group_acks", group_id, seq, newest[&group_id]));
        }
        if let (Some(left), true) = (left, acks.is_empty()) {
            return Ok(Err(GroupRefusal::NotInGroup(left)));
        }
        let ack = |(group_id, seq)| GroupAck { user_id: caller.user_id, device_id: caller.device_id, group_id, seq };
        Ok(Ok(self.writer.submit_group_acks(acks.into_iter().map(ack).collect())?))
    }
}

/// A large group that has something for a device, and after which message.
#[derive(Debug, Clone, Copy)]
struct PageStart {
    timeline: Timeline,
    after: u64,
}

/// The page of a group from what was found of it: one message more than fits into a page, or what was read.
fn group_page(
    timeline: &Timeline,
    found: impl Iterator<Item = TimelineMessage>,
    bytes_max: usize,
    is_first: bool,
) -> GroupPage {
    let found: Vec<TimelineMessage> = found.collect();
    let count = found.len();
    let read = found.into_iter().take(PAGE_MESSAGES as usize);
    let read = read.map_while(|one| Some(one.message?.to_wire_in_timeline(one.seq)));
    let mut messages: Vec<_> = read.collect();
    let fitting = fitting(&messages, bytes_max);
    // Something has to leave in every reply, but only one message may be larger than the room that is left.
    let is_over = fitting == 1 && messages.first().is_some_and(|message| message.encoded_len() + 6 > bytes_max);
    messages.truncate(if is_over && !is_first { 0 } else { fitting });
    let has_more = messages.len() < count;
    GroupPage { group_id: timeline.group_id, messages, has_more, newest_seq: timeline.newest_seq }
}

/// After which message a device goes on.
fn place(timeline: &Timeline, cursor: Option<u64>) -> Result<u64, Error> {
    match cursor {
        Some(seq) if seq > timeline.newest_seq => {
            Err(beyond("group_cursors", timeline.group_id, seq, timeline.newest_seq))
        }
        Some(seq) if seq > 0 => Ok(seq.max(timeline.after_seq)),
        _ => Ok(timeline.cursor.max(timeline.after_seq)),
    }
}

fn check_cursors(field: &str, cursors: &[GroupCursor]) -> Result<HashMap<u64, u64>, Refusal> {
    if cursors.len() > CURSORS_MAX {
        let problem = format!("{field}: has {} entries, at most {CURSORS_MAX} are allowed", cursors.len());
        return Err(Refusal::new(ResultCode::TooLarge, problem));
    }
    let mut checked = HashMap::with_capacity(cursors.len());
    for cursor in cursors {
        check::id(field, cursor.group_id)?;
        if cursor.seq > ID_MAX {
            return Err(check::invalid(field, format!("seq {} is no seq", cursor.seq)).into());
        }
        if checked.insert(cursor.group_id, cursor.seq).is_some() {
            return Err(check::invalid(field, format!("group {} is there twice", cursor.group_id)).into());
        }
    }
    Ok(checked)
}

fn beyond(field: &'static str, group_id: u64, seq: u64, newest_seq: u64) -> Error {
    Refusal::BeyondNewest { field, seq, of: Numbered::Group(group_id), newest_seq }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_goes_on_after_its_cursor_or_ack_never_before_it_joined() {
        let timeline = Timeline { group_id: 9, newest_seq: 20, after_seq: 5, cursor: 8 };
        assert_eq!(place(&timeline, None).unwrap(), 8);
        assert_eq!(place(&timeline, Some(0)).unwrap(), 8);
        assert_eq!(place(&timeline, Some(3)).unwrap(), 5);
        assert_eq!(place(&timeline, Some(20)).unwrap(), 20);
        assert_eq!(place(&timeline, Some(21)).unwrap_err().code(), ResultCode::BeyondNewest);
        assert_eq!(place(&Timeline { cursor: 2, ..timeline }, None).unwrap(), 5);
    }

    #[test]
    fn cursors_are_checked_by_name() {
        let cursor = |group_id, seq| GroupCursor { group_id, seq };
        assert_eq!(check_cursors("c", &[cursor(9, 1), cursor(8, 0)]).unwrap().len(), 2);
        let problem = |cursors: &[GroupCursor]| check_cursors("c", cursors).unwrap_err().to_string();
        assert_eq!(problem(&[cursor(0, 1)]), "c: must not be 0");
        assert_eq!(problem(&[cursor(9, 1), cursor(9, 2)]), "c: group 9 is there twice");
        assert!(problem(&[cursor(9, u64::MAX)]).ends_with("is no seq"));
        assert!(problem(&vec![cursor(9, 1); CURSORS_MAX + 1]).contains("at most 2000"));
    }
}
