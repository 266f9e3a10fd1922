//! Requests under way, in all and of one address. Over HTTP/1.1 each connection has one at most; over HTTP/2 one may have several, and each
//! keeps a few chunks.
//!
//! Any task. Always holds: a request counts until its answer is taken.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The places. Clones share them.
#[derive(Debug, Clone)]
pub struct RequestPlaces {
    taken: Arc<Mutex<Taken>>,
    all_max: usize,
    address_max: usize,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct RequestPlace {
    places: RequestPlaces,
    address: IpAddr,
}

impl RequestPlaces {
    /// So many in all, and of one address.
    pub fn new(all_max: usize, address_max: usize) -> Self {
        Self { taken: Arc::default(), all_max, address_max }
    }

    /// A place, unless there is none.
    pub fn take(&self, address: IpAddr) -> Option<RequestPlace> {
        let mut taken = self.lock();
        let of_address = taken.by_address.get(&address).copied().unwrap_or_default();
        if taken.all >= self.all_max || of_address >= self.address_max {
            return None;
        }
        taken.all += 1;
        taken.by_address.insert(address, of_address + 1);
        Some(RequestPlace { places: self.clone(), address })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RequestPlace {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        let left = taken.by_address.get(&self.address).map_or(0, |count| count - 1);
        if left == 0 {
            taken.by_address.remove(&self.address);
        } else {
            taken.by_address.insert(self.address, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leaves_places_to_others() {
        let places = RequestPlaces::new(3, 2);
        let [one, other] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        let mut held = vec![places.take(one).unwrap(), places.take(one).unwrap()];
        assert!(places.take(one).is_none());
        held.push(places.take(other).unwrap());
        assert!(places.take(other).is_none(), "all are taken");
        held.remove(0);
        held.push(places.take(one).unwrap());
        drop(held);
        let taken = places.lock();
        assert_eq!((taken.all, taken.by_address.len()), (0, 0));
    }
}
