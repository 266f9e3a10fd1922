//! Which messages of a room all of its members have to get, where members are sent away and come back. Rooms have no memory: what is
//! pushed while somebody is away, or in the moment before, is for those who are there. Plain data; times are given to it.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

/// What was pushed so short before somebody left may have met a connection that was closed.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// Of one room.
#[derive(Debug, Default)]
pub struct Attendance {
    /// When each message was meant to leave, and how many have it; in their order.
    pushes: Vec<(Instant, usize)>,
    away: HashSet<usize>,
    /// When somebody was away; the last time may go on.
    gaps: Vec<(Instant, Option<Instant>)>,
}

impl Attendance {
    pub fn pushed(&mut self, intended: Instant) {
        self.pushes.push((intended, 0));
    }

    pub fn delivered(&mut self, intended: Instant) {
        if let Ok(index) = self.pushes.binary_search_by_key(&intended, |(intended, _)| *intended) {
            self.pushes[index].1 += 1;
        }
    }

    /// A member was sent away.
    pub fn left(&mut self, member: usize, now: Instant) {
        if self.away.is_empty() {
            self.gaps.push((now, None));
        }
        self.away.insert(member);
    }

    /// A member is in the room again.
    pub fn entered(&mut self, member: usize, now: Instant) {
        if self.away.remove(&member)
            && self.away.is_empty()
            && let Some((_, end)) = self.gaps.last_mut()
        {
            *end = Some(now);
        }
    }

    /// Deliveries that are missing of messages for all, or of those that somebody was away for.
    pub fn missing(&self, members: usize, while_away: bool) -> u64 {
        let in_a_gap = |intended: Instant| {
            let covers = |&(from, end): &(Instant, Option<Instant>)| {
                intended + ON_ITS_WAY >= from && end.is_none_or(|end| intended <= end)
            };
            self.gaps.iter().any(covers)
        };
        let pushes = self.pushes.iter().filter(|(intended, _)| in_a_gap(*intended) == while_away);
        pushes.map(|(_, delivered)| members.saturating_sub(*delivered) as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_while_a_member_is_away_is_missed_and_not_lost() {
        let (mut attendance, began) = (Attendance::default(), Instant::now());
        let at = |second: u64| began + Duration::from_secs(second);
        for second in 0..10 {
            attendance.pushed(at(second));
        }
        attendance.left(0, at(3));
        attendance.left(1, at(4));
        attendance.entered(0, at(5));
        for second in [0, 1, 8, 9] {
            (0..2).for_each(|_| attendance.delivered(at(second)));
        }
        assert_eq!((attendance.missing(2, false), attendance.missing(2, true)), (0, 12), "until all are back");
        attendance.entered(1, at(6));
        assert_eq!((attendance.missing(2, false), attendance.missing(2, true)), (2, 10));
        attendance.delivered(at(7));
        assert_eq!(attendance.missing(2, false), 1, "one has not got what both were there for");
    }
}
