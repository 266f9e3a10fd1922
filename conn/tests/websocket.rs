//! WebSocket on the reactor: sign-in, pushes, ends, and everything that a peer can get wrong (REGRESSIONS 9, 12).

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod common;

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr},
};

use common::{
    Harness, Script, TOKEN, assert_closed_for,
    web::{Received, WebClient, packet, proxy_header, raw, sign_in_packet, tcp},
};
use gim_conn::wire::transport::Entrance;
use gim_proto::{
    CloseReason,
    connect::{PacketCommand, Reply, SubscribeRoomRequest},
    logic::{Kick, down_item},
};
use prost::Message as _;
use tungstenite::{Message, protocol::CloseFrame};

const SEND: i32 = PacketCommand::PcSend as i32;

fn web(harness: &Harness) -> SocketAddr {
    harness.address(Entrance::WebSocket)
}

/// Everything that a plain connection to this address gets for these bytes, until the server ends it.
fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = tcp(address);
    // The server may answer, and end, before it has read all.
    let _may_be_cut_off = stream.write_all(bytes).is_err();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

fn status_of(answer: &[u8]) -> u16 {
    let text = str::from_utf8(answer).unwrap();
    assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
    text[9..12].parse().unwrap()
}

fn join(client: &mut WebClient<std::net::TcpStream>, room_id: u64) {
    let request = SubscribeRoomRequest { room_id, ..SubscribeRoomRequest::default() }.encode_to_vec();
    client.send(&packet(PacketCommand::PcSubscribeRoom as i32, "join", request));
    assert_eq!(client.packet().request_id, "join");
}

#[test]
fn a_client_signs_in_by_its_first_packet_and_is_answered_and_pushed_to() {
    let harness = Harness::start(Script::Obliging);
    let mut client = WebClient::sign_in(web(&harness), 1, 2);
    let signed_in = harness.logic.next_sign_in();
    assert_eq!((signed_in.user_id, signed_in.device_id), (1, 2));
    client.heartbeat();
    client.send(&packet(SEND, "s", b"payload".to_vec()));
    assert_eq!(Reply::decode(client.packet().content).unwrap().data, "payload");
    harness.logic.say(common::inbox_push(signed_in.connection_id, 7, b"pushed"));
    let message = client.message();
    assert_eq!((message.seq, &message.content[..]), (7, &b"pushed"[..]));
}

#[test]
fn older_clients_sign_in_by_the_query() {
    let harness = Harness::start_apps(Script::Obliging, &[(1, Script::Obliging)], |_| {});
    let target = format!("/ws?user_id=5&device_id=6&token={TOKEN}&app_id=1");
    let mut client = WebClient::open(tcp(web(&harness)), &target);
    let reply = client.packet();
    assert_eq!(reply.command, PacketCommand::PcSignIn as i32);
    assert_eq!(Reply::decode(reply.content).unwrap().code, 0);
    let signed_in = harness.others[0].next_sign_in();
    assert_eq!((signed_in.user_id, signed_in.device_id, signed_in.app_id), (5, 6, 1));
    client.heartbeat();

    let mut wrong = WebClient::open(tcp(web(&harness)), "/ws?user_id=5&device_id=6&token=wrong");
    assert_eq!(Reply::decode(wrong.packet().content).unwrap().code, 10000);
    wrong.send(&sign_in_packet(5, 6));
    assert_eq!(Reply::decode(wrong.packet().content).unwrap().code, 0);
}

#[test]
fn a_room_reaches_both_framings_with_messages_of_every_size() {
    let harness = Harness::start(Script::Obliging);
    let mut plain = harness.sign_in(1, 1);
    common::subscribe(&mut plain, 9);
    let mut client = WebClient::sign_in(web(&harness), 2, 2);
    join(&mut client, 9);
    for length in [0, 1, 100, 126, 127, 128, 200, 16_384, 70_000] {
        harness.logic.say(common::room_push(9, &vec![7; length]));
        assert_eq!(client.message().content, vec![7; length]);
        assert_eq!(common::next_message(&mut plain).content, vec![7; length]);
    }
}

