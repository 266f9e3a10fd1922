//! Whatever the bytes of a frame are, and whatever the server says: each dialect reads or refuses it, the same whatever was read before, and
//! says all of what it says or nothing.

#![no_main]

use gim_legacy::{
    Dialect,
    packets::{Packet, Scratch},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    // As a reactor has it, which reads frames of all dialects with the same one.
    let mut used = Scratch::default();
    for dialect in Dialect::all() {
        let mut scratch = Scratch::default();
        let (once, again) = (dialect.packets().read(body, &mut scratch), dialect.packets().read(body, &mut used));
        assert_eq!(once, again, "{}", dialect.name());
        let [command, content @ ..] = body else { continue };
        let said = Packet { request_id: "1", command: i32::from(*command), content };
        let mut frame = Vec::new();
        let is_said = dialect.packets().write(&said, &mut frame);
        assert!(is_said || frame.is_empty(), "{} said a part", dialect.name());
    }
});
