//! Who was refused, and why: said once, however often they come again. Any task; the time is passed in.
//!
//! Always holds: strangers, who can be many and can find ever new reasons, cause no more lines than [`Seldom`] lets through; and what it
//! kept back was not said, so that it is when they come again.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::seldom::Seldom;

/// Of so many it is known what was said about them; then whoever is known for longest makes room.
const CALLERS_MAX: usize = 1024;
/// So many problems of a caller are said until he is taken.
const PROBLEMS_MAX: usize = 4;
/// Lines at once, as where all nodes of a deployment are started with one mistake.
const LINES_AT_ONCE: u32 = 32;
/// Between two lines after that.
const LINES_INTERVAL: Duration = Duration::from_secs(10);

/// What was said about callers.
#[derive(Debug)]
pub struct RefusedPeers<K> {
    said: Mutex<HashMap<K, Said>>,
    lines: Seldom,
}

#[derive(Debug)]
struct Said {
    since: Instant,
    problems: Vec<String>,
}

impl<K> Default for RefusedPeers<K> {
    fn default() -> Self {
        Self { said: Mutex::default(), lines: Seldom::bursts(LINES_AT_ONCE, LINES_INTERVAL) }
    }
}

impl<K: Eq + Hash + Clone> RefusedPeers<K> {
    /// Whether this is to be said: it was not yet about this caller. With it, how much about anybody was left out since the last that
    /// was to be said.
    pub fn due(&self, caller: &K, problem: &str, now: Instant) -> Option<u64> {
        let mut said = self.lock();
        if said.get(caller).is_some_and(|said| said.knows(problem)) {
            return None;
        }
        let left_out = self.lines.due(now)?;
        if said.len() >= CALLERS_MAX && !said.contains_key(caller) {
            let oldest = said.iter().min_by_key(|(_, said)| said.since).map(|(caller, _)| caller.clone());
            oldest.map(|oldest| said.remove(&oldest));
        }
        let known = said.entry(caller.clone()).or_insert_with(|| Said { since: now, problems: Vec::new() });
        known.problems.push(problem.to_owned());
        Some(left_out)
    }

    /// A caller was taken: what is wrong from now on is news.
    pub fn forget(&self, caller: &K) {
        self.lock().remove(caller);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Said>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Said {
    /// Whether there is nothing to say of it, or nothing more of the caller at all.
    fn knows(&self, problem: &str) -> bool {
        self.problems.len() >= PROBLEMS_MAX || self.problems.iter().any(|said| said == problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_news_once_for_each_caller_until_he_was_taken() {
        let (refused, now) = (RefusedPeers::default(), Instant::now());
        let is_due = |caller, problem| refused.due(&caller, problem, now).is_some();
        assert_eq!([is_due(1, "a"), is_due(1, "a"), is_due(2, "a"), is_due(1, "b")], [true, false, true, true]);
        assert!(!is_due(1, "a"), "two problems by turns are no news");
        refused.forget(&1);
        assert!(is_due(1, "b"));
    }

    #[test]
    fn a_caller_with_ever_new_problems_is_not_heard_any_more() {
        let (refused, begun) = (RefusedPeers::default(), Instant::now());
        let at = |count: u32| begun + count * LINES_INTERVAL;
        let said = (0..100).filter(|&count| refused.due(&1, &count.to_string(), at(count)).is_some()).count();
        assert_eq!(said, PROBLEMS_MAX);
    }

    #[test]
    fn many_callers_cause_a_bounded_number_of_lines_and_none_is_lost() {
        let (refused, begun) = (RefusedPeers::default(), Instant::now());
        let said = (0..10_000).filter(|caller| refused.due(caller, "a", begun).is_some()).count();
        assert_eq!(said, LINES_AT_ONCE as usize);
        let left_out = 10_000 - u64::from(LINES_AT_ONCE);
        assert_eq!(refused.due(&9_999, "a", begun + LINES_INTERVAL), Some(left_out), "it is said when he comes again");
    }

    #[test]
    fn who_is_known_for_longest_makes_room() {
        let (refused, begun) = (RefusedPeers::default(), Instant::now());
        let at = |count: usize| begun + count as u32 * LINES_INTERVAL;
        assert!((0..=CALLERS_MAX).all(|caller| refused.due(&caller, "a", at(caller)).is_some()));
        assert_eq!(refused.lock().len(), CALLERS_MAX);
        assert!(refused.due(&1, "a", at(CALLERS_MAX + 1)).is_none(), "he is known");
        assert!(refused.due(&0, "a", at(CALLERS_MAX + 1)).is_some(), "he was the oldest");
    }
}
