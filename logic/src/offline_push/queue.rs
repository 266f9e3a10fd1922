//! What waits for one sender: by turns of those who caused it, and held where its destination takes nothing for now.
//!
//! Pure, with the time passed in. Always holds: so many wait at most, and of what one user caused a share of that; of a conversation a device
//! has one push here, and what comes while that one is being handed out waits behind it; a destination that fails holds back its own pushes
//! alone.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    time::Instant,
};

use super::{
    decision::{Candidate, PushKey},
    destinations::{Destination, Destinations},
};

/// One user causes so much of what may wait at most: one of so many parts.
const SHARES: usize = 8;

/// Batches that are tried again in one look, and pushes that are freed of a destination that was held.
const LOOKED_AT_MAX: usize = 256;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct PushQueue {
    entries_max: usize,
    entries: HashMap<PushKey, Entry>,
    /// By who caused it: what waits for a turn, and how much there is in all.
    flows: HashMap<u64, Flow>,
    turns: VecDeque<u64>,
    /// What waits for a destination.
    held: HashMap<Destination, VecDeque<PushKey>>,
    /// What is tried again, and when.
    again: BinaryHeap<Reverse<Again>>,
    made: u64,
}

#[derive(Debug, Default)]
struct Flow {
    keys: VecDeque<PushKey>,
    entries: usize,
}

#[derive(Debug)]
struct Entry {
    candidate: Candidate,
    place: Destination,
    payer: u64,
    is_taken: bool,
    /// What came while it was being handed out.
    behind: Option<(Candidate, Destination)>,
}

/// Pushes that are handed out by one call, and stay together until they are taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PushBatch {
    pub keys: Vec<PushKey>,
    pub place: Destination,
    /// Calls that were made for it.
    pub attempts: u32,
    /// Whether all of it is claimed.
    pub is_claimed: bool,
    /// When it was first handed out, Unix milliseconds; 0 for not yet.
    pub made_at_ms: i64,
    /// What each said to be unread then; nothing for not yet.
    pub badges: Vec<u32>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Again {
    due: Instant,
    number: u64,
    batch: PushBatch,
}

impl PushQueue {
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            entries_max,
            entries: HashMap::new(),
            flows: HashMap::new(),
            turns: VecDeque::new(),
            held: HashMap::new(),
            again: BinaryHeap::new(),
            made: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The first message that anything waits about, or is being handed out.
    pub(super) fn first_id(&self) -> Option<u64> {
        let first = |candidate: &Candidate| candidate.first.message_id;
        let of = |entry: &Entry| {
            let behind = entry.behind.as_ref().map_or(u64::MAX, |(candidate, _)| first(candidate));
            first(&entry.candidate).min(behind)
        };
        self.entries.values().map(of).min()
    }

    pub(super) fn get(&self, key: &PushKey) -> Option<&Candidate> {
        self.entries.get(key).map(|entry| &entry.candidate)
    }

    /// Puts a push in; false where there is no place for it.
    pub(super) fn put(&mut self, candidate: Candidate, place: Destination) -> bool {
        let key = candidate.key;
        match self.entries.get_mut(&key) {
            Some(Entry { is_taken: true, behind: Some((behind, _)), .. }) => behind.absorb(candidate),
            Some(entry) if entry.is_taken => entry.behind = Some((candidate, place)),
            Some(entry) => entry.candidate.absorb(candidate),
            None => return self.add(candidate, place),
        }
        true
    }

    fn add(&mut self, candidate: Candidate, place: Destination) -> bool {
        let (key, payer) = (candidate.key, candidate.newest.sender_id);
        let of_payer = self.flows.get(&payer).map_or(0, |flow| flow.entries);
        // Services are trusted, and share one flow.
        let share = if payer == 0 { self.entries_max } else { self.entries_max.div_ceil(SHARES) };
        if self.entries.len() >= self.entries_max || of_payer >= share {
            return false;
        }
        self.flows.entry(payer).or_default().entries += 1;
        self.entries.insert(key, Entry { candidate, place, payer, is_taken: false, behind: None });
        self.wait(key, payer);
        true
    }

    /// Waits for a turn.
    fn wait(&mut self, key: PushKey, payer: u64) {
        let flow = self.flows.entry(payer).or_default();
        if flow.keys.is_empty() {
            self.turns.push_back(payer);
        }
        flow.keys.push_back(key);
    }

