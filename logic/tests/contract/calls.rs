//! Calls over the long connection: the same services as by gRPC, of which the connection is the caller, in places of their own.

use gim_config::listen::Endpoint;
use gim_proto::{
    ResultCode,
    business::GetUserRequest,
    connect::{CallRequest, Message, PacketCommand, SendReply, SendRequest, send_request::Target},
    logic::{
        ConversationListReply, ConversationListRequest, ConversationSetRequest, Device, DeviceRegisterReply,
        DeviceRegisterRequest, GroupCreateReply, GroupCreateRequest, GroupCursor, GroupGetMembersReply,
        GroupGetMembersRequest, GroupGetRequest, GroupKind, GroupListMineReply, GroupListMineRequest, HistoryReply,
        HistoryRequest, LocateRequest, PacketReply, SyncReply, SyncRequest, conversation, conversation_set_request,
        history_request::Peer,
    },
    methods,
};
use prost::Message as _;
use tokio::net::TcpListener;

use super::group::harness::{code, group, member, send_to, signed};
use crate::support::{Server, business::StubBusiness, conn::Conn, server, server_with, soon};

const CALL: i32 = PacketCommand::PcCall as i32;
const LIST_MINE: &str = "logic.GroupExtService/ListMine";

fn call(method: &str, message: &impl prost::Message) -> Vec<u8> {
    CallRequest { method: method.into(), body: message.encode_to_vec().into() }.encode_to_vec()
}

async fn ask(conn: &mut Conn, user_id: u64, method: &str, message: &impl prost::Message) -> PacketReply {
    conn.packet(user_id, CALL, call(method, message)).await
}

/// The answer's message.
async fn answer<M: prost::Message + Default>(
    conn: &mut Conn,
    user_id: u64,
    method: &str,
    message: &impl prost::Message,
) -> M {
    let reply = ask(conn, user_id, method, message).await;
    assert_eq!((reply.code, &*reply.message), (0, ""), "{method}");
    M::decode(reply.data).unwrap()
}

/// A code that is refused at once, whatever else is answered meanwhile.
async fn next_reply_to(conn: &mut Conn, request_no: u64) -> PacketReply {
    let reply = conn.reply().await;
    assert_eq!(reply.request_no, request_no);
    reply
}

#[tokio::test]
async fn a_call_is_served_as_by_grpc_with_the_connection_as_its_caller() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let asked = server.business.state.auth_calls.load(std::sync::atomic::Ordering::SeqCst);
    let create = GroupCreateRequest { group: Some(group("ours", GroupKind::GkNormal)), members: vec![member(8)] };
    let made: GroupCreateReply = answer(&mut conn, 7, "logic.GroupExtService/Create", &create).await;
    let mine: GroupListMineReply = answer(&mut conn, 7, LIST_MINE, &GroupListMineRequest::default()).await;
    assert_eq!(mine.groups.iter().map(|group| group.id).collect::<Vec<_>>(), [made.group_id]);
    let sent: SendReply =
        answer(&mut conn, 7, "logic.MessageExtService/Send", &send_to(made.group_id, "hi", "a")).await;
    assert!(sent.message_id > 0);
    let device = DeviceRegisterRequest { device: Some(Device { brand: "b".into(), ..Device::default() }) };
    let registered: DeviceRegisterReply = answer(&mut conn, 7, "logic.DeviceExtService/Register", &device).await;
    assert!(registered.device_id > 0);
    let asked_since = server.business.state.auth_calls.load(std::sync::atomic::Ordering::SeqCst) - asked;
    assert_eq!(asked_since, 0, "no token travels, so none is checked");
    let by_grpc = server.group_ext().list_mine(signed(7, GroupListMineRequest::default())).await.unwrap();
    assert_eq!(by_grpc.into_inner(), mine);
}

#[tokio::test]
async fn a_refusal_has_the_code_the_sentence_and_the_details_of_grpc() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let get = GroupGetRequest { group_id: 0 };
    let by_grpc = server.group_ext().get(signed(7, get)).await.unwrap_err();
    let refused = ask(&mut conn, 7, "logic.GroupExtService/Get", &get).await;
    assert_eq!((refused.code, &*refused.message), (10001, by_grpc.message()));
    assert_eq!(&refused.data[..], by_grpc.details());
    let locate = ask(&mut conn, 7, "logic.GatewayExtService/Locate", &LocateRequest::default()).await;
    assert_eq!((locate.code, locate.message.is_empty()), (10004, false), "no node says where it is");
    let garbage = conn.packet(7, CALL, vec![0xff; 40]).await;
    assert_eq!((garbage.code, &*garbage.message), (10001, "content: is no CallRequest"));
    let no_message = CallRequest { method: LIST_MINE.into(), body: vec![0xff; 9].into() }.encode_to_vec();
    assert_ne!(conn.packet(7, CALL, no_message).await.code, 0);
}

