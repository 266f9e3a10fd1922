//! Whatever the bytes of a frame are: our decoder judges them as prost does, and reads the same packet; what we encode comes
//! back as it was.

#![no_main]

use gim_conn::wire::packet::PacketView;
use gim_proto::connect::Packet;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fuzz_target!(|body: &[u8]| {
    let (view, packet) = match (PacketView::decode(body), Packet::decode(body)) {
        (Ok(view), Ok(packet)) => (view, packet),
        (Err(_), Err(_)) => return,
        (view, packet) => panic!("{view:?} but {packet:?}"),
    };
    assert_eq!(view.request_id, packet.request_id);
    assert_eq!(view.command, packet.command);
    assert_eq!(view.content, packet.content);
    let again = packet.encode_to_vec();
    assert_eq!(PacketView::decode(&again).expect("what was encoded is a packet"), view);
});
