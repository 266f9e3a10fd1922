//! The gRPC services as clients and backends call them.

use std::sync::atomic::Ordering;

use crate::support::{Server, business::StubBusiness, conn::Conn, refusal, server, server_with, soon};
use gim_config::service::Running as _;
use gim_logic::store::Limit;
use gim_proto::{
    ResultCode,
    connect::{self, SendRequest, send_request::Target},
    content::{File, Media},
    logic::{
        Group, GroupCreateRequest, GroupKind, GroupMember, HeartbeatRequest, ListOnlineRequest, MessageAckRequest,
        OfflineRequest, PushRoomRequest, PushToAllRequest, PushToUsersRequest, RecallRequest, SignInRequest,
        SubscribeRoomRequest, SyncRequest, UserMessagePush,
    },
    metadata,
};
use prost::Message as _;
use tonic::{Code, Request, Status};

fn signed<T>(message: T) -> Request<T> {
    metadata::signed(message, 7, 70, "token-7")
}

fn send_request(client_msg_id: &str) -> SendRequest {
    SendRequest {
        target: Some(Target::UserId(8)),
        command: 0,
        content: b"hi"[..].into(),
        client_msg_id: client_msg_id.into(),
    }
}

async fn sync(server: &Server, seq: u64) -> Result<(Vec<connect::Message>, bool), Status> {
    let reply = server.message_ext().sync(signed(SyncRequest { seq, ..SyncRequest::default() })).await?.into_inner();
    Ok((reply.messages, reply.has_more))
}

/// Asserts an INVALID_ARGUMENT whose message names the field.
fn assert_names<T: std::fmt::Debug>(result: Result<T, Status>, field: &str) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status}");
    assert!(status.message().starts_with(&format!("{field}: ")), "{} does not name {field}", status.message());
}

