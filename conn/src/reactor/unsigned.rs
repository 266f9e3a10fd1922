//! The connections of a reactor that have not signed in: who gives way where all places are taken.
//!
//! Always holds: a connection stands here from its accept until its sign-in is with logic, and again once that was refused, under
//! its client's address; of the address that has most of them, the one that came first is the next to go, and of several such
//! addresses the one whose first came first. So whoever only connects keeps nobody out who signs in, by however many addresses, and
//! of many who come the same way the silent ones go first.
//!
//! Each reactor looks among its own connections alone, and that is enough. The caps count over all reactors, so that nobody is refused
//! while there is a place. Where there is none, what strangers hold is spread over the reactors like everything: the kernel deals
//! connects by a secret hash of both addresses and ports, which nobody can aim. So a reactor in which nobody can give way any more is one
//! of a node in which hardly anybody can; and a client that it refuses comes again from another port, and is dealt anew.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr},
};

use gim_proto::CloseReason;

use super::{Reactor, peer::Peer};
use crate::quota;

/// What is said to one that has to go, because of the node or because of its address.
const NODE_FULL: &str = "the server is full, and this connection had not signed in: please try later";
const ADDRESS_FULL: &str =
    "your address has as many connections as it may have, and this one had not signed in: please try later";

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Unsigned {
    /// By slot.
    places: HashMap<usize, Neighbours>,
    lines: HashMap<IpAddr, UnsignedLine>,
    /// The lines, those that go first at the end.
    order: BTreeSet<Rank>,
    /// How many came so far.
    arrivals: u64,
    /// Closed in this turn, and over at its end, whether or not they took the goodbye.
    evicted: Vec<usize>,
    /// Addresses at their cap for which a proxy told a client.
    full: Vec<IpAddr>,
}

/// The length of a line, when its first came, and whose it is.
type Rank = (usize, Reverse<u64>, IpAddr);

/// One connection between those that came before and after it from its address.
#[derive(Debug)]
struct Neighbours {
    address: IpAddr,
    arrival: u64,
    previous: Option<usize>,
    next: Option<usize>,
}

/// The connections of one address.
#[derive(Debug)]
struct UnsignedLine {
    first: usize,
    last: usize,
    length: usize,
}

impl Unsigned {
    /// Adds a connection behind the others of its address.
    pub(super) fn add(&mut self, slot: usize, address: IpAddr) {
        self.remove(slot);
        self.arrivals += 1;
        let rank = self.rank(address);
        let line = self.lines.entry(address).or_insert(UnsignedLine { first: slot, last: slot, length: 0 });
        let previous = rank.is_some().then_some(line.last);
        line.last = slot;
        line.length += 1;
        if let Some(previous) = previous.and_then(|previous| self.places.get_mut(&previous)) {
            previous.next = Some(slot);
        }
        self.places.insert(slot, Neighbours { address, arrival: self.arrivals, previous, next: None });
        self.rank_anew(address, rank);
    }

    /// Takes a connection out, if it is here.
    pub(super) fn remove(&mut self, slot: usize) {
        let Some(address) = self.places.get(&slot).map(|place| place.address) else { return };
        let rank = self.rank(address);
        let Some(Neighbours { previous, next, .. }) = self.places.remove(&slot) else { return };
        if let Some(previous) = previous.and_then(|previous| self.places.get_mut(&previous)) {
            previous.next = next;
        }
        if let Some(next) = next.and_then(|next| self.places.get_mut(&next)) {
            next.previous = previous;
        }
        let Some(line) = self.lines.get_mut(&address) else { return };
        line.first = if line.first == slot { next.unwrap_or(slot) } else { line.first };
        line.last = if line.last == slot { previous.unwrap_or(slot) } else { line.last };
        line.length -= 1;
        if line.length == 0 {
            self.lines.remove(&address);
        }
        self.rank_anew(address, rank);
    }

    /// Where the line of an address stands.
    fn rank(&self, address: IpAddr) -> Option<Rank> {
        let line = self.lines.get(&address)?;
        let first = self.places.get(&line.first)?;
        Some((line.length, Reverse(first.arrival), address))
    }

    fn rank_anew(&mut self, address: IpAddr, before: Option<Rank>) {
        if let Some(before) = before {
            self.order.remove(&before);
        }
        if let Some(rank) = self.rank(address) {
            self.order.insert(rank);
        }
    }

