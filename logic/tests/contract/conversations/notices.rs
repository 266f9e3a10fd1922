//! What is unread where notices and recalled messages stand between: against a plain model of the newest places of a conversation.

use gim_proto::logic::{GroupKind, RecallRequest, conversation::Peer};

use super::{list, say, signed};
use crate::support::{Server, server};

/// As PROTOCOL.md says.
const PLACES_MAX: usize = 200;

const READER: u64 = 7;
const OTHER: u64 = 8;

/// What stands at a place of a timeline.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TimelinePlace {
    Counts,
    Own,
    /// A notice, a recalled message, or that one was recalled.
    Nothing,
}

struct Timeline {
    server: Server,
    group_id: u64,
    is_large: bool,
    places: Vec<TimelinePlace>,
    names: u32,
}

impl Timeline {
    async fn rename(&mut self, times: usize) {
        for _ in 0..times {
            self.names += 1;
            self.server.rename(OTHER, self.group_id, &format!("name {}", self.names)).await.unwrap();
            self.places.push(TimelinePlace::Nothing);
        }
    }

    async fn say(&mut self, by: u64) -> u64 {
        self.places.push(if by == READER { TimelinePlace::Own } else { TimelinePlace::Counts });
        say(&self.server, by, self.group_id).await.message_id
    }

    async fn recall(&mut self, message_id: u64, place: usize) {
        self.server.message_ext().recall(signed(OTHER, RecallRequest { message_id })).await.unwrap();
        self.places[place] = TimelinePlace::Nothing;
        // In a large group it takes a place that it was recalled.
        if self.is_large {
            self.places.push(TimelinePlace::Nothing);
        }
    }

    async fn check(&self, what: &str) {
        let newest = self.places.iter().rev().take(PLACES_MAX).take_while(|place| **place != TimelinePlace::Own);
        let expected = newest.filter(|place| **place == TimelinePlace::Counts).count().min(100);
        let (_, all) = list(&self.server, READER, 0).await;
        let found = all.iter().find(|one| one.peer == Some(Peer::GroupId(self.group_id))).unwrap().unread;
        assert_eq!(found as usize, expected, "{what}, of {} places", self.places.len());
    }
}

#[tokio::test]
async fn unread_is_counted_among_the_newest_places_of_a_conversation() {
    for kind in [GroupKind::GkNormal, GroupKind::GkLarge] {
        let server = server().await;
        let group_id = server.make(kind, &[OTHER, READER]).await;
        let is_large = kind == GroupKind::GkLarge;
        let mut timeline = Timeline { server, group_id, is_large, places: vec![TimelinePlace::Nothing], names: 0 };
        timeline.say(READER).await;
        for _ in 0..5 {
            timeline.say(OTHER).await;
        }
        timeline.rename(100).await;
        timeline.check("behind some notices").await;
        let (message_id, place) = (timeline.say(OTHER).await, timeline.places.len() - 1);
        timeline.check("one more").await;
        timeline.recall(message_id, place).await;
        timeline.check("one that was recalled").await;
        timeline.rename(PLACES_MAX - 106).await;
        for count in 0..6 {
            timeline.check(&format!("{count} beyond the newest places")).await;
            timeline.rename(1).await;
        }
        for _ in 0..3 {
            timeline.say(OTHER).await;
        }
        timeline.check("before notices that fill the places").await;
        timeline.say(READER).await;
        timeline.say(OTHER).await;
        timeline.check("after an answer").await;
    }
}
