//! January 2024: `Input` and `Output` on the long connection, contents that are the app's own, rooms; `LogicExt` and `BusinessExt` over gRPC.

mod calls;
mod pushes;

use crate::{Spoken, input_output::InputOutput};

pub(crate) static SPOKEN: Spoken = Spoken { name: "2024-01", packets: &PACKETS, calls: calls::CALLS };

static PACKETS: InputOutput = InputOutput { has_rooms: true, put_message: pushes::put, is_push_wrapped: false };

/// Its own messages and services, for those who speak it.
#[allow(missing_docs, clippy::all, clippy::too_many_lines)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/d2024_01/pb.rs"));
}

#[cfg(test)]
mod tests;
