//! Whose file somebody is asked about next, and how often. Pure: times are arguments, whose contents wait is known elsewhere.
//!
//! Calls have places of two kinds. Most are for what nobody was asked about before. The others, a quarter, are for all else as well: for
//! what was asked about in vain, and for the new files of users about one of whose files somebody was asked in vain lately. So files over
//! which whoever is asked never answers take those few places, and new files of others have the rest. Always holds: in each kind users have
//! turns, and one of them takes no place that would leave fewer to others than she has.

use std::collections::HashMap;

/// How long new files of a user wait for the few places, after one of hers was asked about in vain.
const DOUBTFUL_FOR_MS: i64 = 600_000;
/// Users of whom that is remembered; of more, the last ones.
const DOUBTFUL_MAX: usize = 256;

/// What is asked about again waits so long at first, and up to so long: twice as long each time.
const WAIT_MS_MIN: i64 = 5_000;
const WAIT_MS_MAX: i64 = 600_000;

/// The kinds of places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// For what nobody was asked about before.
    New,
    /// For whatever waits.
    Any,
}

/// The places, whose they are, and whose turn it is.
#[derive(Debug)]
pub struct CheckTurns {
    new: Share,
    any: Share,
    /// Users whose files were asked about in vain, until when that counts.
    doubtful: HashMap<u64, i64>,
}

/// The places of a kind.
#[derive(Debug)]
struct Share {
    free: usize,
    taken: HashMap<u64, usize>,
    /// Turns go up from this user, and begin again.
    next_user: u64,
}

impl CheckTurns {
    /// So many places in all; a single one is for whatever waits.
    pub fn new(places: usize) -> Self {
        let any = (places / 4).max(1);
        Self { new: Share::new(places.saturating_sub(any)), any: Share::new(any), doubtful: HashMap::new() }
    }

    /// From which user on somebody is looked for who has a turn, where a place is free.
    pub fn next_user(&self, kind: Kind) -> Option<u64> {
        let share = self.share(kind);
        (share.free > 0).then_some(share.next_user)
    }

    /// Whether a user may have a free place of this kind.
    pub fn may_take(&self, kind: Kind, user_id: u64, now_ms: i64) -> bool {
        let is_doubtful = self.doubtful.get(&user_id).is_some_and(|until_ms| *until_ms > now_ms);
        let share = self.share(kind);
        share.taken_by(user_id) < share.free && (kind == Kind::Any || !is_doubtful)
    }

    /// Gives a user a place; the next turn is that of the next user.
    pub fn take(&mut self, kind: Kind, user_id: u64) {
        let share = self.share_mut(kind);
        share.free -= 1;
        *share.taken.entry(user_id).or_default() += 1;
        share.next_user = user_id + 1;
    }

    /// The call is over.
    pub fn give_back(&mut self, kind: Kind, user_id: u64) {
        let share = self.share_mut(kind);
        share.free += 1;
        match share.taken_by(user_id) {
            0 | 1 => share.taken.remove(&user_id),
            taken => share.taken.insert(user_id, taken - 1),
        };
    }

    /// Nobody answered about a file of this user.
    pub fn doubt(&mut self, user_id: u64, now_ms: i64) {
        self.doubtful.retain(|_, until_ms| *until_ms > now_ms);
        self.doubtful.insert(user_id, now_ms + DOUBTFUL_FOR_MS);
        if self.doubtful.len() > DOUBTFUL_MAX {
            let first = self.doubtful.iter().min_by_key(|(_, until_ms)| **until_ms).map(|(user_id, _)| *user_id);
            first.map(|user_id| self.doubtful.remove(&user_id));
        }
    }

    fn share(&self, kind: Kind) -> &Share {
        match kind {
            Kind::New => &self.new,
            Kind::Any => &self.any,
        }
    }

    fn share_mut(&mut self, kind: Kind) -> &mut Share {
        match kind {
            Kind::New => &mut self.new,
            Kind::Any => &mut self.any,
        }
    }
}

impl Share {
    fn new(places: usize) -> Self {
        Self { free: places, taken: HashMap::new(), next_user: 0 }
    }

