//! Bad input in every call: a clear code, the field by its name, and nothing stored (REGRESSIONS 29).

use gim_config::sql::Database;
use gim_proto::{
    ResultCode,
    connect::{PacketCommand, SendRequest, SubscribeRoomRequest, send_request::Target},
    logic::{
        CountRoomMembersRequest, Device, DeviceRegisterRequest, DeviceSaveRequest, Group, GroupAddMemberRequest,
        GroupCreateRequest, GroupCursor, GroupGetMembersRequest, GroupGetRequest, GroupKind, GroupListMineRequest,
        GroupMember, GroupPushRequest, GroupRemoveMemberRequest, GroupUpdateMemberRequest, GroupUpdateRequest,
        HeartbeatRequest, HistoryRequest, ListOnlineRequest, MessageAckRequest, OfflineRequest, PushRoomRequest,
        PushToUsersRequest, RecallRequest, SignInRequest, SubscribeRoomRequest as MoveRequest, SyncRequest,
        history_request::Peer,
    },
    metadata,
};
use prost::Message as _;
use sqlx::{AssertSqlSafe, Row as _};
use tonic::Request;

use crate::support::{Server, business::StubBusiness, conn::Conn, refusal, server, server_with};

const TABLES: [&str; 16] = [
    "device",
    "inbox",
    "message",
    "other_inbox",
    "direct_inbox",
    "device_ack",
    "room_seq",
    "chat_group",
    "group_member",
    "group_message",
    "group_receivers",
    "group_cursor",
    "group_device_cursor",
    "token_revocation",
    "read_position",
    "conversation_setting",
];

