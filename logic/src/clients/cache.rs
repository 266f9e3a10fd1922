//! A bounded cache whose entries all live equally long, so that the oldest is also the first to go. Any task.

use std::{
    collections::VecDeque,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use foldhash::HashMap;

/// The cache.
#[derive(Debug)]
pub struct TtlCache<K, V> {
    ttl: Duration,
    /// How long after it was put an entry can be had, if it is asked for so.
    kept: Duration,
    entries_max: usize,
    state: Mutex<State<K, V>>,
}

#[derive(Debug)]
struct State<K, V> {
    entries: HashMap<K, (V, Instant)>,
    /// Keys by the time they were put; one that was put again stands here once more, until these are half of all.
    by_age: VecDeque<(K, Instant)>,
    /// What was put before is not found any more, but by [`TtlCache::get_kept`].
    doubted_before: Option<Instant>,
}

impl<K: Clone + Eq + Hash, V: Clone> TtlCache<K, V> {
    /// An empty cache. With a `ttl` of zero nothing is found in it, but by [`Self::get_kept`].
    pub fn new(ttl: Duration, entries_max: usize) -> Self {
        let state = State { entries: HashMap::default(), by_age: VecDeque::new(), doubted_before: None };
        Self { ttl, kept: ttl, entries_max, state: Mutex::new(state) }
    }

    /// The same, whose entries [`Self::get_kept`] finds for longer than they live.
    pub fn keeping(self, kept: Duration) -> Self {
        Self { kept: kept.max(self.ttl), ..self }
    }

    /// What was put under a key less than the time to live ago.
    pub fn get(&self, key: &K, now: Instant) -> Option<V> {
        self.get_within(self.ttl, key, now, |state, put_at| state.doubted_before.is_none_or(|before| put_at > before))
    }

    /// What was put under a key last, unless that is too long ago even for those that are kept.
    pub fn get_kept(&self, key: &K, now: Instant) -> Option<V> {
        self.get_within(self.kept, key, now, |_, _| true)
    }

    fn get_within(
        &self,
        age: Duration,
        key: &K,
        now: Instant,
        is_good: impl Fn(&State<K, V>, Instant) -> bool,
    ) -> Option<V> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, put_at) = state.entries.get(key)?;
        (now.saturating_duration_since(*put_at) < age && is_good(&state, *put_at)).then(|| value.clone())
    }

    /// Puts a value under a key, and forgets what is over or too much.
    pub fn put(&self, key: K, value: V, now: Instant) {
        if self.kept.is_zero() {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.entries.insert(key.clone(), (value, now));
        state.by_age.push_back((key, now));
        while let Some((_, put_at)) = state.by_age.front()
            && (state.entries.len() > self.entries_max || now.saturating_duration_since(*put_at) >= self.kept)
        {
            state.forget_oldest();
        }
        if state.by_age.len() > 2 * self.entries_max {
            let State { entries, by_age, .. } = &mut *state;
            by_age.retain(|(key, put_at)| entries.get(key).is_some_and(|(_, newest)| newest == put_at));
        }
    }
}

impl<K: Eq + Hash, V> TtlCache<K, V> {
    /// Forgets what stands under a key.
    pub fn forget(&self, key: &K) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).entries.remove(key);
    }

    /// What was put until now counts only for [`Self::get_kept`].
    pub fn doubt(&self, now: Instant) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).doubted_before = Some(now);
    }

    /// Forgets every key that `is_over` names. Looks through all of them: for what happens seldom.
    pub fn forget_where(&self, is_over: impl Fn(&K) -> bool) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).entries.retain(|key, _| !is_over(key));
    }
}

impl<K: Eq + Hash, V> State<K, V> {
    fn forget_oldest(&mut self) {
        let Some((key, put_at)) = self.by_age.pop_front() else { return };
        if self.entries.get(&key).is_some_and(|(_, newest)| *newest == put_at) {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(5);

    #[test]
    fn entries_end_with_their_time() {
        let (cache, start) = (TtlCache::new(TTL, 10), Instant::now());
        cache.put(1, 'a', start);
        assert_eq!(cache.get(&1, start + TTL / 2), Some('a'));
        assert_eq!(cache.get(&1, start + TTL), None);
        cache.put(1, 'b', start + TTL / 2);
        cache.put(2, 'c', start + TTL);
        assert_eq!(cache.get(&1, start + TTL), Some('b'), "a renewed entry outlives its first time");
    }

    #[test]
    fn what_is_kept_is_found_beyond_its_time_where_it_is_asked_for() {
        let (cache, start) = (TtlCache::new(TTL, 10).keeping(TTL * 3), Instant::now());
        cache.put(1, 'a', start);
        cache.put(2, 'b', start + TTL);
        let found = |now| (cache.get(&1, now), cache.get_kept(&1, now));
        assert_eq!(found(start + TTL), (None, Some('a')));
        assert_eq!(found(start + TTL * 3), (None, None));
        cache.forget(&2);
        assert_eq!(cache.get_kept(&2, start + TTL), None);
    }

    #[test]
    fn what_is_put_again_and_again_drives_nobody_out() {
        let (cache, start) = (TtlCache::new(TTL, 10).keeping(TTL * 1_000), Instant::now());
        cache.put(0, 'a', start);
        for step in 1..=100 {
            cache.put(1 + step % 9, 'b', start + TTL * step);
        }
        assert_eq!(cache.get_kept(&0, start + TTL * 100), Some('a'));
        assert!(cache.state.lock().unwrap().by_age.len() <= 20);
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let (cache, now) = (TtlCache::new(TTL, 2), Instant::now());
        for key in 1..=3 {
            cache.put(key, (), now + Duration::from_millis(key));
        }
        assert_eq!([1, 2, 3].map(|key| cache.get(&key, now).is_some()), [false, true, true]);
    }

    #[test]
    fn what_is_forgotten_is_gone_and_can_be_put_again() {
        let (cache, now) = (TtlCache::new(TTL, 10), Instant::now());
        (1..=4).for_each(|key| cache.put(key, 'a', now));
        cache.forget(&1);
        cache.forget_where(|key| *key > 3);
        assert_eq!([1, 2, 3, 4].map(|key| cache.get(&key, now)), [None, Some('a'), Some('a'), None]);
        cache.put(1, 'b', now);
        assert_eq!(cache.get(&1, now), Some('b'));
    }

    #[test]
    fn no_time_to_live_means_no_cache() {
        let (cache, now) = (TtlCache::new(Duration::ZERO, 2), Instant::now());
        cache.put(1, (), now);
        assert_eq!(cache.get(&1, now), None);
    }

    #[test]
    fn what_is_doubted_is_found_only_where_what_was_kept_counts() {
        let (cache, start) = (TtlCache::new(TTL, 10).keeping(TTL * 2), Instant::now());
        cache.put(1, 'a', start);
        cache.doubt(start + TTL / 4);
        let now = start + TTL / 2;
        assert_eq!((cache.get(&1, now), cache.get_kept(&1, now)), (None, Some('a')));
        cache.put(1, 'b', now);
        assert_eq!(cache.get(&1, now), Some('b'));
    }
}
