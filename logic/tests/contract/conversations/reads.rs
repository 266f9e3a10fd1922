//! How far users have read: noted once, told to whom it concerns, and to nobody else.

use gim_proto::{
    ResultCode,
    connect::{Message, MessageCommand, PacketCommand},
    logic::{
        ClientPacket, ConversationPush, ConversationReadPush, ConversationReadRequest, ConversationSetRequest,
        ForgetRequest, GroupKind, RecallRequest, access_int_service_client::AccessIntServiceClient, conversation::Peer,
        conversation_delete_request, conversation_read_request::Peer as Of, conversation_set_request, down_item::Item,
        up_item,
    },
    metadata,
};
use prost::Message as _;
use tonic::Status;

use super::{super::group::harness::member, delete, list, say, send, set, signed, unread};
use crate::support::{Server, business::StubBusiness, conn::Conn, refusal, server_with, stop};

/// A server that waits for nothing before it notes what was read.
pub async fn prompt_server() -> Server {
    server_with(StubBusiness::start().await, |settings| settings.conversation.read_delay_ms = 0).await
}

/// A server that notes nothing before it stops.
async fn patient_server() -> Server {
    server_with(StubBusiness::start().await, |settings| settings.conversation.read_delay_ms = 60_000).await
}

fn up_to(peer: Of, seq: u64) -> ConversationReadRequest {
    ConversationReadRequest { peer: Some(peer), seq, message_id: 0 }
}

fn message(peer: Of, message_id: u64) -> ConversationReadRequest {
    ConversationReadRequest { peer: Some(peer), seq: 0, message_id }
}

/// Reads on device `user_id * 10`.
async fn read(server: &Server, user_id: u64, request: ConversationReadRequest) -> Result<(), Status> {
    server.conversation_ext().read(signed(user_id, request)).await.map(drop)
}

/// Everything that comes down until a push that is sent now, which user 99 gets.
async fn told(server: &Server, conn: &mut Conn) -> Vec<(Vec<u64>, Message)> {
    server.push(&[99], "the end").await;
    let mut all = Vec::new();
    loop {
        let Item::Push(push) = conn.next().await else { continue };
        let connections: Vec<u64> = push.targets.iter().flat_map(|target| target.connection_ids.clone()).collect();
        if connections == [9900] {
            return all;
        }
        all.push((connections, Message::decode(push.message).unwrap()));
    }
}

fn own((connections, message): &(Vec<u64>, Message)) -> Option<(Vec<u64>, ConversationPush)> {
    let is_own = message.command() == MessageCommand::McConversation;
    is_own.then(|| (connections.clone(), ConversationPush::decode(message.content.clone()).unwrap()))
}

fn of_others((connections, message): &(Vec<u64>, Message)) -> Option<(Vec<u64>, ConversationReadPush)> {
    let is_read = message.command() == MessageCommand::McRead;
    is_read.then(|| (connections.clone(), ConversationReadPush::decode(message.content.clone()).unwrap()))
}

/// A conn node with two devices of user 7, one of user 8, and user 99, who is told when everything was.
async fn watched(server: &Server) -> Conn {
    let mut conn = Conn::attach(server, "conn-1", 1).await;
    for (user_id, device_id, connection_id) in [(7, 70, 700), (7, 71, 701), (8, 80, 800), (99, 990, 9900)] {
        conn.sign_in(user_id, device_id, connection_id).await;
    }
    conn
}

