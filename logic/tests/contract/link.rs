//! The link, spoken by hand over a real stream.

use crate::support::{business::StubBusiness, conn::Conn, refusal, server, server_with, soon};
use gim_proto::{
    CloseReason, LINK_VERSION, ResultCode,
    connect::{self, PacketCommand, SendRequest, send_request::Target},
    logic::{
        ConnectionUser, GroupKind, Hello, ListOnlineRequest, NewestSeqQuestion, PushRoomRequest, PushToAllRequest,
        RoomRelease, SubscribeRoomRequest, SyncReply, SyncRequest, Up, UserMessagePush, down_item::Item, up_item,
    },
};
use prost::Message as _;

pub(super) fn send_request(to_user_id: u64, text: &str, client_msg_id: &str) -> SendRequest {
    SendRequest {
        target: Some(Target::UserId(to_user_id)),
        command: 0,
        content: text.as_bytes().to_vec().into(),
        client_msg_id: client_msg_id.into(),
    }
}

pub(super) fn room_push(room_id: u64, text: &str) -> PushRoomRequest {
    PushRoomRequest {
        room_id,
        command: 5000,
        content: text.as_bytes().to_vec().into(),
        is_persist: true,
        ..PushRoomRequest::default()
    }
}

/// The one push in an item: body, seq, prev_seq and connections.
pub(super) fn pushed(item: Item) -> (connect::Message, u64, u64, Vec<u64>) {
    let Item::Push(push) = item else { panic!("{item:?}") };
    assert_eq!(push.targets.len(), 1, "{push:?}");
    let target = &push.targets[0];
    let body = connect::Message::decode(push.message).unwrap();
    assert_eq!((body.seq, body.prev_seq), (0, 0), "what differs per receiver stands in the target");
    (body, target.seq, target.prev_seq, target.connection_ids.clone())
}

pub(super) async fn online(server: &crate::support::Server, user_id: u64) -> Vec<(u64, String)> {
    let request = ListOnlineRequest { user_ids: vec![user_id] };
    let reply = server.device_int().list_online(request).await.unwrap().into_inner();
    let mut devices: Vec<_> = reply.devices.into_iter().map(|device| (device.device_id, device.node)).collect();
    devices.sort();
    devices
}

#[tokio::test]
async fn a_stream_begins_with_a_hello_of_the_same_version() {
    let server = server().await;
    let attach = |hello: Option<Hello>| Conn::attach_with(server.channel.clone(), Up { hello, items: Vec::new() });
    let older = Hello { version: 0, node: "conn-1".into(), epoch: 1, ..Hello::default() };
    let Err(status) = attach(Some(older)).await else { panic!("an older version was let in") };
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    assert!(status.message().starts_with("hello.version: this logic speaks version 1"), "{}", status.message());
    let newer = Hello { version: LINK_VERSION + 1, node: "conn-1".into(), epoch: 1, ..Hello::default() };
    let Err(status) = attach(Some(newer)).await else { panic!("a newer version was let in") };
    assert!(status.message().ends_with("run both from the same release"), "{}", status.message());
    let Err(status) = attach(None).await else { panic!("a stream without hello was let in") };
    assert!(status.message().starts_with("hello: "), "{}", status.message());
}

#[tokio::test]
async fn sign_in_asks_the_business_and_passes_the_request_id_on() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    assert_eq!(conn.sign_in(7, 70, 700).await, 0);
    assert_eq!(server.business.state.request_ids.lock().unwrap().as_slice(), ["sign-in-700"]);
    assert_eq!(online(&server, 7).await, [(70, "conn-1".to_owned())]);

    let refused = [
        (7, 70, "wrong", ResultCode::SignInAgain),
        (0, 70, "token-0", ResultCode::BadRequest),
        (7, u64::MAX, "token-7", ResultCode::BadRequest),
        (7, 70, "", ResultCode::BadRequest),
        (7, 70, "crash", ResultCode::Internal),
    ];
    for (user_id, device_id, token, code) in refused {
        let result = conn.try_sign_in(user_id, device_id, 701, token).await;
        assert_eq!(result.code, code.number(), "{token}: {}", result.message);
        assert!(!result.message.contains("secret"), "{}", result.message);
    }
    assert_eq!(online(&server, 7).await.len(), 1, "a refused sign-in changes nothing");
}

