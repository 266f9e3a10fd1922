//! Many who want the same at the same moment.

use std::sync::atomic::Ordering;

use gim_logic::LogicSettings;
use gim_proto::{
    connect::{PacketCommand, SendRequest, send_request::Target},
    logic::{ClientPacket, up_item::Item},
};
use prost::Message as _;

use crate::support::{business::StubBusiness, conn::Conn, server_with};

const SENDERS: u64 = 4_096;

/// What the business is asked about them at once.
const ASKED_MAX: usize = 64;

#[tokio::test]
async fn thousands_of_users_who_send_for_the_first_time_at_once_are_all_answered() {
    let bounded = |settings: &mut LogicSettings| {
        settings.business.calls_in_flight_max = ASKED_MAX;
        settings.business.call_timeout_ms = 20_000;
    };
    let server = server_with(StubBusiness::start().await, bounded).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let packet = |number: u64| {
        let request = SendRequest {
            target: Some(Target::UserId(1 + number % 100)),
            content: b"hi"[..].into(),
            client_msg_id: "first".into(),
            ..SendRequest::default()
        };
        Item::Packet(ClientPacket {
            request_no: number,
            user_id: 10_000 + number,
            device_id: 1,
            command: PacketCommand::PcSend as i32,
            content: request.encode_to_vec().into(),
            ..ClientPacket::default()
        })
    };
    conn.send((0..SENDERS).map(packet).collect()).await;
    for _ in 0..SENDERS {
        let reply = conn.reply().await;
        assert_eq!(reply.code, 0, "{}", reply.message);
    }
    let most = server.business.state.most_under_way.load(Ordering::SeqCst);
    assert!((2..=ASKED_MAX).contains(&most), "the business was asked {most} things at once");
}
