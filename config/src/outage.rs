//! A server that does not answer, as the log tells of it: when it began, with counts at times, and when it is over. Any task; the time is
//! passed in.
//!
//! Always holds: however many calls fail, a line comes only so often; and what began in the log ends in it.

use std::{
    fmt::Display,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Between two lines about the same outage.
const SAY_INTERVAL: Duration = Duration::from_secs(10);

/// So long nothing may fail until it is over: a server that answers some calls is not back.
const QUIET: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug)]
pub struct Outage {
    server: &'static str,
    words: Words,
    /// So that a healthy server costs no lock.
    is_under_way: AtomicBool,
    state: Mutex<Option<UnderWay>>,
}

#[derive(Debug, Clone, Copy)]
struct UnderWay {
    since: Instant,
    failed: Instant,
    said: Instant,
    failures: u64,
}

/// What follows the name of the server.
#[derive(Debug)]
struct Words {
    begins: &'static str,
    goes_on: &'static str,
    ends: &'static str,
}

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct News {
    failures: u64,
    lasted: Duration,
}

impl Outage {
    /// Of `server`, as "the business service"; there is none yet.
    pub fn of(server: &'static str) -> Self {
        Self::with_words(server, Words { begins: "is away", goes_on: "is still away", ends: "answers again" })
    }

    /// The same of a server that is there, and says that it cannot do its part now.
    pub fn of_put_off_calls(server: &'static str) -> Self {
        let words = Words {
            begins: "puts calls off: its log says why",
            goes_on: "still puts calls off: its log says why",
            ends: "puts no calls off any more",
        };
        Self::with_words(server, words)
    }

    /// The same of a server that is there, and is not done with calls in time.
    pub fn of_late_answers(server: &'static str) -> Self {
        let words = Words {
            begins: "does not answer in time",
            goes_on: "still does not answer in time",
            ends: "answers in time again",
        };
        Self::with_words(server, words)
    }

    /// The same of work that goes on in the background, and that the next try may do.
    pub fn of_work(what: &'static str) -> Self {
        let words = Words { begins: "fails", goes_on: "still fails", ends: "succeeds again" };
        Self::with_words(what, words)
    }

    fn with_words(server: &'static str, words: Words) -> Self {
        Self { server, words, is_under_way: AtomicBool::new(false), state: Mutex::default() }
    }

    /// A call failed, which the log tells if it is time.
    pub fn failed(&self, error: &impl Display, now: Instant) {
        match self.note_failure(now) {
            Some(News { failures: 1, .. }) => tracing::warn!(%error, "{} {}", self.server, self.words.begins),
            Some(News { failures, lasted }) => {
                tracing::warn!(%error, failures, for_s = lasted.as_secs(), "{} {}", self.server, self.words.goes_on);
            }
            None => {}
        }
    }

    /// A call was answered.
    pub fn answered(&self, now: Instant) {
        if self.is_under_way.load(Ordering::Relaxed)
            && let Some(News { failures, lasted }) = self.note_answer(now)
        {
            tracing::info!(failures, for_s = lasted.as_secs(), "{} {}", self.server, self.words.ends);
        }
    }

    fn note_failure(&self, now: Instant) -> Option<News> {
        let mut state = self.lock();
        let is_first = state.is_none();
        let outage = state.get_or_insert(UnderWay { since: now, failed: now, said: now, failures: 0 });
        outage.failures += 1;
        outage.failed = now;
        self.is_under_way.store(true, Ordering::Relaxed);
        if !is_first && now.duration_since(outage.said) < SAY_INTERVAL {
            return None;
        }
        outage.said = now;
        Some(News { failures: outage.failures, lasted: now.duration_since(outage.since) })
    }

    fn note_answer(&self, now: Instant) -> Option<News> {
        let mut state = self.lock();
        let outage = state.filter(|outage| now.duration_since(outage.failed) >= QUIET)?;
        *state = None;
        self.is_under_way.store(false, Ordering::Relaxed);
        Some(News { failures: outage.failures, lasted: now.duration_since(outage.since) })
    }

    fn lock(&self) -> MutexGuard<'_, Option<UnderWay>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_when_it_begins_at_times_and_when_it_is_over() {
        let (outage, begun) = (Outage::of("it"), Instant::now());
        let at = |ms: u64| begun + Duration::from_millis(ms);
        let news = |failures, ms| Some(News { failures, lasted: Duration::from_millis(ms) });
        assert_eq!(outage.note_answer(at(0)), None);
        assert_eq!(outage.note_failure(at(0)), news(1, 0));
        let told: Vec<_> = (1..=250).filter_map(|step| outage.note_failure(at(step * 100))).collect();
        assert_eq!(told, [news(101, 10_000).unwrap(), news(201, 20_000).unwrap()]);
        assert_eq!(outage.note_answer(at(25_500)), None, "some calls are answered, others are not");
        assert_eq!(outage.note_failure(at(25_600)), None);
        assert_eq!(outage.note_answer(at(26_600)), news(252, 26_600));
        assert_eq!(outage.note_answer(at(27_000)), None, "it is told once");
        assert_eq!(outage.note_failure(at(27_000)), news(1, 0));
    }
}
