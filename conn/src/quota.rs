//! How many connections the process, each app and each address may have. The one thing that reactors share: counters, touched
//! when a connection comes or goes, so that a cap means what it says however the kernel spreads the connects.
//!
//! Always holds: what was taken is given back once, by the reactor that took it; no counter grows beyond its cap; an address is
//! counted in one place, whatever other reactors do meanwhile. (Addresses are told apart by forty bits of a keyed hash.)

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    num::NonZeroU32,
};

pub use gim_config::networks::holder_of;
use gim_proto::CloseReason;

#[cfg(feature = "loom")]
use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(not(feature = "loom"))]
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

/// Counters of one set.
const WAYS: usize = if cfg!(feature = "loom") { 2 } else { 16 };

/// Counters for addresses whose set is full.
const SPARE: usize = if cfg!(feature = "loom") { 1 } else { 64 };

/// Counters per connection that may be there: so many that a set without a free one is a rarity.
const COUNTERS_PER_CONNECTION: usize = 4;

/// Bits of a counter that count; those above tell whose it is.
const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// The caps of a process and how much of them is in use.
#[derive(Debug)]
pub struct Quota {
    connections: Cap,
    addresses: Option<Addresses>,
}

/// How many connections one app may have, in all reactors together.
#[derive(Debug)]
pub struct AppQuota(Cap);

/// What has no place left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The process.
    Process,
    /// The address.
    Address,
}

impl From<Full> for CloseReason {
    fn from(full: Full) -> Self {
        match full {
            Full::Process => Self::CrServerOverloaded,
            Full::Address => Self::CrAddressFull,
        }
    }
}

/// The place where a connection is counted for its address, if it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IpSlot(Option<NonZeroU32>);

/// A number that never goes beyond its bound.
#[derive(Debug)]
struct Cap {
    taken: AtomicUsize,
    taken_max: AtomicUsize,
}

/// Connections per address, in sets of [`WAYS`] counters, followed by [`SPARE`] ones that belong to every set. An address'
/// keyed hash chooses the set; a counter at zero is free for any address that may be counted there.
#[derive(Debug)]
struct Addresses {
    counters: Box<[AtomicU64]>,
    sets: usize,
    count_max: u64,
    hasher: RandomState,
}

impl Quota {
    /// Caps for a process; 0 per address for no cap.
    pub fn new(connections_max: usize, per_address_max: u32) -> Self {
        let addresses = (per_address_max > 0).then(|| {
            let sets = (connections_max * COUNTERS_PER_CONNECTION / WAYS).next_power_of_two().min(1 << COUNT_BITS);
            Addresses::new(sets, per_address_max)
        });
        Self { connections: Cap::new(connections_max), addresses }
    }

    /// How many connections there are, and may be.
    pub fn usage(&self) -> (usize, usize) {
        let Cap { taken, taken_max } = &self.connections;
        (taken.load(Ordering::Relaxed), taken_max.load(Ordering::Relaxed))
    }

    /// Whether there are more than there may be, since that was lowered: a place that becomes free is nobody's then.
    pub fn is_beyond(&self) -> bool {
        let (connections, connections_max) = self.usage();
        connections > connections_max
    }

    /// So many there may be from now on. Those that are there stay, also where they are more.
    pub fn set_connections_max(&self, connections_max: usize) {
        self.connections.taken_max.store(connections_max, Ordering::Relaxed);
    }

    /// Takes a connection of the process and of its address. Where either is at its cap, nothing is taken.
    pub fn take(&self, address: IpAddr) -> Result<IpSlot, Full> {
        let unaddressed = self.take_unaddressed()?;
        let taken = self.readdress(unaddressed, address);
        if taken.is_err() {
            self.give_back(unaddressed);
        }
        taken
    }