    /// The next to go: of this address, or of the one that has most.
    fn next_to_go(&self, address: Option<IpAddr>) -> Option<usize> {
        let address = address.or_else(|| self.order.last().map(|(.., address)| *address))?;
        self.lines.get(&address).map(|line| line.first)
    }
}

impl Reactor {
    /// Ends a connection that has not signed in, of this address or of any. False where there is none. Its place is free in the next
    /// turn.
    pub(super) fn evict_unsigned(&mut self, address: Option<IpAddr>) -> bool {
        let Some(slot) = self.context.unsigned.next_to_go(address) else { return false };
        self.context.unsigned.remove(slot);
        if let Some(mut peer) = self.peer(slot) {
            match address {
                None => peer.close_saying(CloseReason::CrServerOverloaded, NODE_FULL),
                Some(_) => peer.close_saying(CloseReason::CrAddressFull, ADDRESS_FULL),
            }
            self.context.metrics.counts.unsigned_evicted += 1;
            self.context.unsigned.evicted.push(slot);
        }
        true
    }

    /// Makes room for who comes next from addresses whose clients came through a proxy and found none.
    pub(super) fn relieve_full_addresses(&mut self) {
        while let Some(address) = self.context.unsigned.full.pop() {
            self.evict_unsigned(Some(address));
        }
    }

    /// Those that had to go in this turn were told as much as their sockets took.
    pub(super) fn end_evicted(&mut self) {
        while let Some(slot) = self.context.unsigned.evicted.pop() {
            if let Some(mut peer) = self.peer(slot) {
                peer.die();
            }
        }
    }
}

impl Peer<'_> {
    /// Its sign-in was refused.
    pub(super) fn count_unsigned_again(&mut self) {
        if !self.goes_on() || self.context.unsigned.places.contains_key(&self.slot) {
            return;
        }
        let client = self.connection.client_address().map_or(Ipv4Addr::UNSPECIFIED.into(), |client| client.ip());
        self.context.unsigned.add(self.slot, quota::holder_of(client));
    }

    /// Its address has as many connections as it may have; it goes itself, and so does one that was there before.
    pub(super) fn report_full(&mut self, address: IpAddr) {
        self.context.unsigned.full.push(quota::holder_of(address));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(number: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, number).into()
    }

    fn order_of_going(unsigned: &mut Unsigned) -> Vec<usize> {
        let next = || unsigned.next_to_go(None).inspect(|slot| unsigned.remove(*slot));
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn the_fullest_address_gives_way_and_there_who_came_first() {
        let mut unsigned = Unsigned::default();
        for (slot, number) in [(1, 1), (2, 2), (3, 2), (4, 2), (5, 1)] {
            unsigned.add(slot, address(number));
        }
        unsigned.remove(3);
        unsigned.add(6, address(2));
        assert_eq!(unsigned.next_to_go(Some(address(1))), Some(1));
        assert_eq!(unsigned.next_to_go(Some(address(9))), None);
        unsigned.add(7, address(2));
        assert_eq!(order_of_going(&mut unsigned), [2, 4, 1, 6, 5, 7]);
    }

    proptest! {
        /// Whatever comes and goes, the lines are what a plain list says.
        #[test]
        fn lines_agree_with_a_plain_list(steps in proptest::collection::vec((0..12usize, 0..4u8, any::<bool>()), 200)) {
            let (mut unsigned, mut plain) = (Unsigned::default(), Vec::<(usize, u8)>::new());
            for (slot, number, comes) in steps {
                plain.retain(|(other, _)| *other != slot);
                if comes {
                    plain.push((slot, number));
                    unsigned.add(slot, address(number));
                } else {
                    unsigned.remove(slot);
                }
                let count = |number: u8| plain.iter().filter(|(_, other)| *other == number).count();
                // Of several with as many, the one whose first came first: it stands first in the list.
                let most = plain.iter().map(|(_, number)| count(*number)).max();
                let first = plain.iter().find(|(_, number)| Some(count(*number)) == most);
                prop_assert_eq!(unsigned.next_to_go(None), first.map(|(slot, _)| *slot));
                prop_assert_eq!(unsigned.places.len(), plain.len());
                prop_assert_eq!(unsigned.order.len(), unsigned.lines.len());
            }
        }
    }
}