    /// What may be handed out now: so many calls of so many pushes at most, each with a place at its destination.
    pub(super) fn take(
        &mut self,
        now: Instant,
        (calls_max, batch_max): (usize, usize),
        destinations: &mut Destinations,
    ) -> Vec<PushBatch> {
        let mut batches = self.take_again(now, calls_max, destinations);
        if batch_max == 1 {
            batches = batches.into_iter().map(|batch| self.renewed(batch)).collect();
        }
        self.free_held(now, destinations);
        while batches.len() < calls_max
            && let Some(batch) = self.take_new(now, batch_max, destinations)
        {
            batches.push(batch);
        }
        batches
    }

    fn take_again(&mut self, now: Instant, calls_max: usize, destinations: &mut Destinations) -> Vec<PushBatch> {
        let (mut batches, mut put_off) = (Vec::new(), Vec::new());
        while batches.len() < calls_max
            && put_off.len() < LOOKED_AT_MAX
            && self.again.peek().is_some_and(|Reverse(again)| again.due <= now)
            && let Some(Reverse(again)) = self.again.pop()
        {
            match destinations.take_place(&again.batch.place, now) {
                true => batches.push(again.batch),
                false => put_off.push(again.batch),
            }
        }
        let later = now + Destinations::LOOK_INTERVAL;
        put_off.into_iter().for_each(|batch| self.try_again(batch, later));
        batches
    }

    /// What came behind a push that goes by itself takes its place. A call with several is repeated as it was.
    fn renewed(&mut self, mut batch: PushBatch) -> PushBatch {
        if let [key] = batch.keys[..]
            && let Some(entry) = self.entries.get_mut(&key)
            && entry.behind.as_ref().is_some_and(|(_, place)| *place == entry.place)
            && let Some((behind, _)) = entry.behind.take()
        {
            entry.candidate.absorb(behind);
            (batch.is_claimed, batch.made_at_ms) = (false, 0);
            batch.badges.clear();
        }
        batch
    }

    /// Of destinations that take something again.
    fn free_held(&mut self, now: Instant, destinations: &Destinations) {
        let free: Vec<Destination> =
            self.held.keys().filter(|place| destinations.has_place(place, now)).cloned().collect();
        for place in free {
            let Some(held) = self.held.get_mut(&place) else { continue };
            let count = held.len().min(LOOKED_AT_MAX);
            let keys: Vec<PushKey> = held.drain(..count).collect();
            if held.is_empty() {
                self.held.remove(&place);
            }
            for key in keys {
                if let Some(payer) = self.entries.get(&key).map(|entry| entry.payer) {
                    self.wait(key, payer);
                }
            }
        }
    }