    /// Takes a connection of the process alone: whose it is, a proxy has yet to tell. An error where that is at its cap.
    pub fn take_unaddressed(&self) -> Result<IpSlot, Full> {
        if self.connections.take() { Ok(IpSlot::default()) } else { Err(Full::Process) }
    }

    /// Counts a connection for another address from now on. Where that is at its cap, nothing changes.
    pub fn readdress(&self, ip_slot: IpSlot, address: IpAddr) -> Result<IpSlot, Full> {
        let Some(addresses) = &self.addresses else { return Ok(ip_slot) };
        let taken = addresses.take(address).ok_or(Full::Address)?;
        addresses.give_back(ip_slot);
        Ok(taken)
    }

    /// Gives a connection back.
    pub fn give_back(&self, ip_slot: IpSlot) {
        self.connections.give_back();
        if let Some(addresses) = &self.addresses {
            addresses.give_back(ip_slot);
        }
    }
}

impl AppQuota {
    /// A cap for an app; 0 for none but that of the process.
    pub fn new(connections_max: usize) -> Self {
        Self(Cap::new(if connections_max == 0 { usize::MAX } else { connections_max }))
    }

    /// Takes a connection. False, and nothing is taken, where the app is at its cap.
    #[must_use]
    pub fn take(&self) -> bool {
        self.0.take()
    }

    /// Gives a connection back.
    pub fn give_back(&self) {
        self.0.give_back();
    }
}

impl Cap {
    fn new(taken_max: usize) -> Self {
        Self { taken: AtomicUsize::new(0), taken_max: AtomicUsize::new(taken_max) }
    }

