//! December 2020: `Input` and `Output` on the long connection, contents that the server knew; `LogicExt` and `BusinessExt` over gRPC. There
//! were no rooms.

mod calls;
mod kept;
mod pushes;
mod said;
mod told;

use crate::{Spoken, input_output::InputOutput};

pub(crate) static SPOKEN: Spoken = Spoken { name: "2020-12", packets: &PACKETS, calls: calls::CALLS };

static PACKETS: InputOutput = InputOutput { has_rooms: false, put_message: pushes::put, is_push_wrapped: true };

/// Its own messages and services, for those who speak it.
#[allow(missing_docs, clippy::all, clippy::too_many_lines)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/d2020_12/pb.rs"));
}

#[cfg(test)]
mod tests;