#[test]
fn fragments_with_pings_between_them_make_one_packet() {
    let harness = Harness::start(Script::Obliging);
    let mut client = WebClient::sign_in(web(&harness), 1, 2);
    let body = packet(SEND, "fragmented", vec![5; 1_000]).encode_to_vec();
    let stream = client.0.get_mut();
    let mut bytes = raw(0x02, &body[..10]);
    bytes.extend(raw(0x89, b"one"));
    bytes.extend(raw(0x00, &body[10..500]));
    bytes.extend(raw(0x89, b"two"));
    bytes.extend(raw(0x80, &body[500..]));
    for piece in bytes.chunks(97) {
        stream.write_all(piece).unwrap();
    }
    assert!(matches!(client.receive(), Received::Pong(payload) if payload == b"one"));
    assert!(matches!(client.receive(), Received::Pong(payload) if payload == b"two"));
    assert_eq!(Reply::decode(client.packet().content).unwrap().data.len(), 1_000);
    client.heartbeat();
}

#[test]
fn a_peer_that_breaks_the_rules_is_told_by_code_and_nobody_else_notices() {
    let harness = Harness::start(Script::Obliging);
    let mut bystander = WebClient::sign_in(web(&harness), 100, 100);
    let largest = 64 * 1024;
    for (bytes, code, reason) in [
        (raw(0xc2, b"compressed"), 1002, CloseReason::CrBadFrame),
        (raw(0xa2, b"reserved bit"), 1002, CloseReason::CrBadFrame),
        (raw(0x83, b"reserved opcode"), 1002, CloseReason::CrBadFrame),
        (raw(0x89, &[0; 126]), 1002, CloseReason::CrBadFrame),
        (raw(0x09, b"a ping in fragments"), 1002, CloseReason::CrBadFrame),
        (raw(0x80, b"continues nothing"), 1002, CloseReason::CrBadFrame),
        ([raw(0x02, b"one"), raw(0x82, b"another")].concat(), 1002, CloseReason::CrBadFrame),
        (vec![0x82, 0x02, 8, 1], 1002, CloseReason::CrBadFrame),
        (vec![0x82, 0xfe, 0, 2, 0, 0, 0, 0, 8, 1], 1002, CloseReason::CrBadFrame),
        (vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 8, 1], 1002, CloseReason::CrBadFrame),
        (raw(0x88, &[3]), 1002, CloseReason::CrBadFrame),
        (raw(0x88, &999u16.to_be_bytes()), 1002, CloseReason::CrBadFrame),
        (raw(0x88, &[3, 232, 0xff]), 1007, CloseReason::CrBadFrame),
        (raw(0x81, b"text"), 1003, CloseReason::CrBadFrame),
        (raw(0x01, b"a text that goes on"), 1003, CloseReason::CrBadFrame),
        (raw(0x81, &[0xff]), 1007, CloseReason::CrBadFrame),
        (raw(0x82, &[0xff; 5]), 1007, CloseReason::CrBadFrame),
        (raw(0x82, &vec![0; largest + 1]), 1009, CloseReason::CrFrameTooLarge),
        ([raw(0x02, &vec![0; largest]), raw(0x80, &[0])].concat(), 1009, CloseReason::CrFrameTooLarge),
    ] {
        let mut client = WebClient::sign_in(web(&harness), 1, 2);
        // The server may end the connection before it has read all.
        let _may_be_cut_off = client.0.get_mut().write_all(&bytes).is_err();
        let (notice, ended) = client.ending();
        let start = &bytes[..bytes.len().min(20)];
        assert_eq!((notice.map(|notice| notice.reason()), ended), (Some(reason), Some(code)), "{start:02x?}");
    }
    bystander.heartbeat();
}

