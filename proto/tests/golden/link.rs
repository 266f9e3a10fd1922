//! Samples of the link between conn and logic, which lives in package `logic`. Nodes of two versions meet during every
//! rolling restart, so these bytes are held still like those of clients.

use gim_proto::{connect::CloseReason, logic::subscribe_events_request::From, logic::*};

use crate::{Sample, sample};

fn up(item: up_item::Item) -> UpItem {
    UpItem { item: Some(item) }
}

fn down(item: down_item::Item) -> DownItem {
    DownItem { item: Some(item) }
}

fn sign_out() -> SignOut {
    SignOut { connection_id: 101, user_id: 102, device_id: 103 }
}

fn connection() -> LiveConnection {
    LiveConnection {
        connection_id: 101,
        user_id: 102,
        device_id: 103,
        since_ms: 1_700_000_000_104,
        ..LiveConnection::default()
    }
}

fn connection_user() -> ConnectionUser {
    ConnectionUser { connection_id: 101, user_id: 102, ..ConnectionUser::default() }
}

fn subscribed() -> RoomSubscribed {
    RoomSubscribed { room_id: 101, retained: vec!["first".into(), "second".into()], newest_seq: 0 }
}

fn room_push() -> RoomPush {
    RoomPush { room_id: 101, message: "message".into(), is_priority: true, ..RoomPush::default() }
}

fn addresses() -> NodeAddresses {
    NodeAddresses { tcp: "tcp".into(), ws: "ws".into(), tls: "tls".into(), wss: "wss".into() }
}

fn load() -> NodeLoad {
    NodeLoad { connections: 101, connections_max: 102, is_draining: true }
}

fn room_members() -> RoomMemberCount {
    RoomMemberCount { room_id: 101, members: 102 }
}

pub fn samples() -> Vec<Sample> {
    let of_link = [up_samples(), up_item_samples(), down_samples(), down_item_samples()];
    of_link.into_iter().flatten().chain(operator_samples()).chain(event_samples()).collect()
}