#[tokio::test]
async fn what_was_pushed_is_synced_in_pages_and_still_there_after_a_restart() {
    let server = server().await;
    for number in 1..=120 {
        server.push(&[7], &number.to_string()).await;
    }
    let server = server.restart().await;
    let (mut seq, mut seqs, mut pages) = (0, Vec::new(), 0);
    loop {
        let (messages, has_more) = sync(&server, seq).await.unwrap();
        for message in &messages {
            assert_eq!(message.prev_seq + 1, message.seq);
            assert_eq!(message.content, message.seq.to_string());
        }
        seqs.extend(messages.iter().map(|message| message.seq));
        (seq, pages) = (*seqs.last().unwrap(), pages + 1);
        if !has_more {
            break;
        }
        assert_eq!(messages.len(), 50);
    }
    assert_eq!((seqs, pages), ((1..=120).collect::<Vec<u64>>(), 3));
    assert!(sync(&server, 120).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn sync_without_a_seq_goes_on_after_the_largest_ack() {
    let server = server().await;
    for _ in 0..3 {
        server.push(&[7], "text").await;
    }
    server
        .message_ext()
        .message_ack(signed(MessageAckRequest { device_ack: 2, group_acks: Vec::new() }))
        .await
        .unwrap();
    let (messages, _) = sync(&server, 0).await.unwrap();
    assert_eq!(messages.iter().map(|message| message.seq).collect::<Vec<_>>(), [3]);
}

#[tokio::test]
async fn a_device_that_has_nothing_gets_an_inbox_from_its_first_message() {
    let server = server().await;
    let sync = async |seq, from_start| {
        let request = SyncRequest { seq, from_start, ..SyncRequest::default() };
        let reply = server.message_ext().sync(signed(request)).await.unwrap().into_inner();
        (reply.messages.iter().map(|message| message.seq).collect::<Vec<_>>(), reply.start_seq)
    };
    let ack = async |device_ack| {
        let ack = MessageAckRequest { device_ack, group_acks: Vec::new() };
        server.message_ext().message_ack(signed(ack)).await.unwrap();
    };
    assert_eq!(sync(0, true).await, (vec![], 0));
    for _ in 0..3 {
        server.push(&[7], "text").await;
    }
    assert_eq!((sync(0, false).await, sync(0, true).await), ((vec![1, 2, 3], 0), (vec![1, 2, 3], 0)));
    ack(2).await;
    assert_eq!((sync(0, false).await, sync(0, true).await), ((vec![3], 2), (vec![1, 2, 3], 0)));
    ack(3).await;
    assert_eq!((sync(0, false).await, sync(0, true).await), ((vec![], 3), (vec![1, 2, 3], 0)));
    assert_eq!((sync(1, true).await, sync(3, true).await), ((vec![2, 3], 0), (vec![], 0)), "a seq is a seq");
    let database = server.database().await;
    sqlx::query("DELETE FROM other_inbox WHERE seq <= 2").execute(&database.writer).await.unwrap();
    assert_eq!((sync(0, true).await, sync(1, false).await), ((vec![3], 2), (vec![3], 2)), "from what is kept");
    sqlx::query("DELETE FROM other_inbox").execute(&database.writer).await.unwrap();
    assert_eq!((sync(0, true).await, sync(1, false).await), ((vec![], 3), (vec![], 3)));
    database.close().await;
}

#[tokio::test]
async fn a_send_over_grpc_is_durable_and_idempotent() {
    let server = server().await;
    let first = server.message_ext().send(signed(send_request("a"))).await.unwrap().into_inner();
    let server = server.restart().await;
    let again = server.message_ext().send(signed(send_request("a"))).await.unwrap().into_inner();
    assert_eq!(again, connect::SendReply { duplicate: true, ..first });
    let (messages, _) = sync(&server, 0).await.unwrap();
    assert_eq!((messages.len(), messages[0].message_id), (1, first.message_id), "the sender has a copy too");
    let wrapped = UserMessagePush::decode(messages[0].content.clone()).unwrap();
    assert_eq!(wrapped.from_user.unwrap().user_id, 7);
}

#[tokio::test]
async fn a_used_key_is_refused_for_another_message_and_what_differs_is_named() {
    let server = server().await;
    let member = |user_id| GroupMember { user_id, ..GroupMember::default() };
    let mut groups = Vec::new();
    for kind in [GroupKind::GkNormal, GroupKind::GkLarge] {
        let group = Group { name: "group".into(), kind: kind.into(), ..Group::default() };
        let request = GroupCreateRequest { group: Some(group), members: vec![member(8)] };
        groups.push(server.group_ext().create(signed(request)).await.unwrap().into_inner().group_id);
    }
    let targets = [Target::UserId(8), Target::GroupId(groups[0]), Target::GroupId(groups[1]), Target::RoomId(9)];
    for (number, target) in targets.into_iter().enumerate() {
        let key = format!("key {number}");
        let request = SendRequest { target: Some(target), ..send_request(&key) };
        let send = async |request: SendRequest| server.message_ext().send(signed(request)).await;
        let first = send(request.clone()).await.unwrap().into_inner();
        let others = match target {
            Target::RoomId(_) => vec![Target::RoomId(10)],
            _ => vec![Target::UserId(9), Target::UserId(7), Target::GroupId(groups[number % 2])],
        };
        let mut wrong = vec![
            ("command", SendRequest { command: 5000, ..request.clone() }),
            ("content", SendRequest { content: b"ho"[..].into(), ..request.clone() }),
        ];
        let elsewhere = others.into_iter().filter(|other| *other != target);
        wrong.extend(elsewhere.map(|other| ("target", SendRequest { target: Some(other), ..request.clone() })));
        for (differs_in, request) in wrong {
            let (code, text) = refusal(send(request).await);
            assert_eq!(code, ResultCode::BadRequest, "{text}");
            assert!(text.starts_with("client_msg_id: ") && text.contains(&format!("whose {differs_in}")), "{text}");
        }
        let again = send(request.clone()).await.unwrap().into_inner();
        assert_eq!(again, connect::SendReply { duplicate: true, ..first });
        if !matches!(target, Target::RoomId(_)) {
            let recall = RecallRequest { message_id: first.message_id };
            server.message_ext().recall(signed(recall)).await.unwrap();
            let request = SendRequest { content: b"ho"[..].into(), ..request };
            let again = send(request).await.unwrap().into_inner();
            assert_eq!(again, connect::SendReply { duplicate: true, ..first }, "of a recalled one nothing is left");
        }
    }
}

#[tokio::test]
async fn a_used_key_is_refused_for_another_file_wherever_that_is_sent() {
    let server = server().await;
    let file = |id: &str, name: &str| {
        let media = Some(Media { file_id: id.into(), media_type: "text/plain".into(), ..Media::default() });
        File { media, name: name.into() }.encode_to_vec().into()
    };
    let mut targets = vec![Target::UserId(8)];
    for kind in [GroupKind::GkNormal, GroupKind::GkLarge] {
        let group = Group { name: "group".into(), kind: kind.into(), ..Group::default() };
        let members = vec![GroupMember { user_id: 8, ..GroupMember::default() }];
        let request = GroupCreateRequest { group: Some(group), members };
        targets.push(Target::GroupId(server.group_ext().create(signed(request)).await.unwrap().into_inner().group_id));
    }
    let command = connect::MessageCommand::McFile as i32;
    for (number, target) in targets.into_iter().enumerate() {
        let of_file =
            |content| SendRequest { target: Some(target), command, content, client_msg_id: format!("file {number}") };
        let send = async |request: SendRequest| server.message_ext().send(signed(request)).await;
        let first = send(of_file(file("f-1", "one.txt"))).await.unwrap().into_inner();
        let untyped = SendRequest { command: 5000, ..of_file(file("f-1", "one.txt")) };
        let elsewhere = SendRequest { target: Some(Target::UserId(9)), ..of_file(file("f-1", "one.txt")) };
        for (differs_in, request) in [
            ("content", of_file(file("f-2", "one.txt"))),
            ("content", of_file(file("f-1", "two.txt"))),
            ("command", untyped),
            ("target", elsewhere),
        ] {
            let (code, text) = refusal(send(request).await);
            assert_eq!(code, ResultCode::BadRequest, "{text}");
            assert!(text.contains(&format!("whose {differs_in}")), "{text}");
        }
        let again = send(of_file(file("f-1", "one.txt"))).await.unwrap().into_inner();
        assert_eq!(again, connect::SendReply { duplicate: true, ..first });
    }
}

#[tokio::test]
async fn a_command_fits_its_target_and_a_message_says_if_a_user_sent_it() {
    let server = server().await;
    for (target, command) in [(Target::UserId(8), 2), (Target::RoomId(9), 2), (Target::GroupId(5), 1)] {
        let request = SendRequest { target: Some(target), command, ..send_request("a") };
        assert_names(server.message_ext().send(signed(request)).await, "command");
    }
    let push = PushRoomRequest { room_id: 9, command: 2, content: b"hi"[..].into(), ..PushRoomRequest::default() };
    assert_names(server.room_ext().push_room(signed(push.clone())).await, "command");

    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.subscribe(8, 9, 0).await;
    let push = PushRoomRequest { command: 5000, ..push };
    server.room_int().push_room(push.clone()).await.unwrap();
    server.room_ext().push_room(signed(push)).await.unwrap();
    let to_room = SendRequest { target: Some(Target::RoomId(9)), command: 5000, ..send_request("room") };
    server.message_ext().send(signed(to_room)).await.unwrap();
    for is_from_user in [false, true, true] {
        let gim_proto::logic::down_item::Item::RoomPush(push) = conn.next().await else { panic!("no room push") };
        let message = connect::Message::decode(push.message).unwrap();
        assert_eq!(message.is_from_user, is_from_user);
        let content =
            if is_from_user { UserMessagePush::decode(message.content).unwrap().content } else { message.content };
        assert_eq!(&content[..], b"hi", "wrapped where a user sent it, whatever the command");
    }
    server.push(&[7], "from the backend").await;
    server.message_ext().send(signed(SendRequest { command: 5000, ..send_request("user") })).await.unwrap();
    let marks: Vec<bool> = sync(&server, 0).await.unwrap().0.iter().map(|message| message.is_from_user).collect();
    assert_eq!(marks, [false, true]);
}

#[tokio::test]
async fn a_message_to_oneself_is_stored_once() {
    let server = server().await;
    let request = SendRequest { target: Some(Target::UserId(7)), ..send_request("note") };
    assert_eq!(server.message_ext().send(signed(request)).await.unwrap().into_inner().seq, 1);
    assert_eq!(sync(&server, 0).await.unwrap().0.len(), 1);
}

#[tokio::test]
async fn what_is_not_persisted_reaches_only_who_is_there() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    let request = PushToUsersRequest {
        user_ids: vec![7, 8],
        command: 5,
        content: b"x"[..].into(),
        is_persist: false,
        ..PushToUsersRequest::default()
    };
    let message_id = server.message_int().push_to_users(request).await.unwrap().into_inner().message_id;
    let gim_proto::logic::down_item::Item::Push(push) = conn.next().await else { panic!("no push") };
    assert_eq!((push.targets.len(), push.targets[0].seq), (1, 0));
    assert_eq!(connect::Message::decode(push.message).unwrap().message_id, message_id);
    assert!(sync(&server, 0).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn the_request_id_of_a_call_reaches_the_business() {
    let server = server().await;
    let mut request = signed(SyncRequest::default());
    metadata::put(&mut request, metadata::REQUEST_ID, "call-1");
    server.message_ext().sync(request).await.unwrap();
    assert_eq!(server.business.state.request_ids.lock().unwrap().as_slice(), ["call-1"]);
}

#[tokio::test]
async fn every_client_call_checks_the_token() {
    let server = server().await;
    let wrong = || (8, 80, "token-7");
    let refusals = [
        refusal(
            server.message_ext().sync(metadata::signed(SyncRequest::default(), wrong().0, wrong().1, wrong().2)).await,
        ),
        refusal(
            server
                .message_ext()
                .message_ack(metadata::signed(MessageAckRequest { device_ack: 1, group_acks: Vec::new() }, 8, 80, "x"))
                .await,
        ),
        refusal(server.message_ext().send(metadata::signed(send_request("a"), 8, 80, "x")).await),
        refusal(
            server
                .room_ext()
                .push_room(metadata::signed(PushRoomRequest { room_id: 9, ..Default::default() }, 8, 80, "x"))
                .await,
        ),
    ];
    assert!(refusals.iter().all(|(code, _)| *code == ResultCode::SignInAgain), "{refusals:?}");

    assert_names(server.message_ext().sync(Request::new(SyncRequest::default())).await, "user_id");
    assert_names(server.message_ext().send(metadata::signed(send_request("a"), 7, 0, "x")).await, "device_id");
    assert_names(server.room_ext().push_room(metadata::signed(PushRoomRequest::default(), 7, 70, "")).await, "token");
}

#[tokio::test]
async fn a_good_token_is_asked_about_once_in_a_while() {
    let server = server().await;
    for _ in 0..3 {
        sync(&server, 0).await.unwrap();
    }
    assert_eq!(server.business.state.auth_calls.load(Ordering::SeqCst), 1);
    let server = server_with(StubBusiness::start().await, |settings| settings.business.auth_cache_ms = 0).await;
    for _ in 0..3 {
        sync(&server, 0).await.unwrap();
    }
    assert_eq!(server.business.state.auth_calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn push_to_users_names_the_bad_field() {
    let server = server().await;
    let request = PushToUsersRequest {
        user_ids: vec![7],
        command: 1,
        content: b"x"[..].into(),
        is_persist: true,
        ..PushToUsersRequest::default()
    };
    let push = async |request| server.message_int().push_to_users(request).await;
    assert_names(push(PushToUsersRequest { user_ids: vec![], ..request.clone() }).await, "user_ids");
    assert_names(push(PushToUsersRequest { user_ids: vec![7, 0], ..request.clone() }).await, "user_ids");
    assert_names(push(PushToUsersRequest { user_ids: vec![u64::MAX], ..request.clone() }).await, "user_ids");
    assert_names(push(PushToUsersRequest { user_ids: vec![7; 10_001], ..request.clone() }).await, "user_ids");
    assert_names(push(PushToUsersRequest { command: -1, ..request.clone() }).await, "command");
    assert_names(push(PushToUsersRequest { content: vec![0; 61_441].into(), ..request.clone() }).await, "content");
    assert!(sync(&server, 0).await.unwrap().0.is_empty(), "nothing of all that was stored");
    let all = server
        .message_int()
        .push_to_all(PushToAllRequest { command: -1, content: b""[..].into(), ..Default::default() })
        .await;
    assert_names(all, "command");
}

#[tokio::test]
async fn messages_of_clients_name_the_bad_field() {
    let server = server().await;
    let send = async |change: fn(&mut SendRequest)| {
        let mut request = send_request("a");
        change(&mut request);
        server.message_ext().send(signed(request)).await
    };
    assert_names(send(|request| request.target = None).await, "target");
    assert_names(send(|request| request.target = Some(Target::UserId(0))).await, "user_id");
    assert_names(send(|request| request.target = Some(Target::UserId(u64::MAX))).await, "user_id");
    assert_names(send(|request| request.target = Some(Target::GroupId(0))).await, "group_id");
    assert_names(send(|request| request.target = Some(Target::RoomId(0))).await, "room_id");
    assert_names(send(|request| request.content = vec![0; 61_441].into()).await, "content");
    assert_names(send(|request| request.client_msg_id = String::new()).await, "client_msg_id");
    assert_names(send(|request| request.client_msg_id = "x".repeat(65)).await, "client_msg_id");
    assert_names(send(|request| request.command = -1).await, "command");
    assert_eq!(refusal(send(|request| request.command = 110).await).0, ResultCode::NotAllowed);
    assert_eq!(refusal(send(|request| request.target = Some(Target::GroupId(5))).await).0, ResultCode::NotInGroup);
    assert_eq!(refusal(send(|request| request.target = Some(Target::UserId(1000))).await).0, ResultCode::UserNotFound);

    assert_names(sync(&server, u64::MAX).await, "seq");
    assert_eq!(refusal(sync(&server, 1).await).0, ResultCode::BeyondNewest);
    let ack = async |device_ack| {
        server.message_ext().message_ack(signed(MessageAckRequest { device_ack, group_acks: Vec::new() })).await
    };
    for device_ack in [0, u64::MAX] {
        assert_names(ack(device_ack).await, "device_ack");
    }
    assert_eq!(refusal(ack(1).await).0, ResultCode::BeyondNewest);
}

#[tokio::test]
async fn rooms_name_the_bad_field() {
    let server = server().await;
    let request = PushRoomRequest { room_id: 9, command: 2001, ..PushRoomRequest::default() };
    let push = async |request| server.room_int().push_room(request).await;
    assert_names(push(PushRoomRequest { room_id: 0, ..request.clone() }).await, "room_id");
    assert_names(push(PushRoomRequest { room_id: u64::MAX, ..request.clone() }).await, "room_id");
    assert_names(push(PushRoomRequest { command: -1, ..request.clone() }).await, "command");
    assert_names(push(PushRoomRequest { command: 0, ..request.clone() }).await, "command");
    assert_names(push(PushRoomRequest { content: vec![0; 61_441].into(), ..request.clone() }).await, "content");
    let notice = server.room_ext().push_room(signed(PushRoomRequest { command: 121, ..request })).await;
    assert_eq!(refusal(notice).0, ResultCode::NotAllowed);

    let request = SubscribeRoomRequest { user_id: 7, device_id: 70, room_id: 9, seq: 0, from_start: false };
    let subscribe = async |request| server.room_int().subscribe_room(request).await;
    assert_names(subscribe(SubscribeRoomRequest { user_id: 0, ..request }).await, "user_id");
    assert_names(subscribe(SubscribeRoomRequest { device_id: 0, ..request }).await, "device_id");
    assert_names(subscribe(SubscribeRoomRequest { room_id: u64::MAX, ..request }).await, "room_id");
    assert_names(subscribe(SubscribeRoomRequest { seq: u64::MAX, ..request }).await, "seq");
    assert_eq!(refusal(subscribe(request).await).0, ResultCode::ConnectionNotFound);
}

#[tokio::test]
async fn room_seqs_go_on_after_a_restart() {
    let server = server().await;
    let push = async |server: &Server| {
        server
            .room_int()
            .push_room(PushRoomRequest { room_id: 9, command: 2001, is_persist: true, ..Default::default() })
            .await
            .unwrap();
    };
    let newest = async |server: &Server| {
        let mut conn = Conn::attach(server, "conn-1", 1).await;
        let retained = conn.subscribe(7, 9, 1).await.subscribed.unwrap().retained;
        connect::Message::decode(retained.last().unwrap().clone()).unwrap().room_seq
    };
    push(&server).await;
    push(&server).await;
    assert_eq!(newest(&server).await, 2);
    let server = server.restart().await;
    push(&server).await;
    assert_eq!(newest(&server).await, 3, "a clean stop gives unused seqs back");
}

#[tokio::test]
async fn a_push_to_thousands_reaches_each_of_them_once() {
    let server = server_with(StubBusiness::only_auth().await, |_| ()).await;
    let user_ids: Vec<u64> = (1..=5_000).collect();
    let message_id = server.push(&user_ids, "to many").await;
    let store = gim_logic::store::Store::new(server.database().await);
    assert!(store.inboxes.newest_seqs(&user_ids).await.unwrap().iter().all(|&seq| seq == 1));
    for user_id in [1, 2_048, 2_049, 5_000] {
        let page = store.inboxes.page(user_id, 0, Limit::messages(5)).await.unwrap();
        assert_eq!(
            page.iter().map(|(_, message)| (message.id, &message.content[..])).collect::<Vec<_>>(),
            [(message_id, &b"to many"[..])]
        );
    }
}

#[tokio::test]
async fn conn_nodes_of_others_get_their_checks() {
    let server = server().await;
    let request = SignInRequest { user_id: 7, device_id: 70, token: "token-7".into(), client_addr: "1.2.3.4:5".into() };
    let sign_in = async |request| server.device_int().sign_in(request).await;
    sign_in(request.clone()).await.unwrap();
    assert_eq!(
        refusal(sign_in(SignInRequest { token: "x".into(), ..request.clone() }).await).0,
        ResultCode::SignInAgain
    );
    assert_names(sign_in(SignInRequest { user_id: 0, ..request.clone() }).await, "user_id");
    assert_names(sign_in(SignInRequest { device_id: 0, ..request.clone() }).await, "device_id");
    assert_names(sign_in(SignInRequest { token: String::new(), ..request.clone() }).await, "token");
    assert_names(sign_in(SignInRequest { client_addr: "a".repeat(257), ..request }).await, "client_addr");
    let mut devices = server.device_int();
    devices.heartbeat(HeartbeatRequest { user_id: 7, device_id: 70 }).await.unwrap();
    assert_names(devices.heartbeat(HeartbeatRequest { user_id: 0, device_id: 70 }).await, "user_id");
    devices.offline(OfflineRequest { user_id: 7, device_id: 70, client_addr: String::new() }).await.unwrap();
    assert_names(devices.offline(OfflineRequest { user_id: 7, ..Default::default() }).await, "device_id");
    assert_names(devices.list_online(ListOnlineRequest { user_ids: vec![] }).await, "user_ids");
}

#[tokio::test]
async fn the_service_says_when_it_is_ready_and_stops_cleanly() {
    let server = server().await;
    assert!(server.logic.readiness().missing().is_empty());
    assert!(server.logic.summary().contains("logic logic-1 is ready: gRPC on 127.0.0.1:"));
    let Server { logic, channel, .. } = server;
    drop(channel);
    soon(logic.stop()).await;
}

#[tokio::test]
async fn what_keeps_the_service_from_starting_is_one_sentence() {
    let server = server().await;
    let folder = tempfile::tempdir().unwrap();
    let taken = gim_config::listen::Endpoint::from(server.logic.grpc_address());
    let mut settings = crate::support::settings(folder.path(), &server.business);
    settings.grpc.listen = taken;
    let problem = gim_logic::start(settings).await.unwrap_err().to_string();
    assert!(problem.ends_with("the port is already taken"), "{problem}");

    let file = tempfile::NamedTempFile::new().unwrap();
    let mut settings = crate::support::settings(&file.path().join("data"), &server.business);
    settings.database.url.clear();
    let problem = gim_logic::start(settings).await.unwrap_err().to_string();
    assert!(problem.starts_with("cannot write to the data folder"), "{problem}");
}
