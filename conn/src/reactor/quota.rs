//! How many connections the process, and each address, may have. The one thing that reactors share: counters, touched when a
//! connection comes or goes, so that a cap means what it says however the kernel spreads the connects.
//!
//! Always holds: what was taken is given back once, by the reactor that took it; no counter goes beyond its cap.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// Counters that an address may be found in: a line of the cache.
const WAYS: usize = 8;

/// Counters per connection that may be there: so many that a set without a free one is a rarity.
const COUNTERS_PER_CONNECTION: usize = 4;

/// Bits of a counter that count; those above tell whose it is.
const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// The caps of a process and how much of them is in use.
#[derive(Debug)]
pub struct Quota {
    connections: AtomicUsize,
    connections_max: usize,
    addresses: Option<Addresses>,
}

/// How many connections one product may have, in all reactors together.
#[derive(Debug)]
pub struct AppQuota {
    connections: AtomicUsize,
    connections_max: usize,
}

/// What a connection has of its address' share: the counter that it was counted in, if it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share(Option<NonZeroU32>);

/// Connections per address, in sets of [`WAYS`] counters. An address' keyed hash chooses the set; a counter at zero is free
/// for any address of its set. (Where one becomes free while two reactors look for it, an address may get a second one.)
#[derive(Debug)]
struct Addresses {
    counters: Box<[AtomicU64]>,
    count_max: u64,
    hasher: RandomState,
}

impl Quota {
    /// Caps for a process; 0 per address for no cap.
    pub fn new(connections_max: usize, per_address_max: u32) -> Self {
        let addresses = (per_address_max > 0).then(|| {
            let sets = (connections_max * COUNTERS_PER_CONNECTION / WAYS).next_power_of_two().min(1 << COUNT_BITS);
            let counters = (0..sets * WAYS).map(|_| AtomicU64::new(0)).collect();
            let count_max = u64::from(per_address_max).min(COUNT_MASK);
            Addresses { counters, count_max, hasher: RandomState::new() }
        });
        Self { connections: AtomicUsize::new(0), connections_max, addresses }
    }

    /// How many connections there are, and may be.
    pub fn usage(&self) -> (usize, usize) {
        (self.connections.load(Ordering::Relaxed), self.connections_max)
    }

    /// Takes a connection of the process and of its address. `None`, and nothing is taken, where either is at its cap.
    pub fn take(&self, address: IpAddr) -> Option<Share> {
        if self.connections.fetch_add(1, Ordering::Relaxed) < self.connections_max
            && let Some(share) = self.addresses.as_ref().map_or(Some(Share::default()), |counts| counts.take(address))
        {
            return Some(share);
        }
        self.connections.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// Takes a connection of the process alone: whose it is, a proxy has yet to tell. `None` where that is at its cap.
    pub fn take_unaddressed(&self) -> Option<Share> {
        if self.connections.fetch_add(1, Ordering::Relaxed) < self.connections_max {
            return Some(Share::default());
        }
        self.connections.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// Counts a connection for another address from now on. `None`, and nothing changes, where that is at its cap.
    pub fn readdress(&self, share: Share, address: IpAddr) -> Option<Share> {
        let Some(addresses) = &self.addresses else { return Some(share) };
        let taken = addresses.take(address)?;
        addresses.give_back(share);
        Some(taken)
    }

    /// Gives a connection back.
    pub fn give_back(&self, share: Share) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(addresses) = &self.addresses {
            addresses.give_back(share);
        }
    }
}

impl AppQuota {
    /// A cap for a product; 0 for none but that of the process.
    pub fn new(connections_max: usize) -> Self {
        let connections_max = if connections_max == 0 { usize::MAX } else { connections_max };
        Self { connections: AtomicUsize::new(0), connections_max }
    }

    /// Takes a connection. False, and nothing is taken, where the product is at its cap.
    #[must_use]
    pub fn take(&self) -> bool {
        let is_taken = self.connections.fetch_add(1, Ordering::Relaxed) < self.connections_max;
        if !is_taken {
            self.give_back();
        }
        is_taken
    }

