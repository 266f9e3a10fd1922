//! Whatever the bytes of a frame are, and whatever the server says: each dialect reads or refuses it, and what it says is what it can read.

#![no_main]

use gim_legacy::{
    Dialect,
    packets::{Packet, Scratch},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let mut scratch = Scratch::default();
    for dialect in Dialect::all() {
        let read = dialect.packets().read(body, &mut scratch).is_ok();
        let [command, content @ ..] = body else { continue };
        let said = Packet { request_id: "1", command: i32::from(*command), content };
        let mut frame = Vec::new();
        let is_said = dialect.packets().write(&said, &mut frame);
        assert!(is_said || frame.is_empty(), "{} said a part, and read {read}", dialect.name());
    }
});
