//! The dialects of older clients: what they say in today's words, and what today's server says in theirs.
//!
//! A dialect is a folder beside this file; nothing but the list of them here names it, and it is gone where its folder is. It has two sides: [`packets`] for long
//! connections, which conn asks on the threads of its reactors, and [`calls`] for gRPC, which logic asks on the tasks of calls. Always
//! holds: nothing here decides, keeps or waits for anything; a dialect only rewrites, and who has no word for something says nothing
//! of it.

pub mod calls;
pub mod fields;
pub mod packets;
pub mod today;

mod input_output;
mod notices;
mod sign_in;

#[cfg(dialect = "d2020_12")]
pub mod d2020_12;
#[cfg(dialect = "d2024_01")]
pub mod d2024_01;
#[cfg(dialect = "d2025_08")]
pub mod d2025_08;

use std::{fmt, num::NonZeroU8};

use gim_proto::connect::PacketCommand;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use self::{
    calls::Calls,
    packets::{Packets, Scratch},
};

/// All of them whose folders are there, as `build.rs` says.
const ALL: &[&Spoken] = &[
    #[cfg(dialect = "d2025_08")]
    &d2025_08::SPOKEN,
    #[cfg(dialect = "d2024_01")]
    &d2024_01::SPOKEN,
    #[cfg(dialect = "d2020_12")]
    &d2020_12::SPOKEN,
];

/// How much a name has to be like a dialect's for that to be meant.
const ALIKE_MIN: f64 = 0.5;

/// One of the dialects. A byte, so that each connection can have one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dialect(NonZeroU8);

/// What a dialect is made of.
pub(crate) struct Spoken {
    /// The month in which clients spoke it.
    name: &'static str,
    packets: &'static dyn Packets,
    calls: Calls,
}

impl Dialect {
    /// Every dialect, the newest first.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=ALL.len()).filter_map(|place| NonZeroU8::new(place as u8)).map(Self)
    }

    /// The dialect of a name.
    ///
    /// # Errors
    /// That there is none, and which one may be meant.
    pub fn named(name: &str) -> Result<Self, String> {
        let alike = |dialect: &Self| strsim::normalized_damerau_levenshtein(name, dialect.name());
        let nearest = Self::all().max_by(|one, other| alike(one).total_cmp(&alike(other)));
        match nearest {
            Some(dialect) if dialect.name() == name => Ok(dialect),
            Some(dialect) if alike(&dialect) >= ALIKE_MIN => {
                Err(format!("there is no dialect `{name}`; `{}` may be meant", dialect.name()))
            }
            _ => {
                let names: Vec<&str> = Self::all().map(Self::name).collect();
                Err(format!("there is no dialect `{name}`, only {}", names.join(", ")))
            }
        }
    }

    /// Those in which a frame is a sign-in, the newest first.
    pub fn signing_in(frame: &[u8]) -> Vec<Self> {
        let mut scratch = Scratch::default();
        let mut signs_in = |dialect: &Self| {
            let read = dialect.packets().read(frame, &mut scratch);
            read.is_ok_and(|packet| packet.command == PacketCommand::PcSignIn as i32)
        };
        Self::all().filter(|dialect| signs_in(dialect)).collect()
    }

    /// The month in which clients spoke it.
    pub fn name(self) -> &'static str {
        self.spoken().name
    }

    /// Its long connections.
    pub fn packets(self) -> &'static dyn Packets {
        self.spoken().packets
    }

    /// Its gRPC.
    pub fn calls(self) -> &'static Calls {
        &self.spoken().calls
    }

    /// Its place among all, from 0 on.
    pub fn index(self) -> usize {
        usize::from(self.0.get()) - 1
    }

    fn spoken(self) -> &'static Spoken {
        ALL[self.index()]
    }
}

impl fmt::Debug for Dialect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Serialize for Dialect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Dialect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::named(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_has_its_own_name_and_another_name_is_none() {
        for dialect in Dialect::all() {
            assert_eq!(Dialect::named(dialect.name()), Ok(dialect));
        }
        let Some(Spoken { name, .. }) = ALL.first() else { return };
        let near = name.replace('-', "_");
        assert_eq!(Dialect::named(&near).unwrap_err(), format!("there is no dialect `{near}`; `{name}` may be meant"));
        assert!(Dialect::named("").unwrap_err().contains(*name));
    }

    #[test]
    fn a_dialect_takes_a_byte_of_a_connection_and_none_beside_it() {
        assert_eq!(size_of::<Option<Dialect>>(), 1);
    }
}