/// What a backend follows.
fn event_samples() -> Vec<Sample> {
    let event = Event { id: 101, r#type: "type".into(), timestamp_ms: 1_700_000_000_103, data: "{}".into() };
    let request = SubscribeEventsRequest {
        from: Some(From::Cursor(101)),
        types: vec!["message.stored".into()],
        group_kinds: vec![GroupKind::GkNormal as i32, GroupKind::GkLarge as i32],
    };
    let from_time =
        SubscribeEventsRequest { from: Some(From::TimeMs(1_700_000_000_102)), ..SubscribeEventsRequest::default() };
    vec![
        sample("logic.SubscribeEventsRequest.cursor", request),
        sample("logic.SubscribeEventsRequest.time_ms", from_time),
        sample("logic.EventBatch", EventBatch { cursor: 101, events: vec![event.clone()] }),
        sample("logic.Event", event),
    ]
}

/// What operators ask, who are told of nodes in the words of the link.
fn operator_samples() -> Vec<Sample> {
    let node = AttachedNode { name: "name".into(), epoch: 102, addresses: Some(addresses()), load: Some(load()) };
    vec![
        sample("logic.AttachedNode", node.clone()),
        sample("logic.ListNodesReply", ListNodesReply { logic_node: "logic-1".into(), nodes: vec![node] }),
        sample("logic.KickUserRequest", KickUserRequest { user_id: 101, device_id: 102 }),
        sample("logic.KickUserReply", KickUserReply { connections: 101 }),
        sample("logic.DrainNodeRequest", DrainNodeRequest { node: "node".into() }),
        sample("logic.PutWordsRequest", PutWordsRequest { kind: 1, words: "words".into() }),
        sample("logic.PutWordsReply", PutWordsReply { count: 101 }),
        sample("logic.GetWordsRequest", GetWordsRequest { kind: 2 }),
        sample("logic.GetWordsReply", GetWordsReply { words: "words".into(), changed_at_ms: 1_700_000_000_102 }),
    ]
}

fn up_samples() -> Vec<Sample> {
    let (addresses, load) = (addresses(), load());
    let hello = Hello { version: 101, node: "node".into(), epoch: 103, ..Hello::default() };
    let registering = Hello { addresses: Some(addresses.clone()), load: Some(load), ..hello.clone() };
    let bounded = Hello { unsigned_frame_bytes_max: 106, frame_bytes_max: 107, ..hello.clone() };
    vec![
        sample(
            "logic.Up",
            Up { hello: Some(hello.clone()), items: vec![up(up_item::Item::SignOut(sign_out())), UpItem::default()] },
        ),
        sample("logic.Hello", hello),
        sample("logic.Hello.addresses", registering),
        sample("logic.Hello.limits", bounded),
        sample("logic.NodeAddresses", addresses),
        sample("logic.NodeLoad", load),
        sample(
            "logic.SignIn",
            SignIn {
                request_no: 101,
                connection_id: 102,
                request_id: "request-3".into(),
                user_id: 104,
                device_id: 105,
                token: "token".into(),
                app_id: 107,
                client_addr: "client".into(),
            },
        ),
        sample("logic.SignOut", sign_out()),
        sample(
            "logic.ClientPacket",
            ClientPacket {
                request_no: 101,
                connection_id: 102,
                user_id: 103,
                device_id: 104,
                command: 5,
                request_id: "request-6".into(),
                content: "content".into(),
                is_silent: true,
                ..ClientPacket::default()
            },
        ),
        sample(
            "logic.ClientPacket.trace_context",
            ClientPacket { trace_context: "context-9".into(), ..ClientPacket::default() },
        ),
        sample("logic.RoomRelease", RoomRelease { room_id: 101 }),
        sample("logic.Announce.connection", Announce { what: Some(announce::What::Connection(connection())) }),
        sample("logic.Announce.room_id", Announce { what: Some(announce::What::RoomId(102)) }),
        sample("logic.LiveConnection", connection()),
        sample(
            "logic.LiveConnection.large_group_ids",
            LiveConnection { large_group_ids: vec![105, 1005], ..LiveConnection::default() },
        ),
        sample("logic.LiveConnection.age_ms", LiveConnection { age_ms: Some(106), ..LiveConnection::default() }),
        sample("logic.NewestSeqQuestion", NewestSeqQuestion { connections: vec![connection_user()] }),
        sample("logic.ConnectionUser", connection_user()),
        sample("logic.ConnectionUser.device_id", ConnectionUser { device_id: 103, ..ConnectionUser::default() }),
        sample("logic.ConnectionUser.age_ms", ConnectionUser { age_ms: Some(106), ..ConnectionUser::default() }),
        sample("logic.RoomMembers", RoomMembers { rooms: vec![room_members()] }),
        sample("logic.PushAllDone", PushAllDone { message_id: 101 }),
        sample("logic.PushResult", PushResult { gone_connection_ids: vec![101, u64::MAX] }),
    ]
}

fn up_item_samples() -> Vec<Sample> {
    use up_item::Item;
    vec![
        sample("logic.UpItem.sign_in", up(Item::SignIn(SignIn { user_id: 1, ..SignIn::default() }))),
        sample("logic.UpItem.sign_out", up(Item::SignOut(sign_out()))),
        sample("logic.UpItem.packet", up(Item::Packet(ClientPacket { command: 3, ..ClientPacket::default() }))),
        sample("logic.UpItem.room_release", up(Item::RoomRelease(RoomRelease { room_id: 4 }))),
        sample("logic.UpItem.announce", up(Item::Announce(Announce { what: Some(announce::What::RoomId(5)) }))),
        sample("logic.UpItem.newest_seq", up(Item::NewestSeq(NewestSeqQuestion { connections: vec![] }))),
        sample("logic.UpItem.room_members", up(Item::RoomMembers(RoomMembers { rooms: vec![room_members()] }))),
        sample("logic.UpItem.push_all_done", up(Item::PushAllDone(PushAllDone { message_id: 9 }))),
        sample("logic.UpItem.node_load", up(Item::NodeLoad(load()))),
        sample("logic.UpItem.push_result", up(Item::PushResult(PushResult { gone_connection_ids: vec![7] }))),
    ]
}

#[allow(clippy::too_many_lines, reason = "it is a list")]
fn down_samples() -> Vec<Sample> {
    let welcome = Welcome { version: 101, node: "node".into(), ..Welcome::default() };
    let target = PushTarget { seq: 101, prev_seq: 100, connection_ids: vec![103, 104] };
    let kick = Kick { connection_id: 101, reason: CloseReason::CrKicked as i32, message: "message".into() };
    vec![
        sample(
            "logic.Down",
            Down {
                welcome: Some(welcome.clone()),
                items: vec![down(down_item::Item::Kick(kick.clone())), DownItem::default()],
            },
        ),
        sample("logic.Welcome", welcome),
        sample("logic.Welcome.deployment", Welcome { deployment: "deployment".into(), ..Welcome::default() }),
        sample(
            "logic.SignInResult",
            SignInResult {
                request_no: 101,
                code: 10000,
                message: "message".into(),
                newest_seq: 104,
                large_group_ids: vec![],
            },
        ),
        sample(
            "logic.SignInResult.large_group_ids",
            SignInResult { large_group_ids: vec![105, 1005], ..SignInResult::default() },
        ),
        sample(
            "logic.PacketReply",
            PacketReply {
                request_no: 101,
                code: 10001,
                message: "message".into(),
                data: "data".into(),
                subscribed: Some(subscribed()),
                ..PacketReply::default()
            },
        ),
        sample("logic.PacketReply.inbox_seq", PacketReply { inbox_seq: 106, ..PacketReply::default() }),
        sample("logic.RoomSubscribed", subscribed()),
        sample(
            "logic.Push",
            Push {
                message: "message".into(),
                targets: vec![target.clone()],
                request_id: "request-3".into(),
                ..Push::default()
            },
        ),
        sample("logic.Push.trace_context", Push { trace_context: "context-4".into(), ..Push::default() }),
        sample("logic.PushTarget", target),
        sample("logic.RoomSubscribed.newest_seq", RoomSubscribed { newest_seq: 103, ..subscribed() }),
        sample("logic.RoomPush", room_push()),
        sample("logic.RoomPush.seq", RoomPush { seq: 104, after_seq: 103, ..room_push() }),
        sample("logic.PushAll", PushAll { message: "message".into(), message_id: 0 }),
        sample("logic.PushAll.message_id", PushAll { message: "message".into(), message_id: 102 }),
        sample("logic.Kick", kick),
        sample("logic.RoomMove", RoomMove { connection_id: 101, subscribed: Some(subscribed()) }),
        sample(
            "logic.NewestSeqAnswer",
            NewestSeqAnswer { connections: vec![ConnectionSeq { connection_id: 101, newest_seq: 102 }] },
        ),
        sample("logic.ConnectionSeq", ConnectionSeq { connection_id: 101, newest_seq: 102 }),
        sample(
            "logic.GroupMemberships",
            GroupMemberships { group_id: 101, joined_connection_ids: vec![102], left_connection_ids: vec![103, 1003] },
        ),
        sample(
            "logic.GroupPush",
            GroupPush {
                group_id: 101,
                seq: 102,
                message: "message".into(),
                origin_device_id: 104,
                request_id: "request-5".into(),
                ..GroupPush::default()
            },
        ),
        sample(
            "logic.GroupPush.trace_context",
            GroupPush { trace_context: "context-6".into(), ..GroupPush::default() },
        ),
        sample("logic.GroupHeads", GroupHeads { groups: vec![GroupSeq { group_id: 101, newest_seq: 102 }] }),
        sample("logic.Leaving", Leaving {}),
        sample("logic.DrainNode", DrainNode {}),
        sample("logic.PeerNodes", PeerNodes { nodes: vec![addresses()] }),
        sample("logic.GroupSeq", GroupSeq { group_id: 101, newest_seq: 102 }),
    ]
}

fn down_item_samples() -> Vec<Sample> {
    use down_item::Item;
    vec![
        sample(
            "logic.DownItem.sign_in_result",
            down(Item::SignInResult(SignInResult { request_no: 1, ..SignInResult::default() })),
        ),
        sample(
            "logic.DownItem.packet_reply",
            down(Item::PacketReply(PacketReply { request_no: 2, ..PacketReply::default() })),
        ),
        sample("logic.DownItem.push", down(Item::Push(Push { message: "3".into(), ..Push::default() }))),
        sample("logic.DownItem.room_push", down(Item::RoomPush(RoomPush { room_id: 4, ..RoomPush::default() }))),
        sample("logic.DownItem.push_all", down(Item::PushAll(PushAll { message: "5".into(), message_id: 0 }))),
        sample("logic.DownItem.kick", down(Item::Kick(Kick { connection_id: 6, ..Kick::default() }))),
        sample("logic.DownItem.room_move", down(Item::RoomMove(RoomMove { connection_id: 7, ..RoomMove::default() }))),
        sample("logic.DownItem.newest_seq", down(Item::NewestSeq(NewestSeqAnswer { connections: vec![] }))),
        sample(
            "logic.DownItem.group_memberships",
            down(Item::GroupMemberships(GroupMemberships { group_id: 9, ..GroupMemberships::default() })),
        ),
        sample("logic.DownItem.group_push", down(Item::GroupPush(GroupPush { group_id: 10, ..GroupPush::default() }))),
        sample("logic.DownItem.group_heads", down(Item::GroupHeads(GroupHeads { groups: vec![] }))),
        sample("logic.DownItem.leaving", down(Item::Leaving(Leaving {}))),
        sample("logic.DownItem.drain_node", down(Item::DrainNode(DrainNode {}))),
        sample("logic.DownItem.peer_nodes", down(Item::PeerNodes(PeerNodes { nodes: vec![addresses()] }))),
    ]
}