type RefusedCalls = Vec<(&'static str, (ResultCode, String))>;

macro_rules! refusals {
    ($($field:literal: $call:expr;)*) => { vec![$(($field, refusal($call.await)),)*] };
}

/// How much is in every table, and how far inboxes and groups got.
pub(super) async fn stored(database: &Database) -> Vec<i64> {
    let count = |table: &&str| format!("SELECT COUNT(*) FROM {table}");
    let newest = ["inbox", "chat_group"].map(|table| format!("SELECT COALESCE(MAX(seq), 0) FROM {table}"));
    let mut numbers = Vec::new();
    for question in TABLES.iter().map(count).chain(newest) {
        let row = sqlx::query(AssertSqlSafe(question)).fetch_one(&database.reader).await.unwrap();
        numbers.push(row.try_get(0).unwrap());
    }
    numbers
}

fn signed<T>(message: T) -> Request<T> {
    metadata::signed(message, 7, 70, "token-7")
}

fn to(target: Target) -> Request<SendRequest> {
    let content = b"x"[..].into();
    let client_msg_id = format!("{target:?}");
    signed(SendRequest { target: Some(target), content, client_msg_id, ..SendRequest::default() })
}

fn device(id: u64) -> Option<Device> {
    Some(Device { id, ..Device::default() })
}

fn named(id: u64, name: &str) -> Option<Group> {
    Some(Group { id, name: name.into(), ..Group::default() })
}

fn members(user_id: u64) -> Vec<GroupMember> {
    vec![GroupMember { user_id, ..GroupMember::default() }]
}

fn push(user_id: u64) -> PushToUsersRequest {
    PushToUsersRequest {
        user_ids: vec![8, user_id],
        command: 5000,
        content: b"x"[..].into(),
        is_persist: true,
        ..PushToUsersRequest::default()
    }
}

fn room_push(room_id: u64) -> PushRoomRequest {
    PushRoomRequest { room_id, command: 5000, is_persist: true, ..PushRoomRequest::default() }
}

fn group_push(group_id: u64) -> GroupPushRequest {
    GroupPushRequest { group_id, command: 5000, is_persist: true, ..GroupPushRequest::default() }
}

fn sign_in() -> SignInRequest {
    SignInRequest { user_id: 7, device_id: 70, token: "token-7".into(), client_addr: String::new() }
}

async fn messages_with(server: &Server, id: u64) -> RefusedCalls {
    let (mut client, mut service) = (server.message_ext(), server.message_int());
    let acks = vec![GroupCursor { group_id: id, seq: 1 }];
    refusals! {
        "device_ack": client.message_ack(signed(MessageAckRequest { device_ack: id, group_acks: vec![] }));
        "group_acks": client.message_ack(signed(MessageAckRequest { device_ack: 0, group_acks: acks }));
        "user_id": client.send(to(Target::UserId(id)));
        "group_id": client.send(to(Target::GroupId(id)));
        "room_id": client.send(to(Target::RoomId(id)));
        "user_id": client.history(signed(HistoryRequest { peer: Some(Peer::UserId(id)), ..Default::default() }));
        "group_id": client.history(signed(HistoryRequest { peer: Some(Peer::GroupId(id)), ..Default::default() }));
        "message_id": client.recall(signed(RecallRequest { message_id: id }));
        "user_ids": service.push_to_users(push(id));
        "user_ids": service.push_to_users(PushToUsersRequest { is_persist: false, ..push(id) });
        "room_id": server.room_int().push_room(room_push(id));
        "room_id": server.room_ext().push_room(signed(room_push(id)));
        "room_ids": server.room_int().count_members(CountRoomMembersRequest { room_ids: vec![1, id] });
    }
}

async fn devices_with(server: &Server, id: u64) -> RefusedCalls {
    let mut service = server.device_int();
    let moved = MoveRequest { user_id: 7, device_id: 70, room_id: 9, seq: 0, from_start: false };
    refusals! {
        "user_id": service.sign_in(SignInRequest { user_id: id, ..sign_in() });
        "device_id": service.sign_in(SignInRequest { device_id: id, ..sign_in() });
        "user_id": service.heartbeat(HeartbeatRequest { user_id: id, device_id: 70 });
        "device_id": service.heartbeat(HeartbeatRequest { user_id: 7, device_id: id });
        "user_id": service.offline(OfflineRequest { user_id: id, device_id: 70, client_addr: String::new() });
        "device_id": service.offline(OfflineRequest { user_id: 7, device_id: id, client_addr: String::new() });
        "user_ids": service.list_online(ListOnlineRequest { user_ids: vec![7, id] });
        "user_id": server.room_int().subscribe_room(MoveRequest { user_id: id, ..moved });
        "device_id": server.room_int().subscribe_room(MoveRequest { device_id: id, ..moved });
    }
}

async fn groups_with(server: &Server, id: u64) -> RefusedCalls {
    let (mut client, mut service) = (server.group_ext(), server.group_int());
    let member = || members(8).pop();
    let page = GroupGetMembersRequest { group_id: id, ..GroupGetMembersRequest::default() };
    refusals! {
        "members": client.create(signed(GroupCreateRequest { group: named(0, "x"), members: members(id) }));
        "members": service.create(GroupCreateRequest { group: named(0, "x"), members: members(id) });
        "group.id": client.update(signed(GroupUpdateRequest { group: named(id, "x") }));
        "group.id": service.update(GroupUpdateRequest { group: named(id, "x") });
        "group_id": client.get(signed(GroupGetRequest { group_id: id }));
        "group_id": service.get(GroupGetRequest { group_id: id });
        "group_id": client.get_members(signed(page));
        "group_id": client.add_members(signed(GroupAddMemberRequest { group_id: id, members: members(8) }));
        "group_id": service.add_member(GroupAddMemberRequest { group_id: id, members: members(8) });
        "group_id": client.remove_member(signed(GroupRemoveMemberRequest { group_id: id, user_ids: vec![8] }));
        "group_id": service.remove_member(GroupRemoveMemberRequest { group_id: id, user_ids: vec![8] });
        "group_id": client.update_member(signed(GroupUpdateMemberRequest { group_id: id, member: member() }));
        "group_id": service.push(group_push(id));
        "members": client.add_members(signed(GroupAddMemberRequest { group_id: 5, members: members(id) }));
        "members": service.add_member(GroupAddMemberRequest { group_id: 5, members: members(id) });
        "user_ids": client.remove_member(signed(GroupRemoveMemberRequest { group_id: 5, user_ids: vec![id] }));
        "user_ids": service.remove_member(GroupRemoveMemberRequest { group_id: 5, user_ids: vec![id] });
        "members": client.update_member(signed(GroupUpdateMemberRequest { group_id: 5, member: members(id).pop() }));
    }
}

/// Where 0 has a meaning of its own.
async fn cursors_beyond(server: &Server, group_id: u64, id: u64) -> RefusedCalls {
    let mut client = server.message_ext();
    let cursors = vec![GroupCursor { group_id: 5, seq: id }];
    let sync = |seq| SyncRequest { seq, ..SyncRequest::default() };
    let mine = GroupListMineRequest { after_group_id: id, ..GroupListMineRequest::default() };
    let page = GroupGetMembersRequest { group_id, after_user_id: id, ..GroupGetMembersRequest::default() };
    let history = HistoryRequest { peer: Some(Peer::UserId(8)), before_seq: id, limit: 1, ..HistoryRequest::default() };
    let moved = MoveRequest { user_id: 7, device_id: 70, room_id: 9, seq: id, from_start: false };
    refusals! {
        "seq": client.sync(signed(sync(id)));
        "group_cursors": client.sync(signed(SyncRequest { large_groups: true, group_cursors: cursors, ..SyncRequest::default() }));
        "before_seq": client.history(signed(history));
        "after_group_id": server.group_ext().list_mine(signed(mine));
        "after_user_id": server.group_ext().get_members(signed(page));
        "seq": server.room_int().subscribe_room(moved);
        "device.id": server.device_int().save(DeviceSaveRequest { device: device(id), user_id: 0 });
        "user_id": server.device_int().save(DeviceSaveRequest { device: device(1), user_id: id });
        "group.id": server.group_int().create(GroupCreateRequest { group: named(id, "x"), members: members(8) });
        "device.id": server.device_ext().register(DeviceRegisterRequest { device: device(id) });
    }
}

fn assert_names(refusals: RefusedCalls, expected: ResultCode, what: &str) {
    for (field, (code, problem)) in refusals {
        assert_eq!(code, expected, "{what} as {field}: {problem}");
        assert!(problem.starts_with(field), "{what}: `{problem}` does not name {field}");
    }
}

#[tokio::test]
async fn ids_out_of_range_are_refused_in_every_call_by_name() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkLarge, &[7]).await;
    let database = server.database().await;
    let before = stored(&database).await;
    for id in [0, 1 << 63, u64::MAX] {
        let what = format!("id {id}");
        assert_names(messages_with(&server, id).await, ResultCode::BadRequest, &what);
        assert_names(devices_with(&server, id).await, ResultCode::BadRequest, &what);
        assert_names(groups_with(&server, id).await, ResultCode::BadRequest, &what);
        if id > 0 {
            assert_names(cursors_beyond(&server, group_id, id).await, ResultCode::BadRequest, &what);
        }
    }
    assert_eq!(stored(&database).await, before);
    server.push(&[7], "as ever").await;
}