#[tokio::test]
async fn what_is_for_services_alone_is_no_method_of_a_call() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let before = server.inbox(7).await;
    let of_services = methods::of_services();
    assert!(of_services.contains("logic.MessageIntService/PushToUsers") && of_services.len() > 20);
    let nothing =
        ["", "/", "logic.GroupExtService", "logic.GroupExtService/Nothing", "/logic.GroupExtService/ListMine"];
    for method in of_services.iter().map(String::as_str).chain(nothing) {
        let refused = ask(&mut conn, 7, method, &()).await;
        assert_eq!((refused.code, refused.message.is_empty()), (10005, false), "{method}");
    }
    assert_eq!(server.inbox(7).await, before);
    for method in methods::of_clients().iter().filter(|method| method.starts_with("logic.")) {
        let code = ask(&mut conn, 7, method, &()).await.code;
        assert!(![2, 10000, 10005].contains(&code), "{method} is not offered: {code}");
    }
}

#[tokio::test]
async fn an_answer_that_fits_no_packet_is_too_large_and_pages_fit() {
    let server = server_with(StubBusiness::start().await, |settings| settings.call.reply_bytes_max = 1_024).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let user_ids: Vec<u64> = (7..307).collect();
    let group_id = server.make(GroupKind::GkNormal, &user_ids).await;
    let page = |limit| GroupGetMembersRequest { group_id, after_user_id: 0, limit };
    let refused = ask(&mut conn, 7, "logic.GroupExtService/GetMembers", &page(300)).await;
    assert_eq!(refused.code, 10002);
    assert!(refused.message.starts_with("the answer has ") && refused.message.ends_with("ask for less at once"));
    let members: GroupGetMembersReply = answer(&mut conn, 7, "logic.GroupExtService/GetMembers", &page(50)).await;
    assert_eq!((members.members.len(), members.has_more), (50, true));
}

#[tokio::test]
async fn pages_of_messages_are_cut_to_a_packet() {
    let server = server_with(StubBusiness::start().await, |_| ()).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let group_id = server.make(GroupKind::GkNormal, &[7, 8]).await;
    for number in 0..5 {
        let text = "x".repeat(25_000);
        server.say(7, group_id, &text, &number.to_string()).await.unwrap();
    }
    let history = HistoryRequest { peer: Some(Peer::GroupId(group_id)), ..HistoryRequest::default() };
    let page: HistoryReply = answer(&mut conn, 8, "logic.MessageExtService/History", &history).await;
    assert_eq!((page.messages.len(), page.has_more), (2, true));
    let all: HistoryReply = server.message_ext().history(signed(8, history)).await.unwrap().into_inner();
    assert!(all.messages.len() >= 5 && !all.has_more);
    let mut synced: Vec<Message> = Vec::new();
    loop {
        let seq = synced.last().map_or(0, |message| message.seq);
        let request = SyncRequest { seq, ..SyncRequest::default() };
        let page: SyncReply = answer(&mut conn, 8, "logic.MessageExtService/Sync", &request).await;
        assert!(page.encoded_len() <= 61_440);
        synced.extend(page.messages);
        if !page.has_more {
            break;
        }
    }
    assert_eq!(synced, server.inbox(8).await);
}

/// Longest content that a message may have.
const LONGEST: usize = 61_440;

async fn send_long(server: &Server, from: u64, target: Target, bytes: usize) {
    let request = SendRequest {
        target: Some(target),
        content: vec![b'x'; bytes].into(),
        client_msg_id: format!("{:?}", std::time::Instant::now()),
        ..SendRequest::default()
    };
    server.message_ext().send(signed(from, request)).await.unwrap();
}

