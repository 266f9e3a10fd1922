//! Names of connections: inside a reactor (slot), for epoll (token), and for everybody else (connection id); and of the apps that
//! they are with.
//!
//! Always holds: a slot alone never leaves the turn that looked it up. Whatever comes back later (events, timers, replies,
//! pushes, kicks) carries the generation too, and a mismatch is dropped.

use std::{fmt, num::NonZeroU8};

/// Bits of a connection id that name the slot; the rest above them names the reactor.
const SLOT_BITS: u32 = 24;

/// Most connections that one reactor can hold.
pub const SLOTS_MAX: usize = 1 << SLOT_BITS;

/// Most reactors that one process can run.
pub const REACTORS_MAX: usize = 256;

/// Most listeners that one reactor can have.
pub const LISTENERS_MAX: usize = 16;

/// A connection of this process: `reactor (8) ‖ slot (24) ‖ generation (32)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// Packs the three parts.
    pub fn new(reactor: usize, slot: usize, generation: u32) -> Self {
        debug_assert!(reactor < REACTORS_MAX && slot < SLOTS_MAX);
        Self(((reactor as u64) << 56) | ((slot as u64) << 32) | u64::from(generation))
    }

    /// The id that came back over the link.
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The id as it travels.
    pub fn number(self) -> u64 {
        self.0
    }

    /// Which reactor holds it.
    pub fn reactor(self) -> usize {
        (self.0 >> 56) as usize
    }

    /// Where in that reactor's table.
    pub fn slot(self) -> usize {
        (self.0 >> 32) as usize & (SLOTS_MAX - 1)
    }

    /// Which owner of the slot.
    pub fn generation(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// Which of the apps of this process, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppIndex(NonZeroU8);

/// Most apps that one process can serve.
pub const APPS_MAX: usize = u8::MAX as usize;

impl AppIndex {
    /// The app at a place of the list. `None` beyond [`APPS_MAX`].
    pub fn new(index: usize) -> Option<Self> {
        NonZeroU8::new(u8::try_from(index + 1).ok()?).map(Self)
    }

    /// Its place in the list.
    pub fn get(self) -> usize {
        usize::from(self.0.get()) - 1
    }
}

/// What an epoll event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A command queue was filled.
    Wake,
    /// Somebody connects through one of the entrances.
    Listener(usize),
    /// A socket of a connection.
    Connection {
        /// Its slot.
        slot: usize,
        /// The owner of the slot at registration.
        generation: u32,
    },
}

// A token holds generation and slot side by side; reserved tokens lie above every slot.
const _: () = assert!(usize::BITS == 64, "tokens pack a generation and a slot into 64 bits");

impl Source {
    /// The token to register with.
    pub fn token(self) -> mio::Token {
        match self {
            Self::Wake => mio::Token(usize::MAX),
            Self::Listener(index) => mio::Token(usize::MAX - 1 - index),
            Self::Connection { slot, generation } => mio::Token(((generation as usize) << 32) | slot),
        }
    }

    /// What was registered with this token.
    pub fn of_token(token: mio::Token) -> Self {
        match token.0 {
            usize::MAX => Self::Wake,
            number if number >= usize::MAX - LISTENERS_MAX => Self::Listener(usize::MAX - 1 - number),
            number => Self::Connection { slot: number & 0xffff_ffff, generation: (number >> 32) as u32 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_survive_packing_at_their_limits() {
        for (reactor, slot, generation) in [(0, 0, 0), (255, SLOTS_MAX - 1, u32::MAX), (3, 77, 9)] {
            let id = ConnectionId::new(reactor, slot, generation);
            assert_eq!((id.reactor(), id.slot(), id.generation()), (reactor, slot, generation));
            assert_eq!(ConnectionId::from_number(id.number()), id);
        }
    }

    #[test]
    fn no_connection_has_a_reserved_token() {
        let listeners = [Source::Listener(0), Source::Listener(LISTENERS_MAX - 1)];
        let connection = Source::Connection { slot: SLOTS_MAX - 1, generation: u32::MAX };
        for source in [Source::Wake, connection].into_iter().chain(listeners) {
            assert_eq!(Source::of_token(source.token()), source);
        }
    }
}