    fn take(&self) -> bool {
        let taken_max = self.taken_max.load(Ordering::Relaxed);
        let one_more = |taken| (taken < taken_max).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Addresses {
    fn new(sets: usize, per_address_max: u32) -> Self {
        let counters = (0..sets * WAYS + SPARE).map(|_| AtomicU64::new(0)).collect();
        Self { counters, sets, count_max: u64::from(per_address_max).min(COUNT_MASK), hasher: RandomState::new() }
    }

    /// One more connection of an address. `None` where it is at its cap, or where not even a spare counter is free: nobody is
    /// let in without being counted.
    fn take(&self, address: IpAddr) -> Option<IpSlot> {
        let hash = self.hasher.hash_one(holder_of(address));
        // The upper bits choose the set, the lower forty tell its addresses apart.
        self.take_in((hash >> COUNT_BITS) as usize % self.sets, hash << COUNT_BITS)
    }

    fn take_in(&self, set: usize, owner: u64) -> Option<IpSlot> {
        loop {
            let (index, seen) = self.find(set, owner)?;
            if seen & COUNT_MASK >= self.count_max {
                return None;
            }
            let taken = owner | ((seen & COUNT_MASK) + 1);
            // Lost only to another reactor that counted one, so that this ends.
            if self.counters[index].compare_exchange(seen, taken, Ordering::Relaxed, Ordering::Relaxed).is_err() {
                continue;
            }
            let ip_slot = IpSlot(NonZeroU32::new(index as u32 + 1));
            // Another reactor may have begun to count the same address elsewhere. Each writes first and looks second, with a
            // fence between, so that one of the two at least sees the other, and looks again for where to count.
            fence(Ordering::SeqCst);
            if self.is_elsewhere(set, owner, index) {
                self.give_back(ip_slot);
                #[cfg(feature = "loom")]
                loom::thread::yield_now();
                continue;
            }
            return Some(ip_slot);
        }
    }

    fn give_back(&self, ip_slot: IpSlot) {
        if let Some(number) = ip_slot.0 {
            self.counters[number.get() as usize - 1].fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The owner's counter, or else the first that is free.
    fn find(&self, set: usize, owner: u64) -> Option<(usize, u64)> {
        let mut free = None;
        for (index, seen) in self.places(set) {
            if seen & COUNT_MASK == 0 {
                free = free.or(Some((index, seen)));
            } else if seen & !COUNT_MASK == owner {
                return Some((index, seen));
            }
        }
        free
    }

    fn is_elsewhere(&self, set: usize, owner: u64, here: usize) -> bool {
        let is_owners = |seen: u64| seen & COUNT_MASK != 0 && seen & !COUNT_MASK == owner;
        self.places(set).any(|(index, seen)| index != here && is_owners(seen))
    }

    /// Where an address of this set may be counted, and what is there.
    fn places(&self, set: usize) -> impl Iterator<Item = (usize, u64)> {
        let spare = self.sets * WAYS;
        let places = (set * WAYS..(set + 1) * WAYS).chain(spare..spare + SPARE);
        places.map(|index| (index, self.counters[index].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use std::{
        net::Ipv4Addr,
        sync::{
            Barrier,
            atomic::{AtomicBool, AtomicU32},
        },
    };

    use proptest::prelude::*;

    use super::*;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from(number).into()
    }

    #[test]
    fn the_cap_of_the_process_is_exact() {
        let quota = Quota::new(2, 0);
        let first = quota.take(address(1)).unwrap();
        quota.take(address(1)).unwrap();
        assert_eq!(quota.take(address(2)), Err(Full::Process));
        assert_eq!(quota.take(address(2)), Err(Full::Process), "a refusal takes nothing");
        quota.give_back(first);
        assert!(quota.take(address(2)).is_ok());
    }

    #[test]
    fn the_cap_of_an_address_is_exact_and_its_own() {
        let quota = Quota::new(10_000, 3);
        for number in 0..1_000 {
            let slots: Vec<_> = (0..3).map(|_| quota.take(address(number)).unwrap()).collect();
            assert_eq!(quota.take(address(number)), Err(Full::Address));
            quota.give_back(slots[0]);
            assert!(quota.take(address(number)).is_ok());
        }
    }

    #[test]
    fn all_addresses_of_an_ipv6_network_share_one_cap() {
        let quota = Quota::new(10, 1);
        let take = |text: &str| quota.take(text.parse().unwrap()).is_ok();
        assert!(take("2001:db8:1:2::1") && !take("2001:db8:1:2:ffff::2") && take("2001:db8:1:3::1"));
        assert!(take("192.0.2.1") && !take("::ffff:192.0.2.1") && take("::ffff:192.0.2.2"));
    }

    #[test]
    fn a_connection_moves_to_the_address_that_a_proxy_tells() {
        let quota = Quota::new(10, 1);
        let (first, second) = (quota.take_unaddressed().unwrap(), quota.take_unaddressed().unwrap());
        let first = quota.readdress(first, address(1)).unwrap();
        assert_eq!(quota.readdress(second, address(1)), Err(Full::Address));
        let first = quota.readdress(first, address(2)).unwrap();
        assert!(quota.readdress(second, address(1)).is_ok());
        quota.give_back(first);
        assert!(quota.take(address(2)).is_ok());
        assert_eq!(quota.usage().0, 2);
    }

    #[test]
    fn addresses_whose_set_is_full_are_counted_all_the_same() {
        let addresses = Addresses::new(1, 1);
        let everywhere = (WAYS + SPARE) as u32;
        let slots: Vec<_> = (0..everywhere).map(|number| addresses.take(address(number)).unwrap()).collect();
        assert!(slots.iter().all(|slot| *slot != IpSlot::default()));
        for number in 0..everywhere {
            assert_eq!(addresses.take(address(number)), None, "{number} has what it may have");
        }
        assert_eq!(addresses.take(address(9_999)), None, "nobody is let in without being counted");
        addresses.give_back(slots[WAYS]);
        assert!(addresses.take(address(9_999)).is_some());
    }

    /// What reactors do with one set: take for this address, or give back what was taken longest ago.
    fn act(addresses: &Addresses, holds: &[AtomicU32], steps: &[(u8, bool)]) {
        let mut taken = Vec::new();
        for &(number, takes) in steps {
            let number = usize::from(number);
            if !takes && !taken.is_empty() {
                let (number, slot): (usize, IpSlot) = taken.remove(0);
                holds[number].fetch_sub(1, Ordering::SeqCst);
                addresses.give_back(slot);
            } else if let Some(slot) = addresses.take_in(0, (number as u64 + 1) << COUNT_BITS) {
                let held = holds[number].fetch_add(1, Ordering::SeqCst) + 1;
                assert!(u64::from(held) <= addresses.count_max, "{held} of address {number}");
                taken.push((number, slot));
            }
        }
        for (number, slot) in taken {
            holds[number].fetch_sub(1, Ordering::SeqCst);
            addresses.give_back(slot);
        }
    }

    /// More addresses than a set has counters, so that these are freed and taken over all the time.
    const NUMBERS: u8 = 20;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However reactors come and go at once, no address ever has more than its cap, and nothing stays behind.
        #[test]
        fn no_address_has_more_than_its_cap_in_all_reactors(
            cap in 1u32..4,
            steps in proptest::collection::vec(proptest::collection::vec((0..NUMBERS, any::<bool>()), 200), 4),
        ) {
            let addresses = Addresses::new(1, cap);
            let holds: Vec<AtomicU32> = (0..NUMBERS).map(|_| AtomicU32::new(0)).collect();
            let begin = Barrier::new(steps.len());
            let failed = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for steps in &steps {
                    scope.spawn(|| {
                        begin.wait();
                        let act = std::panic::AssertUnwindSafe(|| act(&addresses, &holds, steps));
                        failed.fetch_or(std::panic::catch_unwind(act).is_err(), Ordering::SeqCst);
                    });
                }
            });
            prop_assert!(!failed.load(Ordering::SeqCst), "an address had more than {}", cap);
            prop_assert!(addresses.places(0).all(|(_, seen)| seen & COUNT_MASK == 0));
        }
    }

    #[test]
    fn reactors_that_take_and_give_at_once_leave_nothing_taken() {
        let quota = Quota::new(64, 5);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..20_000 {
                        let slots: Vec<_> = (0..3).filter_map(|_| quota.take(address(round % 7)).ok()).collect();
                        slots.into_iter().for_each(|slot| quota.give_back(slot));
                    }
                });
            }
        });
        assert_eq!(quota.usage().0, 0);
        let counters = &quota.addresses.as_ref().unwrap().counters;
        assert!(counters.iter().all(|counter| counter.load(Ordering::Relaxed) & COUNT_MASK == 0));
    }
}

/// The orders in which reactors may take and give back, tried by loom: `cargo test -p gim-conn --features loom --lib quota`.
#[cfg(test)]
#[cfg(feature = "loom")]
mod model {
    use loom::{sync::Arc, thread};

    use super::*;

    const OWNER: u64 = 7 << COUNT_BITS;
    const OTHER: u64 = 8 << COUNT_BITS;

    /// The first counter becomes free while two reactors look for a place for one address: each may see another one free.
    #[test]
    fn an_address_is_counted_in_one_place_whatever_becomes_free() {
        let mut orders = loom::model::Builder::new();
        // Three threads of which two look again: all orders are too many, and what goes wrong needs few forced switches.
        orders.preemption_bound = Some(3);
        orders.check(|| {
            let addresses = Arc::new(Addresses::new(1, 1));
            let other = addresses.take_in(0, OTHER).unwrap();
            let take = {
                let addresses = addresses.clone();
                move || addresses.take_in(0, OWNER)
            };
            let reactors = [thread::spawn(take.clone()), thread::spawn(take)];
            addresses.give_back(other);
            let taken = reactors.map(|reactor| reactor.join().unwrap());
            assert_eq!(taken.iter().flatten().count(), 1, "one of the two, and no more than one");
        });
    }
}