    /// Gives a connection back.
    pub fn give_back(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Addresses {
    fn take(&self, address: IpAddr) -> Option<Share> {
        let hash = self.hasher.hash_one(holder(address));
        // The upper bits choose the set, the lower forty tell its addresses apart.
        let set = (hash >> COUNT_BITS) as usize % (self.counters.len() / WAYS) * WAYS;
        let owner = hash << COUNT_BITS;
        loop {
            let Some((index, seen)) = self.find(set, owner) else {
                // No counter is free: rather an address that is not counted than one that is refused for others.
                return Some(Share::default());
            };
            if seen & COUNT_MASK >= self.count_max {
                return None;
            }
            let taken = owner | ((seen & COUNT_MASK) + 1);
            let counter = &self.counters[index];
            // Lost only to another reactor that counted one, so that this ends.
            if counter.compare_exchange(seen, taken, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Some(Share(NonZeroU32::new(index as u32 + 1)));
            }
        }
    }

    fn give_back(&self, share: Share) {
        if let Some(number) = share.0 {
            self.counters[number.get() as usize - 1].fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The owner's counter in a set, or else one that is free.
    fn find(&self, set: usize, owner: u64) -> Option<(usize, u64)> {
        let mut free = None;
        for index in set..set + WAYS {
            let seen = self.counters[index].load(Ordering::Relaxed);
            if seen & COUNT_MASK == 0 {
                free = free.or(Some((index, seen)));
            } else if seen & !COUNT_MASK == owner {
                return Some((index, seen));
            }
        }
        free
    }
}

/// Whose share an address counts for: its own or, with IPv6, that of its network, of which one client has all 2^64 addresses.
fn holder(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from(number).into()
    }

    #[test]
    fn the_cap_of_the_process_is_exact() {
        let quota = Quota::new(2, 0);
        let first = quota.take(address(1)).unwrap();
        quota.take(address(1)).unwrap();
        assert_eq!(quota.take(address(2)), None);
        assert_eq!(quota.take(address(2)), None, "a refusal takes nothing");
        quota.give_back(first);
        assert!(quota.take(address(2)).is_some());
    }

    #[test]
    fn the_cap_of_an_address_is_exact_and_its_own() {
        let quota = Quota::new(10_000, 3);
        for number in 0..1_000 {
            let shares: Vec<_> = (0..3).map(|_| quota.take(address(number)).unwrap()).collect();
            assert_eq!(quota.take(address(number)), None);
            quota.give_back(shares[0]);
            assert!(quota.take(address(number)).is_some());
        }
    }

    #[test]
    fn all_addresses_of_an_ipv6_network_share_one_cap() {
        let quota = Quota::new(10, 1);
        let take = |text: &str| quota.take(text.parse().unwrap()).is_some();
        assert!(take("2001:db8:1:2::1") && !take("2001:db8:1:2:ffff::2") && take("2001:db8:1:3::1"));
        assert!(take("192.0.2.1") && !take("::ffff:192.0.2.1") && take("::ffff:192.0.2.2"));
    }

    #[test]
    fn a_connection_moves_to_the_address_that_a_proxy_tells() {
        let quota = Quota::new(10, 1);
        let (first, second) = (quota.take_unaddressed().unwrap(), quota.take_unaddressed().unwrap());
        let first = quota.readdress(first, address(1)).unwrap();
        assert_eq!(quota.readdress(second, address(1)), None);
        let first = quota.readdress(first, address(2)).unwrap();
        assert!(quota.readdress(second, address(1)).is_some());
        quota.give_back(first);
        assert!(quota.take(address(2)).is_some());
        assert_eq!(quota.connections.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn reactors_that_take_and_give_at_once_leave_nothing_taken() {
        let quota = Quota::new(64, 5);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..20_000 {
                        let shares: Vec<_> = (0..3).filter_map(|_| quota.take(address(round % 7))).collect();
                        shares.into_iter().for_each(|share| quota.give_back(share));
                    }
                });
            }
        });
        assert_eq!(quota.connections.load(Ordering::Relaxed), 0);
        let counters = &quota.addresses.as_ref().unwrap().counters;
        assert!(counters.iter().all(|counter| counter.load(Ordering::Relaxed) & COUNT_MASK == 0));
    }

    #[test]
    fn addresses_that_find_no_counter_are_let_in() {
        let quota = Quota::new(1, 1);
        let addresses = quota.addresses.as_ref().unwrap();
        assert_eq!(addresses.counters.len(), WAYS);
        let shares: Vec<_> = (0..WAYS as u32).map(|number| addresses.take(address(number)).unwrap()).collect();
        assert!(shares.iter().all(|share| *share != Share::default()));
        assert_eq!(addresses.take(address(99)), Some(Share::default()));
        assert_eq!(addresses.take(address(0)), None);
    }
}