#[tokio::test]
async fn what_is_too_long_is_refused_in_every_call_by_name() {
    let server = server_with(StubBusiness::start().await, |settings| settings.limits.token_bytes_max = 4096).await;
    let database = server.database().await;
    let before = stored(&database).await;
    let (content, many) = (bytes::Bytes::from(vec![0; 61_441]), vec![7; 10_001]);
    let text = |bytes: usize| "x".repeat(bytes);
    let send = SendRequest { content: content.clone(), ..to(Target::UserId(8)).into_inner() };
    let keyed = SendRequest { client_msg_id: text(65), ..to(Target::UserId(8)).into_inner() };
    let described = |bytes| Some(Device { brand: text(bytes), ..Device::default() });
    let create = |group: Option<Group>, members| GroupCreateRequest { group, members };
    let group = || named(0, "x").unwrap_or_default();
    let nickname = vec![GroupMember { nickname: text(257), user_id: 8, ..GroupMember::default() }];
    let extra = vec![GroupMember { extra: text(1025), user_id: 8, ..GroupMember::default() }];
    let (mut client, mut service, mut groups) = (server.message_ext(), server.message_int(), server.group_int());
    let refusals = refusals! {
        "content": client.send(signed(send));
        "client_msg_id": client.send(signed(keyed));
        "content": service.push_to_users(PushToUsersRequest { content: content.clone(), ..push(7) });
        "user_ids": service.push_to_users(PushToUsersRequest { user_ids: many.clone(), ..push(7) });
        "content": server.room_int().push_room(PushRoomRequest { content: content.clone(), ..room_push(9) });
        "content": server.room_ext().push_room(signed(PushRoomRequest { content: content.clone(), ..room_push(9) }));
        "content": groups.push(GroupPushRequest { content, ..group_push(5) });
        "user_ids": server.device_int().list_online(ListOnlineRequest { user_ids: many });
        "room_ids": server.room_int().count_members(CountRoomMembersRequest { room_ids: vec![1; 1001] });
        "client_addr": server.device_int().sign_in(SignInRequest { client_addr: text(257), ..sign_in() });
        "token": server.device_int().sign_in(SignInRequest { token: text(4097), ..sign_in() });
        "token": client.sync(metadata::signed(SyncRequest::default(), 7, 70, &text(4097)));
        "device.brand": server.device_int().save(DeviceSaveRequest { device: described(4097), user_id: 0 });
        "device.brand": server.device_ext().register(DeviceRegisterRequest { device: described(4097) });
        "group.name": groups.create(create(named(0, &text(257)), members(8)));
        "group.avatar_url": groups.create(create(Some(Group { avatar_url: text(4097), ..group() }), members(8)));
        "group.introduction": groups.create(create(Some(Group { introduction: text(4097), ..group() }), members(8)));
        "group.extra": groups.create(create(Some(Group { extra: text(4097), ..group() }), members(8)));
        "members.nickname": groups.create(create(named(0, "x"), nickname));
        "members.extra": groups.create(create(named(0, "x"), extra));
        "members": groups.create(create(named(0, "x"), (1..=900).flat_map(members).collect()));
    };
    assert_names(refusals, ResultCode::TooLarge, "too long");
    assert_eq!(stored(&database).await, before);
}

