//! What became of everybody: who is there, since when the others are away, what was stored, and what arrived. Plain data on the main
//! thread.
//!
//! Always holds: a *gap* begins when the first one of all leaves, and ends when all are there again.

use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};

use super::people::{Note, What};
use crate::{
    counts::Counts,
    progress,
    scenario::chats::{Arrival, Got},
    stats::{Latencies, ratio},
};

/// A time in which somebody was away.
#[derive(Debug, Clone, Copy, Default)]
struct Gap {
    lasted: Duration,
    returns: u64,
    /// From the first one who was back to the last.
    returned_within: Duration,
}

/// The gap that is open.
#[derive(Debug, Clone, Copy)]
struct OpenGap {
    since: Instant,
    first_back: Option<Instant>,
    returns: u64,
}

/// What became of everybody.
#[derive(Debug)]
pub struct Ledger {
    /// Who has begun and is away, since when.
    away_since: Vec<Option<Instant>>,
    live: usize,
    /// Whether the time has come from which on it counts who leaves.
    has_begun: bool,
    left: u64,
    absences: Latencies,
    open: Option<OpenGap>,
    longest: Gap,
    durable: Latencies,
    arrival: Latencies,
    /// What those who write have of the other one of their pair.
    got: Vec<Got>,
    stored: u64,
    received: u64,
    duplicates: u64,
    reordered: u64,
    failed: u64,
    first_failure: Option<String>,
    /// How many were sent in all, once that is known.
    sent: Option<u64>,
}

impl Ledger {
    /// Of so many people, of whom the first ones write.
    pub fn new(people: usize, writing: usize) -> Self {
        Self {
            away_since: vec![None; people],
            live: 0,
            has_begun: false,
            left: 0,
            absences: Latencies::default(),
            open: None,
            longest: Gap::default(),
            durable: Latencies::default(),
            arrival: Latencies::default(),
            got: (0..writing).map(|_| Got::default()).collect(),
            stored: 0,
            received: 0,
            duplicates: 0,
            reordered: 0,
            failed: 0,
            first_failure: None,
            sent: None,
        }
    }

    /// How many are signed in.
    pub fn live(&self) -> usize {
        self.live
    }

    /// All are there; who leaves from now on counts.
    pub fn begin(&mut self) {
        self.has_begun = true;
    }

    /// Nothing more is sent.
    pub fn end(&mut self, sent: u64) {
        self.sent = Some(sent);
    }

    /// Whether all is stored and has arrived, and everybody is there.
    pub fn is_settled(&self) -> bool {
        let is_answered = self.sent.is_some_and(|sent| self.stored + self.failed >= sent);
        is_answered && self.received >= self.stored && self.live == self.away_since.len()
    }

    pub fn summary(&self) -> String {
        format!("{} of {} people, {} messages stored", self.live, self.away_since.len(), self.stored)
    }

    /// Takes a note; an error where a client will not come back.
    pub fn take(&mut self, note: Note) -> anyhow::Result<()> {
        let Note { person, at, what } = note;
        match what {
            What::Live => self.is_back(person, at),
            What::Away => self.has_left(person, at),
            What::Ended(why) => bail!("the server sent a client away for good: {why}"),
            What::Stored(intended) => {
                self.stored += 1;
                self.durable.record(at.saturating_duration_since(intended));
            }
            What::Failed(why) => {
                self.failed += 1;
                self.first_failure.get_or_insert(why);
            }
            What::Got(number, intended) => {
                let got =
                    self.got.get_mut(person).ok_or_else(|| anyhow!("somebody got a message who is in no pair"))?;
                match got.take(number) {
                    Arrival::Next => {}
                    Arrival::Late => self.reordered += 1,
                    Arrival::Again => {
                        self.duplicates += 1;
                        return Ok(());
                    }
                }
                self.received += 1;
                self.arrival.record(at.saturating_duration_since(intended));
            }
        }
        Ok(())
    }

    fn has_left(&mut self, person: usize, at: Instant) {
        self.live -= 1;
        progress::set_standing(self.live as u64);
        self.away_since[person] = Some(at);
        if self.has_begun {
            self.left += 1;
            self.open.get_or_insert(OpenGap { since: at, first_back: None, returns: 0 });
        }
    }

    fn is_back(&mut self, person: usize, at: Instant) {
        self.live += 1;
        progress::set_standing(self.live as u64);
        let since = self.away_since[person].take();
        let Some(open) = &mut self.open else { return };
        if let Some(since) = since {
            self.absences.record(at.saturating_duration_since(since));
        }
        open.returns += 1;
        let first_back = *open.first_back.get_or_insert(at);
        if self.live == self.away_since.len() {
            let lasted = at.saturating_duration_since(open.since);
            let returned_within = at.saturating_duration_since(first_back);
            let gap = Gap { lasted, returns: open.returns, returned_within };
            if gap.lasted > self.longest.lasted {
                self.longest = gap;
            }
            self.open = None;
        }
    }

