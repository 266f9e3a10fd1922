//! Those whom the server sent away because it drains, and when each comes back: where the server said, after the time that it said, as
//! the rules of clients want. Plain data; times are given to it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use gim_proto::{
    ResultCode,
    connect::{CloseNotice, CloseReason},
};

use crate::swarm::{Closed, DEADLINE};

/// Between two tries.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// One who is on the way back.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Absence {
    since: Instant,
    /// Until when it tries.
    until: Instant,
    /// When it tries next; nothing while it is trying.
    due: Option<Instant>,
    tries: usize,
    /// Where the server said that it is taken; empty for anywhere.
    endpoint: String,
}

/// All of them.
#[derive(Debug, Default)]
pub struct SentAway {
    absent: HashMap<usize, Absence>,
    count: u64,
}

impl SentAway {
    /// Takes in that a client was closed; false where that is no reason to come back by itself.
    pub fn take(&mut self, id: usize, why: &Closed, now: Instant) -> bool {
        let drained = match why {
            Closed::Goodbye(notice) if notice.reason == CloseReason::CrServerDraining as i32 => Some(notice),
            _ => None,
        };
        let Some(absence) = self.absent.get_mut(&id) else {
            let Some(CloseNotice { reconnect_after_ms, endpoint, .. }) = drained else { return false };
            let due = now + Duration::from_millis(u64::from(*reconnect_after_ms));
            let absence =
                Absence { since: now, until: due + DEADLINE, due: Some(due), tries: 0, endpoint: endpoint.clone() };
            self.absent.insert(id, absence);
            self.count += 1;
            return true;
        };
        let is_for_good = match why {
            Closed::Refused(reply) => reply.code != ResultCode::TryAgainLater.number(),
            Closed::Malformed | Closed::Layer(_) => true,
            Closed::Goodbye(_) => drained.is_none(),
            Closed::Eof | Closed::Io(_) | Closed::Unreachable(_) => false,
        };
        if is_for_good || now > absence.until {
            return false;
        }
        absence.tries += 1;
        absence.endpoint = drained.map(|notice| notice.endpoint.clone()).unwrap_or_default();
        absence.due = Some(now + RETRY_AFTER);
        true
    }

    /// Somebody who tries now: who, how often before, and where it was told to.
    pub fn due(&mut self, now: Instant) -> Option<(usize, usize, String)> {
        let is_due = |absence: &Absence| absence.due.is_some_and(|due| due <= now);
        let (id, absence) = self.absent.iter_mut().find(|(_, absence)| is_due(absence))?;
        absence.due = None;
        Some((*id, absence.tries, absence.endpoint.clone()))
    }

    /// When the next one tries.
    pub fn next_due(&self) -> Option<Instant> {
        self.absent.values().filter_map(|absence| absence.due).min()
    }

    /// Somebody is signed in: since when it was away, if it was.
    pub fn back(&mut self, id: usize) -> Option<Instant> {
        self.absent.remove(&id).map(|absence| absence.since)
    }

    pub fn contains(&self, id: usize) -> bool {
        self.absent.contains_key(&id)
    }

    /// How many are away.
    pub fn absent(&self) -> usize {
        self.absent.len()
    }

    /// How often somebody was sent away.
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use gim_proto::connect::Reply;

    use super::*;

    fn goodbye(reason: CloseReason, reconnect_after_ms: u32, endpoint: &str) -> Closed {
        let (reason, endpoint) = (reason as i32, endpoint.to_owned());
        Closed::Goodbye(CloseNotice { reason, reconnect_after_ms, endpoint, ..CloseNotice::default() })
    }

    #[test]
    fn who_is_sent_away_comes_back_where_and_when_the_server_says() {
        let (mut away, now) = (SentAway::default(), Instant::now());
        assert!(!away.take(1, &goodbye(CloseReason::CrSlowConsumer, 0, ""), now), "no drain");
        assert!(!away.take(1, &Closed::Eof, now));
        assert!(away.take(1, &goodbye(CloseReason::CrServerDraining, 700, "conn-2:8002"), now));
        let due = now + Duration::from_millis(700);
        assert_eq!((away.due(now), away.next_due()), (None, Some(due)));
        assert_eq!(away.due(due), Some((1, 0, "conn-2:8002".to_owned())));
        assert_eq!((away.due(due), away.next_due()), (None, None), "it is trying");
        assert_eq!((away.back(1), away.back(1), away.absent(), away.count()), (Some(now), None, 0, 1));
    }

    #[test]
    fn a_try_that_fails_is_made_again_elsewhere_until_it_is_too_late() {
        let (mut away, now) = (SentAway::default(), Instant::now());
        assert!(away.take(1, &goodbye(CloseReason::CrServerDraining, 0, "conn-2:8002"), now));
        away.due(now).unwrap();
        assert!(away.take(1, &Closed::Eof, now));
        assert_eq!(away.due(now + RETRY_AFTER), Some((1, 1, String::new())), "that one is gone, too");
        let refused = |code| Closed::Refused(Reply { code, ..Reply::default() });
        assert!(away.take(1, &refused(ResultCode::TryAgainLater.number()), now));
        assert!(!away.take(1, &refused(ResultCode::SignInAgain.number()), now));
        assert!(!away.take(1, &Closed::Eof, now + DEADLINE + RETRY_AFTER));
        assert_eq!(away.count(), 1);
    }
}