#[tokio::test]
async fn who_and_what_is_unknown_is_refused_and_nothing_is_stored() {
    let server = server().await;
    let sent = server.message_ext().send(to(Target::UserId(8))).await.unwrap().into_inner();
    let database = server.database().await;
    let before = stored(&database).await;
    let (mut client, mut groups) = (server.message_ext(), server.group_ext());
    let create = |members| signed(GroupCreateRequest { group: named(0, "x"), members });
    let twice = [members(8), members(8)].concat();
    let moved = MoveRequest { user_id: 9, device_id: 90, room_id: 9, seq: 0, from_start: false };
    let by_another = metadata::signed(RecallRequest { message_id: sent.message_id }, 8, 80, "token-8");
    let refused = [
        (ResultCode::UserNotFound, refusal(client.send(to(Target::UserId(1000))).await)),
        (ResultCode::NotInGroup, refusal(client.send(to(Target::GroupId(5))).await)),
        (ResultCode::UserNotFound, refusal(groups.create(create(members(1000))).await)),
        (ResultCode::BadRequest, refusal(groups.create(create(twice)).await)),
        (ResultCode::BadRequest, refusal(server.group_int().create(create(vec![]).into_inner()).await)),
        (ResultCode::NotInGroup, refusal(groups.get(signed(GroupGetRequest { group_id: 5 })).await)),
        (ResultCode::GroupNotFound, refusal(server.group_int().push(group_push(5)).await)),
        (ResultCode::NotAllowed, refusal(client.recall(signed(RecallRequest { message_id: 5 })).await)),
        (ResultCode::NotAllowed, refusal(client.recall(by_another).await)),
        (
            ResultCode::BeyondNewest,
            refusal(client.sync(signed(SyncRequest { seq: sent.seq + 1, ..SyncRequest::default() })).await),
        ),
        (
            ResultCode::BeyondNewest,
            refusal(
                client.message_ack(signed(MessageAckRequest { device_ack: sent.seq + 1, group_acks: vec![] })).await,
            ),
        ),
        (ResultCode::ConnectionNotFound, refusal(server.room_int().subscribe_room(moved).await)),
    ];
    for (index, (expected, (code, problem))) in refused.into_iter().enumerate() {
        assert_eq!(code, expected, "the {index}th: {problem}");
        assert!(problem.contains(' '), "a sentence: {problem}");
    }
    assert_eq!(stored(&database).await, before);
}

#[tokio::test]
async fn a_packet_of_bad_input_is_answered_with_a_code_and_nothing_is_stored() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let database = server.database().await;
    let before = stored(&database).await;
    // A client_msg_id (field 6) that is no UTF-8, to user 8 (field 1).
    let no_utf8 = vec![0x08, 0x08, 0x32, 0x02, 0xff, 0xfe];
    let mut packets = vec![(PacketCommand::PcSend, no_utf8)];
    for id in [1 << 63, u64::MAX] {
        for target in [Target::UserId(id), Target::GroupId(id), Target::RoomId(id)] {
            packets.push((PacketCommand::PcSend, to(target).into_inner().encode_to_vec()));
        }
        let sync = SyncRequest { seq: id, ..SyncRequest::default() };
        packets.push((PacketCommand::PcSync, sync.encode_to_vec()));
        let ack = MessageAckRequest { device_ack: id, group_acks: vec![] };
        packets.push((PacketCommand::PcMessageAck, ack.encode_to_vec()));
        packets.push((
            PacketCommand::PcSubscribeRoom,
            SubscribeRoomRequest { room_id: id, seq: 0, from_start: false }.encode_to_vec(),
        ));
        packets.push((
            PacketCommand::PcSubscribeRoom,
            SubscribeRoomRequest { room_id: 9, seq: id, from_start: false }.encode_to_vec(),
        ));
    }
    for (command, content) in packets {
        let reply = conn.packet(7, command as i32, content.clone()).await;
        assert_eq!(reply.code, ResultCode::BadRequest.number(), "{command:?} {content:?}: {}", reply.message);
        assert!(!reply.message.is_empty());
    }
    assert_eq!(stored(&database).await, before);
}