#[tokio::test]
async fn a_business_that_is_away_means_try_again_later() {
    let business = StubBusiness::start().await;
    let server = server_with(StubBusiness::start().await, |settings| {
        settings.business.endpoint = business.endpoint().into();
        settings.business.call_timeout_ms = 200;
    })
    .await;
    drop(business);
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let result = conn.try_sign_in(7, 70, 700, "token-7").await;
    assert_eq!(result.code, ResultCode::TryAgainLater.number(), "{}", result.message);
}

#[tokio::test]
async fn a_push_reaches_every_device_with_its_seqs() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    conn.sign_in(7, 71, 701).await;
    let message_id = server.push(&[7, 8, 7], "hello").await;
    let (body, seq, prev_seq, mut connections) = pushed(conn.next().await);
    connections.sort_unstable();
    assert_eq!((seq, prev_seq, connections), (1, 0, vec![700, 701]));
    assert_eq!((body.message_id, body.command, &body.content[..]), (message_id, 5000, &b"hello"[..]));
    assert_eq!(body.created_at, body.created_at_ms / 1000);
    server.push(&[7], "again").await;
    let (_, seq, prev_seq, _) = pushed(conn.next().await);
    assert_eq!((seq, prev_seq), (2, 1));
}

#[tokio::test]
async fn a_newer_sign_in_of_a_device_closes_the_older_connection_anywhere() {
    let server = server().await;
    let mut first = Conn::attach(&server, "conn-1", 1).await;
    let mut second = Conn::attach(&server, "conn-2", 1).await;
    first.sign_in(7, 70, 700).await;
    second.sign_in(7, 70, 900).await;
    let Item::Kick(kick) = first.next().await else { panic!("no kick") };
    assert_eq!((kick.connection_id, kick.reason), (700, CloseReason::CrReplaced as i32));
    // The old connection closes and says so late: the new one stays where it is.
    first.sign_out(7, 70, 700).await;
    first.sign_in(8, 80, 800).await;
    assert_eq!(online(&server, 7).await, [(70, "conn-2".to_owned())]);
    server.push(&[7], "hello").await;
    assert_eq!(pushed(second.next().await).3, [900]);
}

#[tokio::test]
async fn a_sign_out_that_overtakes_its_sign_in_leaves_no_route() {
    let server = server().await;
    let state = server.business.state.clone();
    state.holds_auth.store(true, std::sync::atomic::Ordering::SeqCst);
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.begin_sign_in(7, 70, 700, "token-7").await;
    soon(state.arrived.notified()).await;
    conn.sign_out(7, 70, 700).await;
    conn.packet(7, 999, Vec::new()).await;
    state.let_go.notify_one();
    let Item::SignInResult(_) = conn.next().await else { panic!("no answer") };
    assert!(online(&server, 7).await.is_empty());
}

#[tokio::test]
async fn a_send_is_wrapped_stored_and_delivered_once() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    conn.sign_in(7, 71, 701).await;
    conn.sign_in(8, 80, 800).await;
    let request_no =
        conn.begin_packet(7, PacketCommand::PcSend as i32, send_request(8, "hi", "a").encode_to_vec()).await;
    let (mut reply, mut push) = (None, None);
    while reply.is_none() || push.is_none() {
        match conn.next().await {
            Item::PacketReply(packet_reply) => reply = Some(packet_reply),
            Item::Push(item) => push = Some(item),
            other => panic!("{other:?}"),
        }
    }
    let (reply, push) = (reply.unwrap(), push.unwrap());
    assert_eq!((reply.request_no, reply.code), (request_no, 0), "{}", reply.message);
    let first = connect::SendReply::decode(reply.data).unwrap();
    assert_eq!((first.seq, first.duplicate), (1, false));
    let mut connections: Vec<u64> = push.targets.iter().flat_map(|target| target.connection_ids.clone()).collect();
    connections.sort_unstable();
    assert_eq!(connections, [701, 800], "the device that sent it needs no copy");
    let body = connect::Message::decode(push.message).unwrap();
    assert_eq!((body.command, body.message_id), (1, first.message_id));
    let wrapped = UserMessagePush::decode(body.content).unwrap();
    let card = wrapped.from_user.unwrap();
    assert_eq!((card.user_id, card.device_id, card.nickname.as_str()), (7, 70, "nick-7"));
    assert_eq!((wrapped.to_user_id, &wrapped.content[..]), (8, &b"hi"[..]));

    let again = conn.send_message(7, send_request(8, "hi", "a")).await.unwrap();
    assert_eq!(again, connect::SendReply { duplicate: true, ..first });
    let reply = conn.packet(8, PacketCommand::PcSync as i32, SyncRequest::default().encode_to_vec()).await;
    let page = SyncReply::decode(reply.data).unwrap();
    assert_eq!((page.messages.len(), page.has_more), (1, false));
    assert_eq!((page.messages[0].seq, page.messages[0].message_id), (1, first.message_id));
}