#[test]
fn the_closing_handshake_is_answered_and_ends_the_session() {
    let harness = Harness::start(Script::Obliging);
    let mut client = WebClient::sign_in(web(&harness), 1, 2);
    client.0.close(Some(CloseFrame { code: 4001.into(), reason: "done".into() })).unwrap();
    assert_eq!(client.ending(), (None, Some(4001)));
    assert_eq!(harness.logic.next_sign_out().device_id, 2);

    let mut silent = WebClient::sign_in(web(&harness), 1, 3);
    silent.0.send(Message::Close(None)).unwrap();
    assert_eq!(silent.ending(), (None, None));
}

#[test]
fn a_kick_is_a_close_packet_and_a_close_frame() {
    let harness = Harness::start(Script::Obliging);
    let mut client = WebClient::sign_in(web(&harness), 1, 2);
    let connection_id = harness.logic.next_sign_in().connection_id;
    let kick = Kick { connection_id, reason: CloseReason::CrReplaced as i32, message: "elsewhere".into() };
    harness.logic.say(down_item::Item::Kick(kick));
    let (notice, code) = client.ending();
    let notice = notice.unwrap();
    assert_eq!((notice.reason(), notice.message.as_str(), code), (CloseReason::CrReplaced, "elsewhere", Some(1008)));
}

#[test]
fn other_requests_are_answered_and_never_hang() {
    let harness = Harness::start_with(Script::Obliging, |settings| {
        settings.websocket.origins = vec!["https://app.example".into()];
    });
    let upgrade = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let cookies = "x".repeat(64 * 1024);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 200),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 200),
        ("HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 200),
        ("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 404),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".to_owned(), 405),
        ("GET /ws HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 426),
        (format!("{upgrade}\r\n").replace("Sec-WebSocket-Key", "X-Key"), 400),
        (format!("{upgrade}\r\n").replace("Version: 13", "Version: 12"), 426),
        (format!("{upgrade}Origin: https://evil.example\r\n\r\n"), 403),
        (format!("{upgrade}Cookie: {cookies}\r\n\r\n"), 431),
        ("GET /healthz HTTP/1.0\r\n\r\n".to_owned(), 200),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505),
        ("\u{16}\u{3}\u{1}\u{0}\u{5}".to_owned(), 400),
    ] {
        let answer = exchange(web(&harness), request.as_bytes());
        assert_eq!(status_of(&answer), status, "{}", &request[..request.len().min(80)]);
    }
    assert!(
        exchange(web(&harness), format!("{upgrade}Origin: https://app.example\r\n\r\n\u{8}\0").as_bytes())
            .starts_with(b"HTTP/1.1 101")
    );
}