#[tokio::test]
async fn the_longest_content_is_read_by_a_call_whatever_else_there_is() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkLarge, &[8, 7]).await;
    for target in [Target::UserId(7), Target::GroupId(group_id)] {
        send_long(&server, 8, target, LONGEST).await;
    }
    send_long(&server, 8, Target::UserId(7), 50_000).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    for peer in [Peer::UserId(8), Peer::GroupId(group_id)] {
        let mut sizes = Vec::new();
        let mut before_seq = 0;
        loop {
            let history =
                HistoryRequest { peer: Some(peer), before_seq, with_extent: true, ..HistoryRequest::default() };
            let page: HistoryReply = answer(&mut conn, 7, "logic.MessageExtService/History", &history).await;
            sizes.extend(page.messages.iter().map(|message| message.content.len()));
            before_seq = page.messages.last().map_or(0, |message| message.seq.max(message.group_seq));
            if !page.has_more {
                break;
            }
        }
        assert!(sizes.iter().any(|bytes| *bytes > LONGEST), "{peer:?}: {sizes:?}");
    }
    let (mut seq, mut group_seq, mut sizes) = (0, 0, Vec::new());
    loop {
        let group_cursors = vec![GroupCursor { group_id, seq: group_seq }];
        let sync = SyncRequest { seq, from_start: true, large_groups: true, group_cursors };
        let page: SyncReply = answer(&mut conn, 7, "logic.MessageExtService/Sync", &sync).await;
        seq = page.messages.last().map_or(seq, |message| message.seq);
        let of_groups = page.groups.iter().flat_map(|group| &group.messages);
        group_seq = of_groups.clone().last().map_or(group_seq, |message| message.group_seq);
        sizes.extend(page.messages.iter().chain(of_groups).map(|message| message.content.len()));
        if !page.has_more && !page.groups_have_more {
            break;
        }
    }
    assert_eq!(sizes.iter().filter(|bytes| **bytes > LONGEST).count(), 2, "{sizes:?}");
    assert_eq!(sizes.len(), 4, "and the notice of the group");
}

#[tokio::test]
async fn the_extent_counts_in_the_page() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let mut bytes = 30_000;
    for (user_id, is_full) in [(7, false), (9, true)] {
        let of = |with_extent| HistoryRequest { peer: Some(Peer::UserId(8)), with_extent, ..HistoryRequest::default() };
        send_long(&server, 8, Target::UserId(user_id), 30_000).await;
        send_long(&server, 8, Target::UserId(user_id), bytes).await;
        let page: HistoryReply = answer(&mut conn, user_id, "logic.MessageExtService/History", &of(false)).await;
        assert_eq!(page.messages.len(), 2);
        assert_eq!(page.encoded_len() + 6 == LONGEST, is_full);
        bytes += LONGEST - page.encoded_len() - 6;
        let page: HistoryReply = answer(&mut conn, user_id, "logic.MessageExtService/History", &of(true)).await;
        assert!(page.encoded_len() <= LONGEST && page.extent.is_some(), "{} bytes", page.encoded_len());
    }
}

#[tokio::test]
async fn a_list_of_conversations_is_cut_to_a_packet_and_misses_nobody() {
    let server = server().await;
    for other in 1_000..1_090 {
        send_long(&server, other, Target::UserId(7), 960).await;
    }
    for other in 1_000..1_020 {
        let set = ConversationSetRequest {
            peer: Some(conversation_set_request::Peer::UserId(other)),
            is_pinned: Some(true),
            ..ConversationSetRequest::default()
        };
        server.conversation_ext().set(signed(7, set)).await.unwrap();
    }
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let (mut others, mut sizes, mut after) = (Vec::new(), Vec::new(), bytes::Bytes::new());
    loop {
        let list = ConversationListRequest { after, ..ConversationListRequest::default() };
        let page: ConversationListReply = answer(&mut conn, 7, "logic.ConversationExtService/List", &list).await;
        assert!(page.encoded_len() <= LONGEST, "{} bytes", page.encoded_len());
        assert_eq!(page.pinned.len(), if sizes.is_empty() { 20 } else { 0 });
        sizes.push(page.conversations.len());
        others.extend(page.conversations.into_iter().map(|one| (one.peer.unwrap(), one.content_left_out)));
        after = page.next;
        if after.is_empty() {
            break;
        }
    }
    let expected: Vec<_> = (1_020..1_090).rev().map(|id| (conversation::Peer::UserId(id), false)).collect();
    assert_eq!(others, expected);
    assert!(sizes[0] < 50, "{sizes:?}");
}

