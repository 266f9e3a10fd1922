//! Rooms and pushes to all, past their order: who is there, who overtakes, what is repeated, what is too much.

use std::collections::HashMap;

use crate::support::{Server, business::StubBusiness, conn::Conn, refusal, server, server_with, soon};
use bytes::Bytes;
use gim_logic::domain::clock;
use gim_proto::{
    ResultCode,
    connect::{self, PacketCommand, SendRequest, send_request::Target},
    logic::{
        CountRoomMembersRequest, PushAllDone, PushRoomRequest, PushToAllRequest, RoomMemberCount, RoomMembers,
        SubscribeRoomRequest, UserMessagePush, down_item::Item, up_item,
    },
    metadata,
};
use prost::Message as _;

fn room_push(room_id: u64, text: &str) -> PushRoomRequest {
    PushRoomRequest { room_id, command: 5000, content: text.as_bytes().to_vec().into(), ..PushRoomRequest::default() }
}

async fn next_room_push(conn: &mut Conn) -> (bool, connect::Message) {
    match conn.next().await {
        Item::RoomPush(push) => (push.is_priority, connect::Message::decode(push.message).unwrap()),
        other => panic!("no room push: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_pushers_keep_the_order_of_a_room_and_priority_overtakes() {
    let change = |settings: &mut gim_logic::LogicSettings| settings.link.batch_items_max = 1;
    let server = server_with(StubBusiness::start().await, change).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    for (user_id, room_id) in [(7, 1), (8, 2)] {
        conn.subscribe(user_id, room_id, 0).await;
    }
    // The node reads nothing meanwhile; HTTP/2 holds some of it, the queue the rest.
    let text = "x".repeat(20_000);
    let pushers = (0..8).map(|pusher| {
        let (mut rooms, text) = (server.room_int(), text.clone());
        tokio::spawn(async move {
            for number in 0..50 {
                rooms.push_room(room_push(number % 2 + 1, &format!("{pusher} {number} {text}"))).await.unwrap();
            }
        })
    });
    for pusher in pushers.collect::<Vec<_>>() {
        soon(pusher).await.unwrap();
    }
    for text in ["first", "second"] {
        let urgent = PushRoomRequest { is_priority: true, ..room_push(1, text) };
        server.room_int().push_room(urgent).await.unwrap();
    }

    let (mut seqs, mut urgent, mut before) = (HashMap::<u64, Vec<u64>>::new(), Vec::new(), 0);
    let mut last_of: HashMap<(u64, String), u64> = HashMap::new();
    while seqs.values().map(Vec::len).sum::<usize>() + urgent.len() < 8 * 50 + 2 {
        let (is_priority, message) = next_room_push(&mut conn).await;
        let content = String::from_utf8(message.content.to_vec()).unwrap();
        if is_priority {
            urgent.push((message.room_seq, content));
            continue;
        }
        before += usize::from(urgent.is_empty());
        seqs.entry(message.room_id).or_default().push(message.room_seq);
        let mut words = content.split(' ');
        let (pusher, number) = (words.next().unwrap().to_owned(), words.next().unwrap().parse().unwrap());
        let last = last_of.insert((message.room_id, pusher), number);
        assert!(last.is_none_or(|last| last < number), "one pusher's messages keep their order");
    }
    for (room_id, seqs) in seqs {
        assert_eq!(seqs, (1..=200).collect::<Vec<u64>>(), "room {room_id}");
    }
    assert_eq!(urgent, [(201, "first".to_owned()), (202, "second".to_owned())], "among themselves they keep theirs");
    assert!(before < 8 * 50, "all {before} normal pushes came before the priority push");
}

#[tokio::test]
async fn what_is_retained_is_replayed_to_a_device_moved_into_the_room() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    conn.subscribe(8, 9, 0).await;
    for number in 1..=3 {
        let push = PushRoomRequest { is_persist: number != 2, ..room_push(9, &number.to_string()) };
        server.room_int().push_room(push).await.unwrap();
        assert_eq!(next_room_push(&mut conn).await.1.room_seq, number);
    }
    let cases = [(0, false, vec![]), (0, true, vec![1, 3]), (1, false, vec![3]), (1, true, vec![3]), (3, true, vec![])];
    for (seq, from_start, expected) in cases {
        let request = SubscribeRoomRequest { user_id: 7, device_id: 70, room_id: 9, seq, from_start };
        server.room_int().subscribe_room(request).await.unwrap();
        let Item::RoomMove(moved) = conn.next().await else { panic!("no move") };
        let retained = moved.subscribed.unwrap().retained.into_iter();
        let seqs: Vec<u64> = retained.map(|encoded| connect::Message::decode(encoded).unwrap().room_seq).collect();
        assert_eq!(seqs, expected, "after {seq}, from the start: {from_start}");
        let request = connect::SubscribeRoomRequest { room_id: 9, seq, from_start }.encode_to_vec();
        let reply = conn.packet(7, PacketCommand::PcSubscribeRoom as i32, request).await;
        let retained = reply.subscribed.unwrap_or_default().retained.into_iter();
        let seqs: Vec<u64> = retained.map(|encoded| connect::Message::decode(encoded).unwrap().room_seq).collect();
        assert_eq!(seqs, expected, "for a client, after {seq}, from the start: {from_start}");
    }
}

#[tokio::test]
async fn a_client_pushes_into_a_room_under_its_own_name_only() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.subscribe(8, 9, 0).await;
    let push = PushRoomRequest { is_persist: true, is_priority: true, ..room_push(9, "hi") };
    let wrong = metadata::signed(push.clone(), 7, 70, "token-8");
    assert_eq!(refusal(server.room_ext().push_room(wrong).await).0, ResultCode::SignInAgain);
    server.room_ext().push_room(metadata::signed(push, 7, 70, "token-7")).await.unwrap();
    let (is_priority, message) = next_room_push(&mut conn).await;
    let wrapped = UserMessagePush::decode(message.content).unwrap();
    assert_eq!((is_priority, message.room_seq, wrapped.from_user.unwrap().user_id), (false, 1, 7));
    assert_eq!(&wrapped.content[..], b"hi");
    let request = connect::SubscribeRoomRequest { room_id: 9, seq: 0, from_start: true }.encode_to_vec();
    let reply = conn.packet(8, PacketCommand::PcSubscribeRoom as i32, request).await;
    assert!(reply.subscribed.unwrap().retained.is_empty(), "only services have something retained");
}