    fn taken_by(&self, user_id: u64) -> usize {
        self.taken.get(&user_id).copied().unwrap_or_default()
    }
}

/// How long a content waits about which nobody answered so often.
pub fn wait_ms(failed_checks: u32) -> i64 {
    let doublings = failed_checks.saturating_sub(1).min(16);
    (WAIT_MS_MIN << doublings).min(WAIT_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many places as these users take, one after the other by turns, until none of them may have one.
    fn fill(turns: &mut CheckTurns, kind: Kind, users: &[u64], now_ms: i64) -> Vec<usize> {
        let mut taken = vec![0; users.len()];
        while let Some(from) = turns.next_user(kind) {
            let in_turn = users.iter().filter(|user| **user >= from).chain(users);
            let Some(user) = in_turn.copied().find(|user| turns.may_take(kind, *user, now_ms)) else { break };
            turns.take(kind, user);
            taken[users.iter().position(|other| *other == user).unwrap()] += 1;
        }
        taken
    }

    #[test]
    fn few_users_leave_a_place_to_others_whatever_they_have() {
        let filled = |places, users: &[u64]| fill(&mut CheckTurns::new(places), Kind::New, users, 0);
        assert_eq!(filled(8, &[7]), [3], "as many are left");
        // By turns: one each, two each, and the last one of six to nobody, as both have more than that.
        assert_eq!(filled(8, &[7, 8]), [2, 2]);
        for places in 1..=64 {
            let turns = CheckTurns::new(places);
            assert_eq!(turns.new.free + turns.any.free, places);
            let one: usize = filled(places, &[7]).iter().sum();
            assert!(one <= turns.new.free.div_ceil(2), "{places}: one user has half of them at most");
        }
    }

    #[test]
    fn users_have_turns_in_each_kind() {
        let mut turns = CheckTurns::new(64);
        for user in [1, 5, 9] {
            assert!(turns.next_user(Kind::New).unwrap() <= user);
            turns.take(Kind::New, user);
            assert_eq!(turns.next_user(Kind::New), Some(user + 1), "the next one is somebody else");
        }
        assert_eq!(turns.next_user(Kind::Any), Some(0));
        for user in [1, 5, 9] {
            turns.give_back(Kind::New, user);
        }
        assert!(turns.new.taken.is_empty() && turns.new.free == 48);
    }

    #[test]
    fn files_that_are_asked_about_in_vain_take_only_the_few_places() {
        let mut turns = CheckTurns::new(8);
        let hanging: Vec<u64> = (1..=200).collect();
        for user in &hanging {
            turns.doubt(*user, 0);
        }
        assert_eq!(fill(&mut turns, Kind::New, &hanging, 1).iter().sum::<usize>(), 0);
        assert_eq!(fill(&mut turns, Kind::Any, &hanging, 1).iter().sum::<usize>(), 2);
        assert_eq!(turns.next_user(Kind::Any), None);
        assert!(turns.may_take(Kind::New, 300, 1), "somebody else's new file is asked about at once");
        assert!(turns.may_take(Kind::New, 1, DOUBTFUL_FOR_MS), "not for ever");
    }

    #[test]
    fn no_more_users_are_remembered_than_there_is_room_for() {
        let mut turns = CheckTurns::new(8);
        for user in 0..10 * DOUBTFUL_MAX as u64 {
            turns.doubt(user, user as i64);
        }
        assert_eq!(turns.doubtful.len(), DOUBTFUL_MAX);
        assert!(!turns.doubtful.contains_key(&0), "the oldest goes");
        turns.doubt(0, i64::MAX / 2);
        assert_eq!(turns.doubtful.len(), 1, "and so does what is over");
    }

    #[test]
    fn what_nobody_answers_about_waits_longer_each_time() {
        let waits: Vec<i64> = [1, 2, 3, 7, 8, 9, u32::MAX].into_iter().map(wait_ms).collect();
        assert_eq!(waits, [5_000, 10_000, 20_000, 320_000, 600_000, 600_000, 600_000]);
    }
}