#[tokio::test]
async fn sends_of_one_user_keep_their_order() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let packets = (0..200).map(|number: u64| {
        up_item::Item::Packet(gim_proto::logic::ClientPacket {
            request_no: number,
            user_id: 7,
            device_id: 70,
            command: PacketCommand::PcSend as i32,
            content: send_request(8, &number.to_string(), &format!("id-{number}")).encode_to_vec().into(),
            ..gim_proto::logic::ClientPacket::default()
        })
    });
    conn.send(packets.collect()).await;
    let mut seqs = vec![0; 200];
    for _ in 0..200 {
        let reply = conn.reply().await;
        assert_eq!(reply.code, 0, "{}", reply.message);
        seqs[reply.request_no as usize] = connect::SendReply::decode(reply.data).unwrap().seq;
    }
    assert_eq!(seqs, (1..=200).collect::<Vec<u64>>());
}

#[tokio::test]
async fn what_a_client_may_not_send_is_refused_with_its_code() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let send = |change: fn(&mut SendRequest)| {
        let mut request = send_request(8, "hi", "a");
        change(&mut request);
        request.encode_to_vec()
    };
    let pc_send = PacketCommand::PcSend as i32;
    let refused = [
        (pc_send, send(|request| request.target = None), ResultCode::BadRequest, "target: "),
        (pc_send, send(|request| request.target = Some(Target::UserId(0))), ResultCode::BadRequest, "user_id: "),
        (
            pc_send,
            send(|request| request.target = Some(Target::UserId(1000))),
            ResultCode::UserNotFound,
            "there is no user 1000",
        ),
        (
            pc_send,
            send(|request| request.target = Some(Target::GroupId(5))),
            ResultCode::NotInGroup,
            "you are not in group 5",
        ),
        (pc_send, send(|request| request.command = 120), ResultCode::NotAllowed, "command: "),
        (pc_send, send(|request| request.client_msg_id.clear()), ResultCode::BadRequest, "client_msg_id: "),
        (pc_send, send(|request| request.client_msg_id = "x".repeat(65)), ResultCode::TooLarge, "client_msg_id: "),
        (pc_send, send(|request| request.content = vec![0; 61_441].into()), ResultCode::TooLarge, "content: "),
        (pc_send, vec![0xff; 9], ResultCode::BadRequest, "content: is no SendRequest"),
        (
            PacketCommand::PcSync as i32,
            SyncRequest { seq: 99, ..SyncRequest::default() }.encode_to_vec(),
            ResultCode::BeyondNewest,
            "seq: 99 is beyond",
        ),
        (PacketCommand::PcSync as i32, vec![0xff; 9], ResultCode::BadRequest, "content: "),
        (PacketCommand::PcMessageAck as i32, vec![0x08, 0x63], ResultCode::BeyondNewest, "device_ack: 99 is beyond"),
        (PacketCommand::PcMessageAck as i32, Vec::new(), ResultCode::BadRequest, "device_ack: must not be 0"),
        (PacketCommand::PcSubscribeRoom as i32, vec![0xff; 9], ResultCode::BadRequest, "content: "),
        (PacketCommand::PcHeartbeat as i32, Vec::new(), ResultCode::UnknownCommand, "there is no command 2"),
        (999, Vec::new(), ResultCode::UnknownCommand, "there is no command 999"),
        (-5, Vec::new(), ResultCode::UnknownCommand, "there is no command -5"),
    ];
    for (command, content, code, text) in refused {
        let reply = conn.packet(7, command, content).await;
        assert_eq!(reply.code, code.number(), "{}", reply.message);
        assert!(reply.message.starts_with(text), "{} is not {text}", reply.message);
    }
    let page = conn.packet(7, PacketCommand::PcSync as i32, Vec::new()).await;
    assert!(page.data.is_empty(), "nothing of all that was stored");
}