/// Where calls of the business hang: whoever listens there never answers.
async fn never_answers() -> (TcpListener, Endpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::new(&format!("http://{}", listener.local_addr().unwrap()));
    (listener, endpoint)
}

fn get_user() -> Vec<u8> {
    call("business.UserExtService/GetUser", &GetUserRequest { user_id: 7 })
}

#[tokio::test]
async fn calls_that_hang_hold_nothing_up_but_further_calls() {
    let (_listener, endpoint) = never_answers().await;
    let server = server_with(StubBusiness::start().await, |settings| {
        settings.business.endpoint = endpoint.into();
        settings.business.call_timeout_ms = 1_500;
        (settings.call.in_flight_per_user_max, settings.call.in_flight_max) = (2, 3);
    })
    .await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let mut hanging = vec![conn.begin_packet(7, CALL, get_user()).await, conn.begin_packet(7, CALL, get_user()).await];
    let beyond = conn.begin_packet(7, CALL, get_user()).await;
    assert_eq!(next_reply_to(&mut conn, beyond).await.code, 10003, "as many of one user as may be");
    hanging.push(conn.begin_packet(8, CALL, get_user()).await);
    let beyond = conn.begin_packet(9, CALL, get_user()).await;
    assert_eq!(next_reply_to(&mut conn, beyond).await.code, 10004, "as many of all as may be");
    let sync = conn.packet(7, PacketCommand::PcSync as i32, SyncRequest::default().encode_to_vec()).await;
    assert_eq!(sync.code, 0, "what is no call does not wait for one");
    for _ in 0..3 {
        let reply = soon(conn.reply()).await;
        assert_eq!(reply.code, 10004, "{}", reply.message);
        assert!(hanging.contains(&reply.request_no));
    }
    assert_eq!(
        ask(&mut conn, 7, LIST_MINE, &GroupListMineRequest::default()).await.code,
        0,
        "the places are free again"
    );
}

#[tokio::test]
async fn a_call_takes_from_its_users_share_of_requests_once() {
    let server = server_with(StubBusiness::start().await, |settings| {
        (settings.limits.user_requests_per_s, settings.limits.user_requests_burst) = (1, 10);
    })
    .await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let mut codes = Vec::new();
    for _ in 0..14 {
        codes.push(ask(&mut conn, 7, LIST_MINE, &GroupListMineRequest::default()).await.code);
    }
    assert_eq!(codes[..10], [0; 10]);
    assert!(codes[10..].contains(&10003), "{codes:?}");
    assert_eq!(
        code(server.group_ext().list_mine(signed(7, GroupListMineRequest::default())).await),
        ResultCode::TooManyRequests
    );
    assert_eq!(ask(&mut conn, 8, LIST_MINE, &GroupListMineRequest::default()).await.code, 0, "others have theirs");
}

#[tokio::test]
async fn what_is_dear_to_an_address_is_as_dear_to_the_user_of_a_connection() {
    let server = server_with(StubBusiness::start().await, |settings| {
        (settings.limits.user_requests_per_s, settings.limits.user_requests_burst) = (1, 20);
    })
    .await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let methods = [
        ("logic.GroupExtService/ListMine", 10),
        ("logic.MessageExtService/History", 5),
        ("business.UserExtService/SearchUser", 3),
        ("logic.DeviceExtService/Register", 2),
        ("business.UserExtService/SignIn", 2),
    ];
    for (user_id, (method, done_at_most)) in (7..).zip(methods) {
        let mut codes = Vec::new();
        for _ in 0..10 {
            codes.push(ask(&mut conn, user_id, method, &()).await.code);
        }
        let done = codes.iter().filter(|&&code| code != 10003).count();
        // A second brings back one request, so that the last one of a share may come once more.
        assert!((done_at_most - 1..=done_at_most).contains(&done), "{method}: {codes:?}");
    }
}

#[tokio::test]
async fn without_a_business_its_methods_are_unknown() {
    let (listener, endpoint) = never_answers().await;
    drop(listener);
    let server: Server =
        server_with(StubBusiness::start().await, |settings| settings.business.endpoint = endpoint.into()).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let away = conn.packet(7, CALL, get_user()).await;
    assert_eq!(away.code, 10004, "one that is away may come back: {}", away.message);
}