#[tokio::test]
async fn a_client_sets_no_time_nor_priority_and_has_a_share_of_a_room() {
    let change = |settings: &mut gim_logic::LogicSettings| {
        settings.room.clients_retain = true;
        settings.room.user_retained_bytes_max = 2048;
    };
    let server = server_with(StubBusiness::start().await, change).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.subscribe(8, 9, 0).await;
    let push = PushRoomRequest { is_persist: true, is_priority: true, send_time: 1 << 62, ..room_push(9, "hi") };
    let push_as = async |user_id: u64| {
        let signed = metadata::signed(push.clone(), user_id, 10 * user_id, &format!("token-{user_id}"));
        server.room_ext().push_room(signed).await
    };
    push_as(7).await.unwrap();
    let (is_priority, message) = next_room_push(&mut conn).await;
    assert!(!is_priority && (message.created_at_ms - clock::now_ms()).abs() < 60_000, "{message:?}");
    push_as(7).await.unwrap();
    assert_eq!(refusal(push_as(7).await).0, ResultCode::TooManyRequests);
    push_as(8).await.unwrap();
}

#[tokio::test]
async fn all_rooms_together_retain_no_more_than_the_settings_allow() {
    const BYTES_MAX: usize = 400_000;
    let change = |settings: &mut gim_logic::LogicSettings| settings.room.rooms_retained_bytes_max = BYTES_MAX;
    let server = server_with(StubBusiness::start().await, change).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let text = "x".repeat(50_000);
    for room_id in 1..=20 {
        let push = PushRoomRequest { is_persist: true, ..room_push(room_id, &text) };
        server.room_int().push_room(push).await.unwrap();
    }
    let mut retained_bytes = 0;
    for room_id in 1..=20 {
        let request = connect::SubscribeRoomRequest { room_id, seq: 0, from_start: true }.encode_to_vec();
        let reply = conn.packet(room_id, PacketCommand::PcSubscribeRoom as i32, request).await;
        let retained = reply.subscribed.unwrap_or_default().retained;
        retained_bytes += retained.iter().map(|message| message.len()).sum::<usize>();
    }
    assert!(retained_bytes <= BYTES_MAX && retained_bytes > BYTES_MAX / 2, "{retained_bytes}");
}