#[tokio::test]
async fn a_read_is_told_to_own_devices_and_to_the_other_user() {
    let server = prompt_server().await;
    send(&server, 9, 8).await;
    let ids: Vec<u64> = [send(&server, 8, 7).await, send(&server, 8, 7).await, send(&server, 8, 7).await]
        .map(|sent| sent.message_id)
        .into();
    let mut conn = watched(&server).await;
    read(&server, 7, up_to(Of::UserId(8), 2)).await.unwrap();
    let all = told(&server, &mut conn).await;
    let [own] = &all.iter().filter_map(own).collect::<Vec<_>>()[..] else { panic!("{all:?}") };
    assert_eq!((&own.0, own.1.read_seq, own.1.read_message_id), (&vec![701], 2, ids[1]));
    assert_eq!(own.1.is_marked_unread, None);
    // Of user 8 it is the third message: one of user 9 came before.
    let push = ConversationReadPush { user_id: 7, group_id: 0, seq: 3, message_id: ids[1] };
    assert_eq!(all.iter().filter_map(of_others).collect::<Vec<_>>(), [(vec![800], push)]);

    for request in [up_to(Of::UserId(8), 2), up_to(Of::UserId(8), 1), message(Of::UserId(8), ids[0])] {
        read(&server, 7, request).await.unwrap();
    }
    assert!(told(&server, &mut conn).await.is_empty(), "what was read already is no news");
    drop(conn);
    let server = server.restart().await;
    let mine = &list(&server, 7, 0).await.1[0];
    assert_eq!((mine.read_seq, mine.read_message_id, mine.unread), (2, ids[1], 1));
    let theirs = list(&server, 8, 0).await.1.into_iter().find(|one| one.peer == Some(Peer::UserId(7))).unwrap();
    assert_eq!((theirs.peer_read_seq, theirs.peer_read_message_id, theirs.read_seq), (3, ids[1], 0));
    read(&server, 7, message(Of::UserId(8), ids[2])).await.unwrap();
    assert_eq!(unread(&list(&server, 7, 0).await.1), [(Peer::UserId(8), 0)]);
}

#[tokio::test]
async fn much_that_is_read_at_once_is_one_row_and_one_event() {
    let server = patient_server().await;
    for _ in 0..50 {
        send(&server, 8, 7).await;
    }
    let database = server.database().await;
    for statement in [
        "CREATE TABLE written (seq BIGINT)",
        "CREATE TRIGGER note_insert AFTER INSERT ON read_position FOR EACH ROW BEGIN INSERT INTO written VALUES (NEW.seq); END",
        "CREATE TRIGGER note_update AFTER UPDATE ON read_position FOR EACH ROW BEGIN INSERT INTO written VALUES (NEW.seq); END",
    ] {
        sqlx::raw_sql(statement).execute(&database.writer).await.unwrap();
    }
    database.close().await;
    let mut conn = watched(&server).await;
    for number in 0..500_u64 {
        let packet = ClientPacket {
            request_no: number + 1,
            connection_id: 700,
            user_id: 7,
            device_id: 70,
            command: PacketCommand::PcRead as i32,
            // As conn names it for the logs.
            request_id: format!("c-1/{number}"),
            content: up_to(Of::UserId(8), number % 50 + 1).encode_to_vec().into(),
            is_silent: true,
            ..ClientPacket::default()
        };
        conn.send(vec![up_item::Item::Packet(packet)]).await;
    }
    for _ in 0..500 {
        assert_eq!(conn.reply().await.code, 0);
    }
    let (server, pushed) = tokio::join!(server.restart(), conn.pushed_at_the_end());
    let told: Vec<_> = pushed.iter().map(|push| &push.targets[0].connection_ids[..]).collect();
    assert_eq!(told, [[701], [800]], "the user's other device, and the other user");
    let database = server.database().await;
    let written: Vec<i64> = sqlx::query_scalar("SELECT seq FROM written").fetch_all(&database.reader).await.unwrap();
    database.close().await;
    assert_eq!(written, [50]);
}

