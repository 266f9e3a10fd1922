//! Whatever the bytes of a frame are, and whatever the server says: each dialect reads or refuses it, the same whatever was read before, is
//! answered under the number and the request id that it asked with, and says all of what it says, as its clients can read it, or nothing.
//!
//! Input: a frame of a client; and what the server says: four bytes of a command, one of the length of a request id, that, and a content.

#![no_main]

#[path = "../../../proto/legacy/tests/common/read_back.rs"]
mod read_back;

use std::sync::LazyLock;

use gim_legacy::{
    Dialect,
    packets::{Packet, Scratch},
};
use libfuzzer_sys::fuzz_target;

use self::read_back::Client;

static CLIENTS: LazyLock<Vec<Client>> = LazyLock::new(|| Dialect::all().map(Client::of).collect());

fuzz_target!(|input: &[u8]| {
    // As a reactor has it, which reads frames of all dialects with the same one.
    let mut used = Scratch::default();
    for dialect in Dialect::all() {
        let mut scratch = Scratch::default();
        let (once, again) = (dialect.packets().read(input, &mut scratch), dialect.packets().read(input, &mut used));
        assert_eq!(once, again, "{}", dialect.name());
    }
    let said = said(input);
    for client in &*CLIENTS {
        client.is_answered_as_it_asked(input, 10_001);
        if let Some(said) = &said {
            client.reads_what_is_said(said);
        }
    }
});

fn said(input: &[u8]) -> Option<Packet<'_>> {
    let (command, rest) = input.split_first_chunk()?;
    let (length, rest) = rest.split_first()?;
    let (request_id, content) = rest.split_at_checked(usize::from(*length))?;
    Some(Packet { request_id: str::from_utf8(request_id).ok()?, command: i32::from_le_bytes(*command), content })
}