#[tokio::test]
async fn rooms_cost_something_besides_what_they_retain() {
    const ROOMS: usize = 50;
    let change = |settings: &mut gim_logic::LogicSettings| settings.room.rooms_retained_bytes_max = ROOMS * 1024;
    let server = server_with(StubBusiness::start().await, change).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    for room_id in 1..=3 * ROOMS as u64 {
        let push = PushRoomRequest { is_persist: true, ..room_push(room_id, "x") };
        server.room_int().push_room(push).await.unwrap();
    }
    let mut retaining = 0;
    for room_id in 1..=3 * ROOMS as u64 {
        let request = connect::SubscribeRoomRequest { room_id, seq: 0, from_start: true }.encode_to_vec();
        let reply = conn.packet(room_id, PacketCommand::PcSubscribeRoom as i32, request).await;
        retaining += reply.subscribed.unwrap_or_default().retained.len();
    }
    assert!(retaining < ROOMS && retaining > ROOMS / 2, "{retaining} messages of a byte");
}

#[tokio::test]
async fn one_user_does_not_push_out_what_others_have_a_room_retain() {
    let change = |settings: &mut gim_logic::LogicSettings| settings.room.clients_retain = true;
    let server = server_with(StubBusiness::start().await, change).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    for number in 0..90 {
        let push = PushRoomRequest { is_persist: true, ..room_push(9, &format!("news {number}")) };
        server.room_int().push_room(push).await.unwrap();
    }
    let push = PushRoomRequest { is_persist: true, ..room_push(9, "me!") };
    let mut refused = 0;
    for _ in 0..100 {
        let pushed = server.room_ext().push_room(metadata::signed(push.clone(), 7, 70, "token-7")).await;
        if pushed.is_err() {
            assert_eq!(refusal(pushed).0, ResultCode::TooManyRequests);
            refused += 1;
        }
    }
    server.room_ext().push_room(metadata::signed(push, 8, 80, "token-8")).await.unwrap();
    let request = connect::SubscribeRoomRequest { room_id: 9, seq: 0, from_start: true }.encode_to_vec();
    let reply = conn.packet(8, PacketCommand::PcSubscribeRoom as i32, request).await;
    let retained = reply.subscribed.unwrap().retained;
    let of_service = |encoded: &Bytes| connect::Message::decode(encoded.clone()).unwrap().content.starts_with(b"news");
    let kept = retained.iter().filter(|encoded| of_service(encoded)).count();
    assert!(refused >= 80 && kept >= 80, "{refused} refused, {kept} kept");
}

#[tokio::test]
async fn a_user_who_asks_for_retained_messages_in_a_loop_is_refused_them() {
    let change = |settings: &mut gim_logic::LogicSettings| {
        settings.room.user_replay_bytes_max = 1024;
        settings.room.user_replay_refill_ms = 3_600_000;
    };
    let server = server_with(StubBusiness::start().await, change).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let push = PushRoomRequest { is_persist: true, ..room_push(9, &"x".repeat(600)) };
    server.room_int().push_room(push).await.unwrap();
    let mut subscribe = async |user_id, from_start| {
        let request = connect::SubscribeRoomRequest { room_id: 9, seq: 0, from_start }.encode_to_vec();
        conn.packet(user_id, PacketCommand::PcSubscribeRoom as i32, request).await.code
    };
    assert_eq!([subscribe(7, true).await, subscribe(7, true).await], [0, 0]);
    assert_eq!(subscribe(7, true).await, ResultCode::TooManyRequests.number());
    assert_eq!([subscribe(7, false).await, subscribe(8, true).await], [0, 0]);
}

#[tokio::test]
async fn a_send_into_a_room_that_is_repeated_is_delivered_once() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.subscribe(8, 9, 0).await;
    let request = |text: &str, client_msg_id: &str| SendRequest {
        target: Some(Target::RoomId(9)),
        command: 0,
        content: text.as_bytes().to_vec().into(),
        client_msg_id: client_msg_id.into(),
    };
    let send = async |request: SendRequest| {
        let signed = metadata::signed(request, 7, 70, "token-7");
        server.message_ext().send(signed).await.unwrap().into_inner()
    };
    let first = send(request("one", "a")).await;
    let again = send(request("one", "a")).await;
    assert_eq!(again, connect::SendReply { duplicate: true, ..first });
    let other = send(request("two", "b")).await;
    let (one, two) = (send(request("three", "")).await, send(request("three", "")).await);
    assert!(!one.duplicate && !two.duplicate, "without a key nothing is recognised");
    for sent in [first, other, one, two] {
        assert_eq!(next_room_push(&mut conn).await.1.message_id, sent.message_id);
    }
    let content = request("one", "a").encode_to_vec();
    let reply = conn.packet(7, PacketCommand::PcSend as i32, content).await;
    assert!(connect::SendReply::decode(reply.data).unwrap().duplicate, "on the long connection too");
}