    /// Adds what became of everybody in a time that lasted so long.
    pub fn count(&self, counts: &mut Counts, lasted: Duration) {
        let (people, sent) = (self.away_since.len(), self.sent.unwrap_or_default());
        counts.add("connections", people as f64);
        counts.add("left", self.left as f64);
        counts.add_latencies("absences", &self.absences);
        if self.longest.returns > 0 {
            counts.add("gap_seconds", self.longest.lasted.as_secs_f64());
            counts.add("gap_returns", self.longest.returns as f64);
            let rate = ratio(self.longest.returns as f64, self.longest.returned_within.as_secs_f64());
            counts.add_rate("gap_returns_per_second", rate);
        }
        counts.add_rate("sends", ratio(self.stored as f64, lasted.as_secs_f64()));
        counts.add_latencies("durable", &self.durable);
        counts.add_latencies("arrival", &self.arrival);
        for (key, count) in [
            ("away", (people - self.live) as u64),
            ("failed", self.failed),
            ("lost", self.stored.saturating_sub(self.received)),
            ("duplicates", self.duplicates),
            ("reordered", self.reordered),
            ("unanswered", sent.saturating_sub(self.stored + self.failed)),
        ] {
            counts.add(key, count as f64);
        }
    }

    /// Why the first send was refused that was.
    pub fn first_failure(&self) -> Option<&str> {
        self.first_failure.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Clock(Instant);

    impl Clock {
        fn note(&self, second: u64, person: usize, what: What) -> Note {
            Note { person, at: self.at(second), what }
        }

        fn at(&self, second: u64) -> Instant {
            self.0 + Duration::from_secs(second)
        }
    }

    fn of_two(clock: &Clock) -> Ledger {
        let mut ledger = Ledger::new(2, 2);
        for person in 0..2 {
            ledger.take(clock.note(0, person, What::Live)).unwrap();
        }
        ledger.begin();
        ledger
    }

    fn counts(ledger: &Ledger) -> Counts {
        let mut counts = Counts::default();
        ledger.count(&mut counts, Duration::from_secs(10));
        counts
    }

    #[test]
    fn a_gap_lasts_from_the_first_who_leaves_to_the_last_who_is_back() {
        let clock = Clock(Instant::now());
        let mut ledger = of_two(&clock);
        for (second, person, what) in
            [(1, 0, What::Away), (2, 1, What::Away), (4, 0, What::Live), (6, 1, What::Live), (7, 0, What::Away)]
        {
            ledger.take(clock.note(second, person, what)).unwrap();
        }
        let counts = counts(&ledger);
        assert_eq!(["left", "gap_seconds", "gap_returns", "away"].map(|key| counts.count(key)), [3, 5, 2, 1]);
        assert_eq!(counts.get("gap_returns_per_second"), Some(1.0), "two from the fourth second to the sixth");
        assert!((counts.latencies("absences").ms(1.0) - 4000.0).abs() < 10.0);
    }

    #[test]
    fn it_is_settled_when_all_is_there_that_was_sent_and_everybody_as_well() {
        let clock = Clock(Instant::now());
        let mut ledger = of_two(&clock);
        ledger.take(clock.note(3, 0, What::Stored(clock.at(1)))).unwrap();
        ledger.end(2);
        let unanswered = counts(&ledger);
        assert_eq!(["unanswered", "lost"].map(|key| unanswered.count(key)), [1, 1]);
        ledger.take(clock.note(3, 1, What::Failed("no".into()))).unwrap();
        ledger.take(clock.note(3, 1, What::Got(1, clock.at(1)))).unwrap();
        assert!(ledger.is_settled());
        ledger.take(clock.note(4, 1, What::Got(1, clock.at(1)))).unwrap();
        ledger.take(clock.note(5, 1, What::Away)).unwrap();
        assert!(!ledger.is_settled());
        assert_eq!((counts(&ledger).count("duplicates"), ledger.first_failure()), (1, Some("no")));
    }

    #[test]
    fn a_client_that_may_not_come_back_ends_the_run() {
        let clock = Clock(Instant::now());
        let error = of_two(&clock).take(clock.note(1, 0, What::Ended("replaced".into()))).unwrap_err();
        assert_eq!(error.to_string(), "the server sent a client away for good: replaced");
    }
}
