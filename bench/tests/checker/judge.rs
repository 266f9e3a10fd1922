//! What devices saw, and whether that is right. No IO, no clock.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};

/// What a device got and was told.
#[derive(Debug)]
pub struct Seen {
    pub user_id: u64,
    pub inbox: Log,
    /// Of the large group.
    pub timeline: Log,
    pub acknowledged: Vec<Acknowledged>,
    /// The longest that one of them took to be answered.
    pub longest_send: Duration,
}

/// Messages in the order of their seqs, without gaps.
#[derive(Default, PartialEq, Eq)]
pub struct Log {
    /// The seq before the first one.
    before: u64,
    /// Message id and text (none of a notice).
    entries: Vec<(u64, String)>,
}

/// A send that was answered.
#[derive(Debug)]
pub struct Acknowledged {
    pub from: u64,
    /// Whose inboxes it has to be in.
    pub to: Vec<u64>,
    /// In the timeline, and in nobody's inbox.
    pub is_large_group: bool,
    pub text: String,
    pub message_id: u64,
    pub seq: u64,
}

impl Seen {
    pub fn new(user_id: u64) -> Self {
        Self {
            user_id,
            inbox: Log::default(),
            timeline: Log::default(),
            acknowledged: Vec::new(),
            longest_send: Duration::ZERO,
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} messages from seq {} on", self.entries.len(), self.before + 1)
    }
}

impl Log {
    pub fn newest_seq(&self) -> u64 {
        self.before + self.entries.len() as u64
    }

    /// Whoever joins a large group sees what comes after: the first page that has something tells where that is.
    pub fn begin_after(&mut self, seq: u64) {
        if self.entries.is_empty() {
            self.before = seq;
        }
    }

    /// Takes the next message, or checks one that is known. False, and nothing noted, where some before it are missing.
    pub fn note(&mut self, seq: u64, entry: (u64, String), device_id: u64) -> bool {
        if seq > self.newest_seq() + 1 {
            return false;
        }
        if seq == self.newest_seq() + 1 {
            self.entries.push(entry);
        } else {
            assert_eq!(self.at(seq), Some(&entry), "device {device_id}: seq {seq} changed");
        }
        true
    }

    fn at(&self, seq: u64) -> Option<&(u64, String)> {
        self.entries.get(usize::try_from(seq.checked_sub(self.before + 1)?).ok()?)
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(_, text)| text.as_str()).filter(|text| !text.is_empty())
    }
}

/// Checks what all devices saw: every message that was acknowledged is where it belongs, once, at the seq that its sender
/// was told, and the messages of a device are in the order in which it sent them. Returns how many there were.
pub fn judge(seen: &[Seen]) -> u64 {
    let inboxes = one_per_user(seen);
    let timeline = &seen[0].timeline;
    for device in seen {
        assert_same(&device.timeline, timeline, device.user_id);
        assert_order(&device.inbox);
    }
    assert_order(timeline);
    let mut places: HashMap<&str, Vec<Position>> = HashMap::new();
    for (user_id, inbox) in &inboxes {
        inbox.texts().for_each(|text| places.entry(text).or_default().push(Position::Inbox(*user_id)));
    }
    timeline.texts().for_each(|text| places.entry(text).or_default().push(Position::Timeline));

    let mut messages = 0;
    for acknowledged in seen.iter().flat_map(|device| &device.acknowledged) {
        messages += 1;
        let mut found = places.remove(acknowledged.text.as_str()).unwrap_or_default();
        found.sort_unstable();
        assert_eq!(found, acknowledged.places(), "where {acknowledged:?} was found");
        let log = if acknowledged.is_large_group { timeline } else { inboxes[&acknowledged.from] };
        let entry = (acknowledged.message_id, acknowledged.text.clone());
        assert_eq!(log.at(acknowledged.seq), Some(&entry), "{acknowledged:?}");
    }
    assert!(places.is_empty(), "there, but never acknowledged though retried until it was: {places:?}");
    messages
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Position {
    Inbox(u64),
    Timeline,
}

impl Acknowledged {
    fn places(&self) -> Vec<Position> {
        let mut places: Vec<Position> = self.to.iter().map(|&user_id| Position::Inbox(user_id)).collect();
        if self.is_large_group {
            places.push(Position::Timeline);
        }
        places.sort_unstable();
        places
    }
}

fn one_per_user(seen: &[Seen]) -> BTreeMap<u64, &Log> {
    let mut inboxes: BTreeMap<u64, &Log> = BTreeMap::new();
    for device in seen {
        let first = inboxes.entry(device.user_id).or_insert(&device.inbox);
        assert_same(&device.inbox, first, device.user_id);
    }
    inboxes
}

fn assert_same(one: &Log, other: &Log, user_id: u64) {
    let mut pairs = one.entries.iter().zip(&other.entries);
    let difference = pairs.find(|(one, other)| one != other);
    assert!(one == other, "devices of user {user_id} saw {one:?} and {other:?}: {difference:?}");
}

/// The texts of a device are numbered.
fn assert_order(log: &Log) {
    let mut last: HashMap<&str, u64> = HashMap::new();
    for text in log.texts() {
        let (number, device_id) = text.split_once(" of ").expect("it is one of ours");
        let number = number.parse().expect("texts are numbered");
        let before = last.insert(device_id, number).unwrap_or(0);
        assert!(before < number, "{text} came after number {before} of the same device");
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    fn log(texts: &[&str]) -> Log {
        let mut log = Log::default();
        for (index, text) in (0..).zip(texts) {
            assert!(log.note(index + 1, (index + 100, (*text).to_owned()), 1));
        }
        log
    }

    fn acknowledged(text: &str, seq: u64) -> Acknowledged {
        Acknowledged { from: 1, to: vec![1, 2], is_large_group: false, text: text.into(), message_id: seq + 99, seq }
    }

    fn seen(user_id: u64, inbox: &[&str]) -> Seen {
        Seen { inbox: log(inbox), ..Seen::new(user_id) }
    }

    /// What two users saw, the first of whom had both messages acknowledged.
    fn is_right(inboxes: [&[&str]; 2]) -> bool {
        let mut all = [seen(1, inboxes[0]), seen(2, inboxes[1])];
        all[0].acknowledged = vec![acknowledged("1 of 7", 1), acknowledged("2 of 7", 2)];
        let all = std::panic::AssertUnwindSafe(all);
        catch_unwind(|| judge(&all.0)).is_ok()
    }

    #[test]
    fn what_is_lost_doubled_or_in_another_order_is_found() {
        let right: &[&str] = &["1 of 7", "2 of 7"];
        assert!(is_right([right, right]));
        assert!(!is_right([right, &["1 of 7"]]), "lost");
        assert!(!is_right([right, &["1 of 7", "2 of 7", "2 of 7"]]), "doubled");
        assert!(!is_right([right, &["2 of 7", "1 of 7"]]), "reordered");
        assert!(!is_right([right, &["1 of 7", "2 of 7", "3 of 7"]]), "never acknowledged");
        assert!(!is_right([&["2 of 7", "1 of 7"], right]), "not at the seq that was told");
    }

    #[test]
    fn a_gap_is_seen_and_a_changed_message_fails() {
        let mut log = log(&["a", "b"]);
        assert!(!log.note(4, (103, "d".into()), 1));
        assert!(log.note(2, (101, "b".into()), 1));
        let changed = std::panic::AssertUnwindSafe(&mut log);
        assert!(catch_unwind(move || { changed }.0.note(2, (101, "x".into()), 1)).is_err());
    }
}
