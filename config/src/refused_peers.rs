//! Who was refused, and why: said once, however often they come again. Any task.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Of so many it is known what was said about them; about those beyond nothing is said, only counted.
const CALLERS_MAX: usize = 1024;

/// What was said about callers.
#[derive(Debug)]
pub struct RefusedPeers<K> {
    said: Mutex<HashMap<K, String>>,
}

impl<K> Default for RefusedPeers<K> {
    fn default() -> Self {
        Self { said: Mutex::default() }
    }
}

impl<K: Eq + Hash> RefusedPeers<K> {
    /// Whether this is to be said: it is not what was said about this caller last.
    pub fn is_news(&self, caller: K, problem: &str) -> bool {
        let mut said = self.lock();
        if said.get(&caller).is_some_and(|last| last == problem)
            || (said.len() >= CALLERS_MAX && !said.contains_key(&caller))
        {
            return false;
        }
        said.insert(caller, problem.to_owned());
        true
    }

    /// A caller was taken: what is wrong from now on is news.
    pub fn forget(&self, caller: &K) {
        self.lock().remove(caller);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, String>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_news_once_for_each_caller_until_he_was_taken() {
        let refused = RefusedPeers::default();
        let news = |caller, problem| refused.is_news(caller, problem);
        assert_eq!([news(1, "a"), news(1, "a"), news(2, "a"), news(1, "b")], [true, false, true, true]);
        refused.forget(&1);
        assert!(news(1, "b"));
    }

    #[test]
    fn callers_beyond_the_bound_are_not_kept() {
        let refused = RefusedPeers::default();
        assert!((0..CALLERS_MAX).all(|caller| refused.is_news(caller, "a")));
        assert!(!refused.is_news(CALLERS_MAX, "a"));
        assert!(refused.is_news(0, "b"), "those known go on");
    }
}
