//! August 2025: one message for everything on the long connection, `logic` and `user` over gRPC. Its clients sync over gRPC.

mod calls;
mod packets;
mod pushes;

use crate::Spoken;

pub(crate) static SPOKEN: Spoken = Spoken { name: "2025-08", packets: &packets::Frames, calls: calls::CALLS };

/// Its own messages and services, for those who speak it.
#[allow(missing_docs, clippy::all, clippy::too_many_lines)]
pub mod wire {
    /// The long connection.
    pub mod connect {
        include!(concat!(env!("OUT_DIR"), "/d2025_08/connect.rs"));
    }
    /// Devices, friends, groups, rooms, messages.
    pub mod logic {
        include!(concat!(env!("OUT_DIR"), "/d2025_08/logic.rs"));
    }
    /// Users.
    pub mod user {
        include!(concat!(env!("OUT_DIR"), "/d2025_08/user.rs"));
    }
}

#[cfg(test)]
mod tests;