#[tokio::test]
async fn members_are_told_up_to_a_size_and_readers_are_listed_in_any_group() {
    let change = |settings: &mut gim_logic::LogicSettings| {
        settings.conversation.read_delay_ms = 0;
        settings.conversation.read_told_members_max = 3;
    };
    let server = server_with(StubBusiness::start().await, change).await;
    let small = server.make(GroupKind::GkNormal, &[7, 8, 9]).await;
    let large = server.make(GroupKind::GkLarge, &[7, 8, 9, 10]).await;
    let mut conn = watched(&server).await;
    let (in_small, in_large) = (say(&server, 9, small).await, say(&server, 9, large).await);
    told(&server, &mut conn).await;
    // In a normal group a device knows the message, and not its number in the timeline.
    read(&server, 7, message(Of::GroupId(small), in_small.message_id)).await.unwrap();
    read(&server, 7, up_to(Of::GroupId(large), in_large.seq)).await.unwrap();
    read(&server, 8, up_to(Of::GroupId(large), in_large.seq)).await.unwrap();
    let all = told(&server, &mut conn).await;
    let others: Vec<_> = all.iter().filter_map(of_others).collect();
    let push = ConversationReadPush { user_id: 7, group_id: small, seq: 2, message_id: in_small.message_id };
    assert_eq!(others, [(vec![800], push)], "in the larger group nobody is told");
    assert_eq!(all.iter().filter_map(own).count(), 2, "only user 7 has another device");

    let ids = async |group_id, seq, after: &[u8], limit| {
        let page = readers(&server, 9, group_id, seq, after, limit).await.unwrap();
        let ids: Vec<u64> = page.readers.iter().map(|reader| reader.user_id).collect();
        (ids, page.count, page.next)
    };
    assert_eq!(ids(small, 2, &[], 0).await, (vec![7], 1, bytes::Bytes::new()));
    assert_eq!(ids(large, in_large.seq, &[], 0).await, (vec![7, 8], 2, bytes::Bytes::new()));
    let (first, count, next) = ids(large, in_large.seq, &[], 1).await;
    assert_eq!((first, count, next.is_empty()), (vec![7], 2, false));
    let (second, count, next) = ids(large, in_large.seq, &next, 1).await;
    assert_eq!((second, count), (vec![8], 0));
    assert_eq!(ids(large, in_large.seq, &next, 1).await.0, Vec::<u64>::new());
    server.remove(8, large, &[8]).await.unwrap();
    assert_eq!(ids(large, in_large.seq, &[], 0).await, (vec![7], 1, bytes::Bytes::new()), "who left is none");
    for (group_id, seq, after, code) in [
        (large, 99, &b""[..], ResultCode::BeyondNewest),
        (large, 0, b"", ResultCode::BadRequest),
        (large, 1, b"x", ResultCode::BadRequest),
        (77, 1, b"", ResultCode::NotInGroup),
        (0, 1, b"", ResultCode::BadRequest),
    ] {
        assert_eq!(refusal(readers(&server, 9, group_id, seq, after, 0).await).0, code, "{group_id} {seq}");
    }
}