#[test]
fn who_never_finishes_the_request_is_answered_at_the_deadline() {
    let harness = Harness::start_with(Script::Obliging, |settings| settings.session.handshake_timeout_ms = 300);
    let mut bystander = WebClient::sign_in(web(&harness), 1, 2);
    let request = "GET /ws HTTP/1.1\r\nHost: a\r\nX-Slow: ".to_owned() + &"y".repeat(100);
    let mut slow = tcp(web(&harness));
    let silent = exchange(web(&harness), b"");
    assert_eq!(status_of(&silent), 408);
    // One byte after the other: none of them moves the deadline.
    let mut answer = [0; 12];
    slow.set_nonblocking(true).unwrap();
    let mut bytes = request.bytes().cycle();
    let deadline = std::time::Instant::now() + common::PATIENCE;
    while slow.read(&mut answer).is_err() {
        assert!(std::time::Instant::now() < deadline, "it is closed in the end");
        let _may_be_cut_off = slow.write_all(&[bytes.next().unwrap()]).is_err();
        std::thread::yield_now();
    }
    assert!(answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
    bystander.heartbeat();
}

#[test]
fn a_web_socket_that_never_signs_in_is_closed_at_the_deadline() {
    let harness = Harness::start_with(Script::Obliging, |settings| settings.session.sign_in_timeout_ms = 300);
    let (notice, code) = WebClient::connect(web(&harness)).ending();
    assert_eq!((notice.unwrap().reason(), code), (CloseReason::CrSignInDeadline, Some(1008)));
}

#[test]
fn a_web_socket_that_goes_without_a_word_is_signed_out() {
    let harness = Harness::start(Script::Obliging);
    let client = WebClient::sign_in(web(&harness), 1, 2);
    client.0.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(harness.logic.next_sign_out().device_id, 2);
}

#[test]
fn tls_and_http_to_the_plain_port_are_bad_frames() {
    let harness = Harness::start(Script::Obliging);
    for bytes in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaa"[..], b"GET / HTTP/1.1\r\n\r\n"]
    {
        let mut client = harness.connect();
        client.send_raw(&bytes.repeat(4)).unwrap();
        assert_closed_for(&mut client, CloseReason::CrBadFrame);
    }
}

#[test]
fn a_flood_of_pings_pongs_or_empty_fragments_is_rate_limited() {
    let harness = Harness::start_with(Script::Obliging, |settings| {
        settings.session.packets_per_s = 1;
        settings.session.packets_burst = 5;
    });
    for (first, flood) in [(raw(0x89, b"ping"), 0x89), (raw(0x8a, b"pong"), 0x8a), (raw(0x02, b""), 0x00)] {
        let mut client = WebClient::sign_in(web(&harness), 1, 2);
        client.0.get_mut().write_all(&[first, raw(flood, b"").repeat(30)].concat()).unwrap();
        let (notice, code) = client.ending();
        assert_eq!((notice.unwrap().reason(), code), (CloseReason::CrRateLimited, Some(1008)), "{flood:02x}");
    }
}

#[test]
fn draining_says_going_away_and_newcomers_get_503() {
    let mut harness = Harness::start_with(Script::SignInsOnly, |_| {});
    let address = web(&harness);
    let mut idle = WebClient::sign_in(address, 1, 1);
    let mut busy = WebClient::sign_in(address, 2, 2);
    busy.send(&packet(SEND, "open", Vec::new()));
    let open = harness.logic.next_packet().request_no;
    let done = harness.begin_stop();
    let (notice, code) = idle.ending();
    assert_eq!((notice.unwrap().reason(), code), (CloseReason::CrServerDraining, Some(1001)));
    assert_eq!(status_of(&exchange(address, b"")), 503);
    harness.logic.reply(open);
    assert_eq!(busy.packet().request_id, "open");
    assert_eq!(busy.ending().1, Some(1001));
    drop((idle, busy));
    done.recv_timeout(common::PATIENCE).unwrap();
}

/// Sends a request for a WebSocket as a proxy does; returns the status.
fn open_for(address: SocketAddr, forwarded_for: &str) -> (std::net::TcpStream, u16) {
    let mut stream = tcp(address);
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Forwarded-For: {forwarded_for}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    let status = str::from_utf8(&status[9..]).unwrap().parse().unwrap();
    (stream, status)
}

#[test]
fn behind_a_listed_proxy_the_limit_per_address_is_the_clients() {
    let harness = Harness::start_with(Script::Obliging, |settings| {
        settings.limits.connections_per_ip_max = 1;
        settings.proxies = gim_config::networks::Networks::new(vec!["127.0.0.0/8".parse().unwrap()]);
    });
    let (_first, status) = open_for(web(&harness), "203.0.113.1");
    assert_eq!(status, 101);
    let (_other, status) = open_for(web(&harness), "203.0.113.2");
    assert_eq!(status, 101);
    let (_second, status) = open_for(web(&harness), "203.0.113.1, 127.0.0.9");
    assert_eq!(status, 503);
}

#[test]
fn nobody_else_is_believed() {
    let harness = Harness::start_with(Script::Obliging, |settings| settings.limits.connections_per_ip_max = 1);
    let (mut first, status) = open_for(web(&harness), "203.0.113.1");
    assert_eq!(status, 101);
    let (_second, status) = open_for(web(&harness), "203.0.113.2");
    assert_eq!(status, 101);
    let mut goodbye = Vec::new();
    first.read_to_end(&mut goodbye).unwrap();
    let text = String::from_utf8_lossy(&goodbye);
    assert!(text.contains("had not signed in"), "this machine has one connection, and the first gives way: {text}");
}

#[test]
fn the_proxy_protocol_names_the_client_on_every_listener() {
    let harness = Harness::start_with(Script::Obliging, |settings| {
        settings.limits.connections_per_ip_max = 1;
        settings.proxies = gim_config::networks::Networks::new(vec!["127.0.0.0/8".parse().unwrap()]);
    });
    let mut stream = tcp(harness.tcp);
    let mut bytes = proxy_header("203.0.113.9:4711");
    bytes.extend(sign_in_packet(1, 2).encode_length_delimited_to_vec());
    for piece in bytes.chunks(5) {
        stream.write_all(piece).unwrap();
    }
    assert_eq!(harness.logic.next_sign_in().client_addr, "203.0.113.9:4711");

    for again in ["203.0.113.9:4712", "[::ffff:203.0.113.9]:4713"] {
        let mut second = harness.connect();
        second.send_raw(&proxy_header(again)).unwrap();
        assert_closed_for(&mut second, CloseReason::CrAddressFull);
    }

    let mut web_stream = tcp(web(&harness));
    web_stream.write_all(&proxy_header("203.0.113.10:1")).unwrap();
    let mut client = WebClient::open(web_stream, &format!("/ws?user_id=3&device_id=4&token={TOKEN}"));
    assert_eq!(harness.logic.next_sign_in().client_addr, "203.0.113.10:1");
    assert_eq!(client.packet().command, PacketCommand::PcSignIn as i32);

    let mut without = harness.connect();
    assert_eq!(without.sign_in(5, 6, TOKEN).unwrap().code, 0, "a proxy may also speak for itself");

    for bytes in
        [&b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0c"[..], b"PROXY TCP4 203.0.113.9\r\n", b"GET / HTTP/1.1\r\n\r\n"]
    {
        let mut broken = harness.connect();
        broken.send_raw(bytes).unwrap();
        let _closed_without_a_word = broken.receive().unwrap_err();
    }
}

#[test]
fn the_line_of_an_older_proxy_names_the_client_however_it_is_cut() {
    let harness = Harness::start_with(Script::Obliging, |settings| {
        settings.proxies = gim_config::networks::Networks::new(vec!["127.0.0.0/8".parse().unwrap()]);
    });
    let lines = [
        ("PROXY TCP4 203.0.113.9 192.0.2.1 47110 8002\r\n", "203.0.113.9:47110"),
        ("PROXY TCP6 2001:db8::9 2001:db8::1 47110 8002\r\n", "[2001:db8::9]:47110"),
    ];
    for (device_id, ((line, client_addr), piece_bytes)) in
        (1..).zip(lines.into_iter().flat_map(|line| [(line, 1), (line, 7), (line, 4096)]))
    {
        let mut stream = tcp(harness.tcp);
        let mut bytes = line.as_bytes().to_vec();
        bytes.extend(sign_in_packet(1, device_id).encode_length_delimited_to_vec());
        for piece in bytes.chunks(piece_bytes) {
            stream.write_all(piece).unwrap();
        }
        assert_eq!(harness.logic.next_sign_in().client_addr, client_addr);

        let mut web_stream = tcp(web(&harness));
        for piece in line.as_bytes().chunks(piece_bytes) {
            web_stream.write_all(piece).unwrap();
        }
        let _client = WebClient::open(web_stream, &format!("/ws?user_id=2&device_id={device_id}&token={TOKEN}"));
        assert_eq!(harness.logic.next_sign_in().client_addr, client_addr);
    }
    let mut unknown = harness.connect();
    unknown.send_raw(b"PROXY UNKNOWN\r\n").unwrap();
    assert_eq!(unknown.sign_in(5, 6, TOKEN).unwrap().code, 0, "a proxy may also speak for itself");
}