#[tokio::test]
async fn commands_of_the_business_are_handed_through() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let reply = conn.packet(7, 1000, b"data".to_vec()).await;
    assert_eq!((reply.code, reply.message.as_str(), &reply.data[..]), (42, "command 1000 of user 7", &b"data"[..]));
}

#[tokio::test]
async fn a_product_with_its_own_users_needs_auth_only() {
    let server = server_with(StubBusiness::only_auth().await, |_| ()).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    let reply = conn.send_message(7, send_request(5_000_000, "hi", "a")).await.unwrap();
    assert_eq!(reply.seq, 1, "any receiver will do, and the card is bare");
    let reply = conn.packet(7, 1000, Vec::new()).await;
    assert_eq!(reply.code, ResultCode::UnknownCommand.number());
}

#[tokio::test]
async fn a_subscription_gets_what_was_retained_before_anything_newer() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let mut rooms = server.room_int();
    for number in 1..=3 {
        rooms.push_room(room_push(9, &number.to_string())).await.unwrap();
    }
    // Pushes keep coming while the subscription is under way.
    let pusher = tokio::spawn(async move {
        for number in 4..=60 {
            rooms.push_room(room_push(9, &number.to_string())).await.unwrap();
        }
    });
    let reply = conn.subscribe(7, 9, 1).await;
    let subscribed = reply.subscribed.unwrap();
    assert_eq!((reply.code, subscribed.room_id), (0, 9));
    let mut seqs: Vec<u64> =
        subscribed.retained.into_iter().map(|bytes| connect::Message::decode(bytes).unwrap().room_seq).collect();
    while seqs.last() != Some(&60) {
        let Item::RoomPush(push) = conn.next().await else { panic!("no room push") };
        let message = connect::Message::decode(push.message).unwrap();
        assert_eq!((push.room_id, message.room_id), (9, 9));
        seqs.push(message.room_seq);
    }
    assert_eq!(seqs, (2..=60).collect::<Vec<u64>>());
    pusher.await.unwrap();
}

#[tokio::test]
async fn only_nodes_with_subscribers_get_a_rooms_messages() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let mut rooms = server.room_int();
    conn.subscribe(7, 9, 0).await;
    rooms.push_room(room_push(8, "to nobody")).await.unwrap();
    rooms
        .push_room(PushRoomRequest { is_priority: true, send_time: 1_700_000_000_500, ..room_push(9, "one") })
        .await
        .unwrap();
    let Item::RoomPush(push) = conn.next().await else { panic!("no room push") };
    let message = connect::Message::decode(push.message).unwrap();
    assert_eq!((push.is_priority, message.room_seq, message.created_at), (true, 1, 1_700_000_000));
    assert_eq!(message.created_at_ms, 1_700_000_000_500);

    conn.send(vec![up_item::Item::RoomRelease(RoomRelease { room_id: 9 })]).await;
    assert_eq!(conn.subscribe(7, 0, 0).await.subscribed.unwrap().room_id, 0, "leaving is answered too");
    rooms.push_room(room_push(9, "to nobody")).await.unwrap();
    server
        .message_int()
        .push_to_all(PushToAllRequest { command: 5000, content: b"all"[..].into(), ..Default::default() })
        .await
        .unwrap();
    let Item::PushAll(all) = conn.next().await else { panic!("a room push came to a node without subscribers") };
    assert_eq!(&connect::Message::decode(all.message).unwrap().content[..], b"all");
}

#[tokio::test]
async fn a_client_speaks_in_a_room_under_its_own_name() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.subscribe(8, 9, 0).await;
    let request =
        SendRequest { target: Some(Target::RoomId(9)), client_msg_id: String::new(), ..send_request(1, "hi", "") };
    let request_no = conn.begin_packet(7, PacketCommand::PcSend as i32, request.encode_to_vec()).await;
    let Item::RoomPush(push) = conn.next().await else { panic!("no room push") };
    let message = connect::Message::decode(push.message).unwrap();
    let wrapped = UserMessagePush::decode(message.content).unwrap();
    assert_eq!((wrapped.from_user.unwrap().user_id, &wrapped.content[..]), (7, &b"hi"[..]));
    let reply = conn.reply().await;
    let sent = connect::SendReply::decode(reply.data).unwrap();
    assert_eq!((reply.request_no, sent.seq, sent.message_id), (request_no, 0, message.message_id));
}

