//! Whatever a connection begins with: a WebSocket request and a PROXY header are understood, refused or waited for, and never
//! consume more than there is; what needs more is never taken for something else before.
//!
//! Input: how many bytes come first, and then all of them.

#![no_main]

use gim_conn::wire::{
    packet::PacketView,
    proxy::{self, Proxied},
    ws::upgrade::{self, Opening, Site},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [first, input @ ..] = input else { return };
    let first = &input[..input.len().min(usize::from(*first))];

    let site = Site::default();
    let is_older = input.len() % 2 == 0;
    let opening = upgrade::read(input, None, &site, is_older);
    if let Opening::Upgrade(upgrade) = &opening {
        assert!(upgrade.consumed <= input.len() && upgrade.response.starts_with(b"HTTP/1.1 101 "));
        if let Some(sign_in) = &upgrade.sign_in {
            PacketView::decode(sign_in).expect("a sign-in from the query is a packet");
        }
        // A request that is whole later was not refused before.
        assert!(!matches!(upgrade::read(first, None, &site, is_older), Opening::Answer { .. }));
    }

    if let Proxied::Header { consumed, .. } = proxy::read(input) {
        assert!(consumed <= input.len());
        assert!(!matches!(proxy::read(first), Proxied::Absent | Proxied::Bad));
    }
});