async fn members(server: &Server, room_ids: &[u64]) -> Vec<u64> {
    let request = CountRoomMembersRequest { room_ids: room_ids.to_vec() };
    let rooms = server.room_int().count_members(request).await.unwrap().into_inner().rooms;
    assert!(rooms.iter().map(|room| room.room_id).eq(room_ids.iter().copied()));
    rooms.iter().map(|room| room.members).collect()
}

#[tokio::test]
async fn the_members_of_a_room_are_counted_over_all_nodes() {
    let server = server().await;
    let (mut first, mut second) = (Conn::attach(&server, "conn-1", 1).await, Conn::attach(&server, "conn-2", 1).await);
    let told = |rooms: &[(u64, u64)]| {
        let rooms = rooms.iter().map(|&(room_id, members)| RoomMemberCount { room_id, members }).collect();
        vec![up_item::Item::RoomMembers(RoomMembers { rooms })]
    };
    first.send(told(&[(1, 3), (2, 5)])).await;
    second.send(told(&[(1, 4)])).await;
    first.packet(7, 999, Vec::new()).await;
    second.packet(8, 999, Vec::new()).await;
    assert_eq!(members(&server, &[2, 1, 9]).await, [5, 7, 0]);
    second.send(told(&[(1, 0)])).await;
    second.packet(8, 999, Vec::new()).await;
    assert_eq!(members(&server, &[1]).await, [3]);
    drop(first);
    let gone = async {
        while members(&server, &[1]).await != [0] {
            tokio::task::yield_now().await;
        }
    };
    soon(gone).await;
    let too_many = CountRoomMembersRequest { room_ids: vec![1; 1001] };
    for request in
        [CountRoomMembersRequest { room_ids: vec![] }, CountRoomMembersRequest { room_ids: vec![0] }, too_many]
    {
        let (_, problem) = refusal(server.room_int().count_members(request).await);
        assert!(problem.starts_with("room_ids: "), "{problem}");
    }
}

#[tokio::test]
async fn a_client_counts_the_members_of_a_few_rooms() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let rooms = vec![RoomMemberCount { room_id: 1, members: 3 }, RoomMemberCount { room_id: 2, members: 5 }];
    conn.send(vec![up_item::Item::RoomMembers(RoomMembers { rooms })]).await;
    conn.packet(7, 999, Vec::new()).await;
    let ask = async |user_id: u64, room_ids: Vec<u64>| {
        let token = format!("token-{user_id}");
        let request = gim_proto::metadata::signed(CountRoomMembersRequest { room_ids }, 7, 70, &token);
        let reply = server.room_ext().count_members(request).await?.into_inner();
        Ok::<_, tonic::Status>(reply.rooms.iter().map(|room| (room.room_id, room.members)).collect::<Vec<_>>())
    };
    assert_eq!(ask(7, vec![2, 9, 1]).await.unwrap(), [(2, 5), (9, 0), (1, 3)]);
    for (room_ids, code) in [
        (vec![], ResultCode::BadRequest),
        (vec![0], ResultCode::BadRequest),
        ((1..=101).collect(), ResultCode::TooLarge),
    ] {
        assert_eq!(refusal(ask(7, room_ids).await).0, code);
    }
    assert_eq!(refusal(ask(8, vec![1]).await).0, ResultCode::SignInAgain, "with the token of another");
}

#[tokio::test]
async fn pushes_to_all_beyond_what_nodes_may_be_busy_with_are_refused() {
    let change = |settings: &mut gim_logic::LogicSettings| settings.limits.push_all_max = 2;
    let server = server_with(StubBusiness::start().await, change).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let push = async || {
        let request = PushToAllRequest { command: 5000, content: b"all"[..].into(), ..Default::default() };
        server.message_int().push_to_all(request).await
    };
    let mut message_ids = Vec::new();
    for _ in 0..2 {
        push().await.unwrap();
        let Item::PushAll(all) = conn.next().await else { panic!("no push to all") };
        assert_eq!(connect::Message::decode(all.message).unwrap().message_id, all.message_id);
        message_ids.push(all.message_id);
    }
    let (code, problem) = refusal(push().await);
    assert_eq!((code, &problem[..30]), (ResultCode::TooManyRequests, "2 pushes to all are under way;"));
    conn.send(vec![up_item::Item::PushAllDone(PushAllDone { message_id: message_ids[0] })]).await;
    conn.packet(7, 999, Vec::new()).await;
    push().await.unwrap();
}