#[tokio::test]
async fn a_service_moves_a_device_into_a_room() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    let request = SubscribeRoomRequest { user_id: 7, device_id: 70, room_id: 9, seq: 0, from_start: false };
    server.room_int().subscribe_room(request).await.unwrap();
    let Item::RoomMove(moved) = conn.next().await else { panic!("no move") };
    assert_eq!((moved.connection_id, moved.subscribed.unwrap().room_id), (700, 9));
    server.room_int().push_room(room_push(9, "hello")).await.unwrap();
    assert!(matches!(conn.next().await, Item::RoomPush(_)));

    let other = SubscribeRoomRequest { user_id: 8, ..request };
    assert_eq!(refusal(server.room_int().subscribe_room(other).await).0, ResultCode::ConnectionOfOtherDevice);
    let absent = SubscribeRoomRequest { device_id: 71, ..request };
    assert_eq!(refusal(server.room_int().subscribe_room(absent).await).0, ResultCode::ConnectionNotFound);
}

#[tokio::test]
async fn newest_seqs_are_answered_in_batches() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    server.push(&[7, 8], "one").await;
    server.push(&[8], "two").await;
    let connections = [(1, 7), (2, 8), (3, 9)].map(|(connection_id, user_id)| ConnectionUser {
        connection_id,
        user_id,
        ..ConnectionUser::default()
    });
    conn.send(vec![up_item::Item::NewestSeq(NewestSeqQuestion { connections: connections.to_vec() })]).await;
    let Item::NewestSeq(answer) = conn.next().await else { panic!("no answer") };
    let seqs: Vec<_> = answer.connections.iter().map(|item| (item.connection_id, item.newest_seq)).collect();
    assert_eq!(seqs, [(1, 1), (2, 2), (3, 0)]);
}

#[tokio::test]
async fn pushes_that_a_slow_node_does_not_take_come_as_hints() {
    let change = |settings: &mut gim_logic::LogicSettings| {
        settings.link.down_pushes_max = 4;
        settings.link.batch_items_max = 1;
    };
    let server = server_with(StubBusiness::start().await, change).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    // The node reads nothing meanwhile; HTTP/2 holds some of it, the queue a little more.
    let text = "x".repeat(60_000);
    for _ in 0..100 {
        server.push(&[7], &text).await;
    }
    let mut newest = 0;
    let mut pushes = 0;
    while newest < 100 {
        match conn.next().await {
            Item::Push(push) => {
                pushes += 1;
                newest = newest.max(push.targets[0].seq);
            }
            Item::NewestSeq(answer) => {
                assert_eq!(answer.connections[0].connection_id, 700);
                newest = newest.max(answer.connections[0].newest_seq);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(pushes < 100, "some pushes had to be dropped for this test to say something");
}

#[tokio::test]
async fn the_answer_to_a_send_tells_what_it_took_in_the_inbox_of_the_sender() {
    let server = server().await;
    let normal = server.make(GroupKind::GkNormal, &[7, 8]).await;
    let large = server.make(GroupKind::GkLarge, &[7, 8]).await;
    let newest = server.store_newest_seq(7).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let (to_user, to_normal, to_large) = (Target::UserId(8), Target::GroupId(normal), Target::GroupId(large));
    for (target, key, inbox_seq) in [
        (to_user, "a", newest + 1),
        (to_normal, "b", newest + 2),
        (to_large, "c", 0),
        (to_user, "a", 0),
        (to_user, "d", newest + 3),
    ] {
        let request = SendRequest { target: Some(target), ..send_request(0, "x", key) };
        let request_no = conn.begin_packet(7, PacketCommand::PcSend as i32, request.encode_to_vec()).await;
        // What is for a large group goes to every node, too.
        let reply = loop {
            if let Item::PacketReply(reply) = conn.next().await {
                break reply;
            }
        };
        assert_eq!((reply.request_no, reply.code, reply.inbox_seq), (request_no, 0, inbox_seq), "{key}");
    }
}