    fn take_new(&mut self, now: Instant, batch_max: usize, destinations: &mut Destinations) -> Option<PushBatch> {
        let mut batch: Option<PushBatch> = None;
        loop {
            if let Some(batch) = batch.take_if(|batch| batch.keys.len() >= batch_max) {
                return Some(batch);
            }
            let Some((key, payer)) = self.next() else { return batch };
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            match &mut batch {
                Some(batch) if batch.place == entry.place => batch.keys.push(key),
                Some(_) => {
                    self.wait(key, payer);
                    return batch;
                }
                None if destinations.take_place(&entry.place, now) => {
                    let (keys, place) = (vec![key], entry.place.clone());
                    batch = Some(PushBatch {
                        keys,
                        place,
                        attempts: 0,
                        is_claimed: false,
                        made_at_ms: 0,
                        badges: Vec::new(),
                    });
                }
                None => {
                    self.held.entry(entry.place.clone()).or_default().push_back(key);
                    continue;
                }
            }
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.is_taken = true;
            }
        }
    }

    /// Whose turn it is, and what is first there.
    fn next(&mut self) -> Option<(PushKey, u64)> {
        let payer = self.turns.pop_front()?;
        let flow = self.flows.get_mut(&payer)?;
        let key = flow.keys.pop_front()?;
        if !flow.keys.is_empty() {
            self.turns.push_back(payer);
        }
        Some((key, payer))
    }

    /// A batch is handed out once more, as it is.
    pub(super) fn try_again(&mut self, batch: PushBatch, due: Instant) {
        self.made += 1;
        self.again.push(Reverse(Again { due, number: self.made, batch }));
    }

    /// It is seen to; what came behind it meanwhile waits for a turn.
    pub(super) fn done(&mut self, key: &PushKey) {
        let Some(entry) = self.entries.remove(key) else { return };
        if let Some(flow) = self.flows.get_mut(&entry.payer) {
            flow.entries -= 1;
            if flow.entries == 0 && flow.keys.is_empty() {
                self.flows.remove(&entry.payer);
            }
        }
        if let Some((behind, place)) = entry.behind {
            self.add(behind, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::decision::samples::candidate, *};

    fn at(place: &str) -> Destination {
        place.into()
    }

    /// The messages that are taken, call by call.
    fn taken(queue: &mut PushQueue, destinations: &mut Destinations, calls: usize, now: Instant) -> Vec<PushBatch> {
        queue.take(now, (calls, 1), destinations)
    }

    fn ids(queue: &PushQueue, batches: &[PushBatch]) -> Vec<u64> {
        let keys = batches.iter().flat_map(|batch| &batch.keys);
        keys.filter_map(|key| queue.get(key)).map(|candidate| candidate.newest.message_id).collect()
    }

    #[test]
    fn who_causes_much_has_a_share_and_others_are_next() {
        let (mut queue, mut destinations, now) = (PushQueue::new(16), Destinations::new(10), Instant::now());
        for device_id in 1..=3 {
            assert_eq!(queue.put(candidate(8, device_id, device_id), at("")), device_id <= 2, "{device_id}");
        }
        assert!(queue.put(candidate(9, 1, 30), at("")) && queue.put(candidate(9, 2, 31), at("")));
        let batches = taken(&mut queue, &mut destinations, 4, now);
        assert_eq!(ids(&queue, &batches), [1, 30, 2, 31]);
        batches.iter().flat_map(|batch| &batch.keys).for_each(|key| queue.done(key));
        assert_eq!((queue.len(), queue.first_id()), (0, None));
        assert!(queue.put(candidate(8, 3, 3), at("")), "there is room again");
    }

    #[test]
    fn a_destination_that_fails_holds_back_its_own_pushes_alone() {
        let (mut queue, mut destinations, now) = (PushQueue::new(100), Destinations::new(2), Instant::now());
        for number in 0..4 {
            assert!(queue.put(candidate(8 + number, number, number), at("dead")));
            assert!(queue.put(candidate(8 + number, 10 + number, 10 + number), at("alive")));
        }
        let batches = taken(&mut queue, &mut destinations, 10, now);
        let of = |name: &str| batches.iter().filter(|batch| batch.place == at(name)).count();
        assert_eq!((of("dead"), of("alive")), (2, 2), "two places each");
        for batch in &batches {
            let is_dead = batch.place == at("dead");
            destinations.give_back(&batch.place);
            match is_dead {
                true => (0..4).for_each(|_| destinations.failed(&batch.place, None, now)),
                false => destinations.worked(&batch.place),
            }
        }
        let batches = taken(&mut queue, &mut destinations, 10, now);
        assert_eq!(ids(&queue, &batches), [12, 13], "nothing for who is dead");
        let later = now + Duration::from_secs(3600);
        let batches = taken(&mut queue, &mut destinations, 10, later);
        assert_eq!(batches.len(), 1, "one call shows whether it is back");
    }

    #[test]
    fn what_comes_while_one_is_handed_out_waits_behind_it() {
        let (mut queue, mut destinations, now) = (PushQueue::new(100), Destinations::new(10), Instant::now());
        assert!(queue.put(candidate(8, 1, 1), at("")) && queue.put(candidate(8, 1, 2), at("")));
        let mut batch = taken(&mut queue, &mut destinations, 10, now).remove(0);
        assert_eq!((queue.len(), queue.get(&batch.keys[0]).unwrap().messages), (1, 2));
        assert!(queue.put(candidate(8, 1, 3), at("")) && queue.put(candidate(8, 1, 4), at("")));
        assert!(taken(&mut queue, &mut destinations, 10, now).is_empty());
        batch.is_claimed = true;
        queue.try_again(batch, now);
        let batches = taken(&mut queue, &mut destinations, 10, now);
        assert_eq!((ids(&queue, &batches), batches[0].is_claimed), (vec![4], false), "one push tells of all");
        assert!(queue.put(candidate(8, 1, 5), at("")));
        queue.done(&batches[0].keys[0]);
        let batches = taken(&mut queue, &mut destinations, 10, now);
        assert_eq!(ids(&queue, &batches), [5]);
    }

    #[test]
    fn pushes_of_one_call_stay_together() {
        let (mut queue, mut destinations, now) = (PushQueue::new(100), Destinations::new(10), Instant::now());
        for device_id in 1..=5 {
            assert!(queue.put(candidate(8, device_id, device_id), at("")));
        }
        let mut batches = queue.take(now, (1, 3), &mut destinations);
        let first = batches.remove(0);
        assert_eq!(first.keys.len(), 3);
        queue.try_again(first.clone(), now);
        let batches = queue.take(now, (2, 3), &mut destinations);
        assert_eq!((&batches[0].keys, batches[1].keys.len()), (&first.keys, 2));
    }
}