async fn readers(
    server: &Server,
    user_id: u64,
    group_id: u64,
    seq: u64,
    after: &[u8],
    limit: u32,
) -> Result<gim_proto::logic::ConversationReadersReply, Status> {
    let after = after.to_vec().into();
    let request = gim_proto::logic::ConversationReadersRequest { group_id, seq, message_id: 0, after, limit };
    Ok(server.conversation_ext().readers(signed(user_id, request)).await?.into_inner())
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_a_code_each() {
    let server = prompt_server().await;
    let group_id = server.make(GroupKind::GkLarge, &[8, 9]).await;
    let own_group = server.make(GroupKind::GkLarge, &[7, 9]).await;
    let sent = send(&server, 8, 7).await;
    let elsewhere = send(&server, 9, 7).await;
    let both = ConversationReadRequest { message_id: sent.message_id, ..up_to(Of::UserId(8), 1) };
    let cases = [
        (up_to(Of::UserId(8), 99), ResultCode::BeyondNewest, "seq: 99 is beyond the newest message of the inbox"),
        (up_to(Of::GroupId(own_group), 99), ResultCode::BeyondNewest, "seq: 99 is beyond the newest message of group"),
        (up_to(Of::UserId(8), 1 << 63), ResultCode::BadRequest, "seq: must be from 1 to"),
        (up_to(Of::UserId(8), 0), ResultCode::BadRequest, "seq: must not be 0"),
        (both, ResultCode::BadRequest, "message_id: must be 0"),
        (up_to(Of::UserId(10), 1), ResultCode::BadRequest, "user_id: there is no conversation with user 10"),
        (up_to(Of::UserId(0), 1), ResultCode::BadRequest, "user_id: must not be 0"),
        (up_to(Of::GroupId(group_id), 1), ResultCode::NotInGroup, ""),
        (up_to(Of::GroupId(12345), 1), ResultCode::NotInGroup, ""),
        (message(Of::UserId(8), elsewhere.message_id), ResultCode::BadRequest, "message_id: "),
        (message(Of::UserId(8), 12345), ResultCode::BadRequest, "message_id: 12345 is no message"),
        (ConversationReadRequest::default(), ResultCode::BadRequest, "peer: must be set"),
    ];
    let mut conn = watched(&server).await;
    for (request, code, sentence) in cases {
        let (found, text) = refusal(read(&server, 7, request).await);
        assert_eq!((found, text.starts_with(sentence)), (code, true), "{request:?}: {text}");
        let reply = conn.packet(7, PacketCommand::PcRead as i32, request.encode_to_vec()).await;
        assert_eq!((reply.code, reply.message), (code.number(), text));
    }
    let garbage = conn.packet(7, PacketCommand::PcRead as i32, vec![0xff]).await;
    assert_eq!(garbage.code, ResultCode::BadRequest.number());
    let database = server.database().await;
    let rows: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM read_position").fetch_one(&database.reader).await.unwrap();
    database.close().await;
    assert_eq!(rows, 0, "what is refused leaves nothing behind");
    let good = conn.begin_packet(7, PacketCommand::PcRead as i32, up_to(Of::UserId(8), 2).encode_to_vec()).await;
    loop {
        if let Item::PacketReply(reply) = conn.next().await {
            assert_eq!((reply.request_no, reply.code), (good, 0));
            break;
        }
    }
    assert_eq!(list(&server, 7, 0).await.1[1].read_seq, 1, "the last message up to there");
}

#[tokio::test]
async fn who_may_not_write_to_a_reader_learns_nothing() {
    let change = |settings: &mut gim_logic::LogicSettings| {
        settings.conversation.read_delay_ms = 0;
        settings.business.may_write_cache_ms = 0;
    };
    let server = server_with(StubBusiness::start().await, change).await;
    for _ in 0..3 {
        send(&server, 8, 7).await;
    }
    let mut conn = watched(&server).await;
    let seen = async || {
        let theirs = &list(&server, 8, 0).await.1[0];
        (theirs.peer_read_seq, theirs.peer_read_message_id > 0)
    };
    read(&server, 7, up_to(Of::UserId(8), 1)).await.unwrap();
    assert_eq!(told(&server, &mut conn).await.iter().filter_map(of_others).count(), 1);
    server.business.state.blocked.lock().unwrap().push((8, 7));
    let first_id = list(&server, 8, 0).await.1[0].peer_read_message_id;
    read(&server, 7, up_to(Of::UserId(8), 3)).await.unwrap();
    let all = told(&server, &mut conn).await;
    assert_eq!((all.iter().filter_map(own).count(), all.iter().filter_map(of_others).count()), (1, 0));
    assert_eq!((seen().await, list(&server, 8, 0).await.1[0].peer_read_message_id), ((1, true), first_id));
    server.business.state.blocked.lock().unwrap().clear();
    let forget = ForgetRequest { user_id: 8, peer_id: 7, room_id: 0 };
    AccessIntServiceClient::new(server.channel.clone()).forget(forget).await.unwrap();
    read(&server, 7, up_to(Of::UserId(8), 3)).await.unwrap();
    let all = told(&server, &mut conn).await;
    assert_eq!((all.iter().filter_map(own).count(), all.iter().filter_map(of_others).count()), (0, 1));
    assert_eq!(seen().await, (3, true));
}

#[tokio::test]
async fn a_read_takes_the_mark_away_and_a_recall_leaves_positions_alone() {
    let server = prompt_server().await;
    let sent = [send(&server, 8, 7).await, send(&server, 8, 7).await];
    read(&server, 7, up_to(Of::UserId(8), 2)).await.unwrap();
    let mark = ConversationSetRequest { is_marked_unread: Some(true), ..ConversationSetRequest::default() };
    set(&server, 7, conversation_set_request::Peer::UserId(8), mark).await.unwrap();
    let mut conn = watched(&server).await;
    read(&server, 7, up_to(Of::UserId(8), 1)).await.unwrap();
    let all = told(&server, &mut conn).await;
    let [(_, push)] = &all.iter().filter_map(own).collect::<Vec<_>>()[..] else { panic!("{all:?}") };
    assert_eq!((push.is_marked_unread, push.read_seq), (Some(false), 0));
    server.message_ext().recall(signed(8, RecallRequest { message_id: sent[1].message_id })).await.unwrap();
    let mine = &list(&server, 7, 0).await.1[0];
    assert_eq!((mine.is_marked_unread, mine.read_seq, mine.unread), (false, 2, 0));
    // Its place in the inbox is that of the recall.
    read(&server, 7, up_to(Of::UserId(8), 3)).await.unwrap();
    assert_eq!(list(&server, 7, 0).await.1[0].read_seq, 2);
}

#[tokio::test]
async fn what_waits_is_bounded_in_all_and_for_each_user_and_so_are_requests() {
    let change = |settings: &mut gim_logic::LogicSettings| {
        settings.conversation.read_delay_ms = 60_000;
        settings.conversation.reads_waiting_max = 3;
        settings.conversation.reads_waiting_per_user_max = 2;
        settings.limits.user_requests_per_s = 1;
        settings.limits.user_requests_burst = 100;
    };
    let server = server_with(StubBusiness::start().await, change).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let silent = |user_id, peer_id| ClientPacket {
        request_no: 1,
        connection_id: user_id * 100,
        user_id,
        device_id: user_id * 10,
        command: PacketCommand::PcRead as i32,
        request_id: "c-1/1".into(),
        content: up_to(Of::UserId(peer_id), 1).encode_to_vec().into(),
        is_silent: true,
        ..ClientPacket::default()
    };
    let mut code = async |user_id, peer_id| {
        conn.send(vec![up_item::Item::Packet(silent(user_id, peer_id))]).await;
        conn.reply().await.code
    };
    for (user_id, peer_id, expected) in [
        (7, 1, 0),
        (7, 2, 0),
        (7, 2, 0),
        (7, 3, ResultCode::TooManyRequests.number()),
        (8, 1, 0),
        (9, 1, ResultCode::TryAgainLater.number()),
    ] {
        assert_eq!(code(user_id, peer_id).await, expected, "{user_id} reads {peer_id}");
    }
    // A read costs a quarter of what a request does.
    let mut done = 4;
    while code(7, 1).await == 0 {
        done += 1;
    }
    assert!((395..500).contains(&done), "{done}");
    drop(conn);
    stop(server).await;
}

#[tokio::test]
async fn all_who_wait_for_the_same_conversation_hear_what_became_of_theirs() {
    let server = server_with(StubBusiness::start().await, |settings| settings.conversation.read_delay_ms = 300).await;
    let sent = [send(&server, 8, 7).await, send(&server, 8, 7).await];
    let asked = |request, device_id| {
        let mut client = server.conversation_ext();
        async move {
            let request = metadata::signed(request, 7, device_id, "token-7");
            client.read(request).await.map_err(|status| ResultCode::of_status(&status)).map(drop)
        }
    };
    let of = Of::UserId(8);
    let answers = tokio::join!(
        asked(up_to(of, 1), 70),
        asked(up_to(of, 99), 70),
        asked(message(of, sent[1].message_id), 71),
        asked(message(of, sent[0].message_id), 71),
        asked(message(of, 1 << 62), 71),
    );
    let expected = (Ok(()), Err(ResultCode::BeyondNewest), Ok(()), Ok(()), Err(ResultCode::BadRequest));
    assert_eq!(answers, expected);
    assert_eq!(list(&server, 7, 0).await.1[0].read_seq, 2);
}

#[tokio::test]
async fn read_refuses_what_the_reader_does_not_have_and_unmarks_otherwise() {
    let server = prompt_server().await;
    let group_id = server.make(GroupKind::GkNormal, &[8, 9]).await;
    let before = say(&server, 8, group_id).await;
    server.add(8, group_id, vec![member(7)]).await.unwrap();
    let deleted = send(&server, 8, 7).await;
    delete(&server, 7, conversation_delete_request::Peer::UserId(8)).await.unwrap();
    for request in [message(Of::GroupId(group_id), before.message_id), message(Of::UserId(8), deleted.message_id)] {
        let (code, text) = refusal(read(&server, 7, request).await);
        assert_eq!((code, text.starts_with("message_id: ")), (ResultCode::BadRequest, true), "{text}");
    }
    let kept = send(&server, 8, 7).await;
    read(&server, 7, message(Of::UserId(8), kept.message_id)).await.unwrap();

    let mark = ConversationSetRequest { is_marked_unread: Some(true), ..ConversationSetRequest::default() };
    set(&server, 7, conversation_set_request::Peer::GroupId(group_id), mark).await.unwrap();
    let of_group = async || {
        let (_, all) = list(&server, 7, 0).await;
        let one = all.into_iter().find(|one| one.peer == Some(Peer::GroupId(group_id))).unwrap();
        (one.is_marked_unread, one.read_seq)
    };
    assert_eq!(of_group().await, (true, 0));
    read(&server, 7, up_to(Of::GroupId(group_id), 1)).await.unwrap();
    assert_eq!(of_group().await, (false, 0), "there is nothing to read up to there");
}
