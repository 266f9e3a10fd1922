//! Samples of package `logic`, as clients and backends call it.

use gim_proto::{connect::SendReply, logic::*};

use crate::{Sample, connect::message, sample};

pub fn device() -> Device {
    Device {
        id: 101,
        r#type: DeviceType::DtIos as i32,
        brand: "brand".into(),
        model: "model".into(),
        system_version: "system".into(),
        sdk_version: "sdk".into(),
        branch_push_id: "push".into(),
    }
}

fn group() -> Group {
    Group {
        id: 101,
        name: "name".into(),
        avatar_url: "avatar".into(),
        introduction: "introduction".into(),
        extra: "extra".into(),
        kind: GroupKind::GkLarge as i32,
        member_count: 117,
    }
}

fn member() -> GroupMember {
    GroupMember {
        user_id: 101,
        nickname: "nickname".into(),
        r#type: MemberType::MtMember as i32,
        // No other status has a name yet; a number tells the field apart.
        status: 4,
        extra: "extra".into(),
    }
}

fn cursor() -> GroupCursor {
    GroupCursor { group_id: 101, seq: 102 }
}

fn group_page() -> GroupPage {
    GroupPage { group_id: 101, messages: vec![message()], has_more: true, newest_seq: 104 }
}

fn card() -> User {
    User {
        user_id: 101,
        device_id: 102,
        nickname: "nickname".into(),
        avatar_url: "avatar".into(),
        extra: "extra".into(),
    }
}

fn history_request(peer: history_request::Peer) -> HistoryRequest {
    HistoryRequest {
        peer: Some(peer),
        before_seq: 103,
        limit: 104,
        after_seq: Some(105),
        around_message_id: 106,
        from_ms: 1_700_000_000_107,
        with_extent: true,
    }
}

pub fn samples() -> Vec<Sample> {
    let parts = [
        message_samples(),
        access_samples(),
        conversation_samples(),
        read_samples(),
        device_samples(),
        group_samples(),
        member_samples(),
        room_samples(),
        push_samples(),
    ];
    parts.into_iter().flatten().collect()
}

fn message_samples() -> Vec<Sample> {
    vec![
        sample("logic.SyncRequest", SyncRequest { seq: 101, ..SyncRequest::default() }),
        sample(
            "logic.SyncRequest.large_groups",
            SyncRequest { seq: 101, large_groups: true, group_cursors: vec![cursor()], from_start: false },
        ),
        sample("logic.SyncRequest.from_start", SyncRequest { from_start: true, ..SyncRequest::default() }),
        sample(
            "logic.SyncReply",
            SyncReply { messages: vec![message(), message()], has_more: true, ..SyncReply::default() },
        ),
        sample(
            "logic.SyncReply.groups",
            SyncReply { groups: vec![group_page()], groups_have_more: true, ..SyncReply::default() },
        ),
        sample("logic.SyncReply.start_seq", SyncReply { start_seq: 118, ..SyncReply::default() }),
        sample("logic.GroupCursor", cursor()),
        sample("logic.GroupPage", group_page()),
        sample("logic.MessageACKRequest", MessageAckRequest { device_ack: 101, group_acks: vec![] }),
        sample("logic.MessageACKRequest.group_acks", MessageAckRequest { device_ack: 0, group_acks: vec![cursor()] }),
        sample("logic.HistoryRequest.user_id", history_request(history_request::Peer::UserId(101))),
        sample("logic.HistoryRequest.group_id", history_request(history_request::Peer::GroupId(102))),
        sample(
            "logic.HistoryReply",
            HistoryReply {
                messages: vec![message()],
                has_more: true,
                has_newer: true,
                extent: Some(HistoryExtent { count: 101, first_seq: 102, last_seq: 103 }),
            },
        ),
        sample("logic.RecallRequest", RecallRequest { message_id: 101 }),
        sample(
            "logic.PushToUsersRequest",
            PushToUsersRequest {
                user_ids: vec![101, 1001],
                command: 110,
                content: "content".into(),
                is_persist: true,
                client_msg_id: "client_msg_id".into(),
                filter_words: true,
            },
        ),
        sample("logic.PushToUsersReply", PushToUsersReply { message_id: 101 }),
        sample(
            "logic.PushToAllRequest",
            PushToAllRequest { command: 101, content: "content".into(), filter_words: true },
        ),
        sample(
            "logic.SendAsRequest",
            SendAsRequest {
                user_id: 101,
                device_id: 102,
                to_user_id: 103,
                command: 1,
                content: "content".into(),
                client_msg_id: "key".into(),
            },
        ),
        sample("logic.SendManyAsRequest", SendManyAsRequest { items: vec![many_as_item(101), many_as_item(1001)] }),
        sample("logic.SendManyAsItem", many_as_item(101)),
        sample(
            "logic.SendManyAsReply",
            SendManyAsReply { results: vec![many_as_result(), SendManyAsResult::default()] },
        ),
        sample("logic.SendManyAsResult", many_as_result()),
    ]
}

fn access_samples() -> Vec<Sample> {
    vec![
        sample("logic.RevokeRequest", RevokeRequest { user_id: 101, device_id: 102, not_before_ms: 1_700_000_000_123 }),
        sample("logic.ForgetRequest", ForgetRequest { user_id: 101, peer_id: 102, room_id: 0 }),
        sample(
            "logic.GetLimitsReply",
            GetLimitsReply { content_bytes_max: 101, token_bytes_max: 102, device_text_bytes_max: 103 },
        ),
        sample("logic.ForgetRequest.room_id", ForgetRequest { user_id: 101, peer_id: 0, room_id: 103 }),
    ]
}

fn many_as_item(user_id: u64) -> SendManyAsItem {
    let message = SendAsRequest { user_id, to_user_id: 103, ..SendAsRequest::default() };
    SendManyAsItem { message: Some(message), request_id: "request-1".into() }
}

fn many_as_result() -> SendManyAsResult {
    let reply = SendReply { message_id: 101, ..SendReply::default() };
    SendManyAsResult { reply: Some(reply), code: 10001, message: "message".into() }
}

fn conversation() -> Conversation {
    Conversation {
        peer: Some(conversation::Peer::UserId(101)),
        is_large: true,
        last_message: Some(message()),
        content_left_out: true,
        active_at_ms: 1_700_000_000_106,
        unread: 100,
        read_seq: 108,
        read_message_id: 109,
        peer_read_seq: 110,
        peer_read_message_id: 111,
        is_pinned: true,
        is_muted: true,
        is_marked_unread: true,
        preview: "preview".into(),
        last_sender_id: 112,
    }
}

fn conversation_samples() -> Vec<Sample> {
    let set = |peer| ConversationSetRequest {
        peer: Some(peer),
        is_pinned: Some(true),
        is_muted: Some(false),
        is_marked_unread: Some(true),
        is_hidden: Some(false),
    };
    let push = |peer| ConversationPush {
        peer: Some(peer),
        is_pinned: Some(true),
        is_muted: Some(false),
        is_marked_unread: Some(true),
        is_hidden: Some(false),
        deleted_up_to_seq: 107,
        read_seq: 108,
        read_message_id: 109,
    };
    vec![
        sample(
            "logic.ConversationListRequest",
            ConversationListRequest { after: "after".into(), limit: 102, without_contents: true },
        ),
        sample(
            "logic.ConversationListReply",
            ConversationListReply {
                conversations: vec![conversation()],
                next: "next".into(),
                pinned: vec![conversation()],
            },
        ),
        sample("logic.Conversation.user_id", conversation()),
        sample(
            "logic.Conversation.group_id",
            Conversation { peer: Some(conversation::Peer::GroupId(102)), ..Conversation::default() },
        ),
        sample("logic.ConversationSetRequest.user_id", set(conversation_set_request::Peer::UserId(101))),
        sample("logic.ConversationSetRequest.group_id", set(conversation_set_request::Peer::GroupId(102))),
        sample(
            "logic.ConversationDeleteRequest.user_id",
            ConversationDeleteRequest { peer: Some(conversation_delete_request::Peer::UserId(101)) },
        ),
        sample(
            "logic.ConversationDeleteRequest.group_id",
            ConversationDeleteRequest { peer: Some(conversation_delete_request::Peer::GroupId(102)) },
        ),
        sample("logic.ConversationPush.user_id", push(conversation_push::Peer::UserId(101))),
        sample("logic.ConversationPush.group_id", push(conversation_push::Peer::GroupId(102))),
    ]
}

fn read_samples() -> Vec<Sample> {
    let read = |peer| ConversationReadRequest { peer: Some(peer), seq: 103, message_id: 104 };
    let reader = ConversationReader { user_id: 101, seq: 102 };
    vec![
        sample("logic.ConversationReadRequest.user_id", read(conversation_read_request::Peer::UserId(101))),
        sample("logic.ConversationReadRequest.group_id", read(conversation_read_request::Peer::GroupId(102))),
        sample(
            "logic.ConversationReadPush",
            ConversationReadPush { user_id: 101, group_id: 102, seq: 103, message_id: 104 },
        ),
        sample(
            "logic.ConversationReadersRequest",
            ConversationReadersRequest { group_id: 101, seq: 102, message_id: 103, after: "after".into(), limit: 105 },
        ),
        sample(
            "logic.ConversationReadersReply",
            ConversationReadersReply { readers: vec![reader], next: "next".into(), count: 103 },
        ),
        sample("logic.ConversationReader", reader),
        sample("logic.HistoryExtent", HistoryExtent { count: 101, first_seq: 102, last_seq: 103 }),
    ]
}

fn device_samples() -> Vec<Sample> {
    let online = OnlineDevice {
        user_id: 101,
        device_id: 102,
        r#type: DeviceType::DtWeb as i32,
        node: "node".into(),
        since_ms: 1_700_000_000_105,
    };
    vec![
        sample(
            "logic.SignInRequest",
            SignInRequest { user_id: 101, device_id: 102, token: "token".into(), client_addr: "client".into() },
        ),
        sample("logic.SignInReply", SignInReply {}),
        sample("logic.HeartbeatRequest", HeartbeatRequest { user_id: 101, device_id: 102 }),
        sample("logic.OfflineRequest", OfflineRequest { user_id: 101, device_id: 102, client_addr: "client".into() }),
        sample("logic.Device", device()),
        sample("logic.DeviceSaveRequest", DeviceSaveRequest { device: Some(device()), user_id: 0 }),
        sample("logic.DeviceSaveRequest.user_id", DeviceSaveRequest { device: Some(device()), user_id: 101 }),
        sample("logic.DeviceUpdateRequest", DeviceUpdateRequest { device: Some(device()) }),
        sample("logic.DeviceSaveReply", DeviceSaveReply { device_id: 101 }),
        sample("logic.DeviceRegisterRequest", DeviceRegisterRequest { device: Some(device()) }),
        sample("logic.DeviceRegisterReply", DeviceRegisterReply { device_id: 101 }),
        sample("logic.GetWebPushKeyReply", GetWebPushKeyReply { public_key: vec![4, 1, 2].into() }),
        sample("logic.ListOnlineRequest", ListOnlineRequest { user_ids: vec![101, 1001] }),
        sample("logic.OnlineDevice", online.clone()),
        sample("logic.ListOnlineReply", ListOnlineReply { devices: vec![online] }),
    ]
}

fn group_samples() -> Vec<Sample> {
    vec![
        sample("logic.Group", group()),
        sample(
            "logic.GroupPushRequest",
            GroupPushRequest {
                group_id: 101,
                command: 102,
                content: "content".into(),
                is_persist: true,
                client_msg_id: "client_msg_id".into(),
                filter_words: true,
            },
        ),
        sample("logic.GroupPushReply", GroupPushReply { message_id: 101 }),
        sample("logic.GroupCreateRequest", GroupCreateRequest { group: Some(group()), members: vec![member()] }),
        sample("logic.GroupCreateReply", GroupCreateReply { group_id: 101 }),
        sample("logic.GroupUpdateRequest", GroupUpdateRequest { group: Some(group()) }),
        sample("logic.GroupGetRequest", GroupGetRequest { group_id: 101 }),
        sample("logic.GroupGetReply", GroupGetReply { group: Some(group()) }),
        sample("logic.GroupListMineRequest", GroupListMineRequest { after_group_id: 101, limit: 102 }),
        sample(
            "logic.GroupListMineReply",
            GroupListMineReply { groups: vec![group(), Group::default()], has_more: false },
        ),
        sample("logic.GroupListMineReply.has_more", GroupListMineReply { groups: vec![group()], has_more: true }),
    ]
}

fn member_samples() -> Vec<Sample> {
    vec![
        sample("logic.GroupMember", member()),
        sample("logic.GroupAddMemberRequest", GroupAddMemberRequest { group_id: 101, members: vec![member()] }),
        sample("logic.GroupRemoveMemberRequest", GroupRemoveMemberRequest { group_id: 101, user_ids: vec![102, 1002] }),
        sample("logic.GroupUpdateMemberRequest", GroupUpdateMemberRequest { group_id: 101, member: Some(member()) }),
        sample("logic.GroupGetMembersRequest", GroupGetMembersRequest { group_id: 101, after_user_id: 0, limit: 0 }),
        sample(
            "logic.GroupGetMembersRequest.limit",
            GroupGetMembersRequest { group_id: 101, after_user_id: 102, limit: 103 },
        ),
        sample(
            "logic.GroupGetMembersReply",
            GroupGetMembersReply { members: vec![member(), GroupMember::default()], has_more: false },
        ),
        sample("logic.GroupGetMembersReply.has_more", GroupGetMembersReply { members: vec![member()], has_more: true }),
    ]
}

fn room_samples() -> Vec<Sample> {
    let node = ConnNode { tcp: "tcp".into(), ws: "ws".into(), weight: 103, ..ConnNode::default() };
    let backoff = Backoff { first_ms: 101, max_ms: 102 };
    vec![
        sample(
            "logic.PushRoomRequest",
            PushRoomRequest {
                room_id: 101,
                command: 102,
                content: "content".into(),
                send_time: 1_700_000_000_104,
                is_persist: true,
                is_priority: true,
                filter_words: true,
            },
        ),
        sample(
            "logic.SubscribeRoomRequest",
            SubscribeRoomRequest { user_id: 101, device_id: 102, room_id: 103, seq: 104, from_start: false },
        ),
        sample(
            "logic.SubscribeRoomRequest.from_start",
            SubscribeRoomRequest { user_id: 101, device_id: 102, room_id: 103, seq: 0, from_start: true },
        ),
        sample("logic.CountRoomMembersRequest", CountRoomMembersRequest { room_ids: vec![101, 1001] }),
        sample(
            "logic.CountRoomMembersReply",
            CountRoomMembersReply { rooms: vec![RoomMemberCount { room_id: 101, members: 102 }] },
        ),
        sample("logic.RoomMemberCount", RoomMemberCount { room_id: 101, members: 102 }),
        sample("logic.LocateRequest", LocateRequest { platform: "platform".into(), room_id: 102 }),
        sample(
            "logic.LocateReply",
            LocateReply { nodes: vec![node.clone()], heartbeat_s: 102, backoff: Some(backoff) },
        ),
        sample("logic.ConnNode", node),
        sample("logic.ConnNode.tls", ConnNode { tls: "tls".into(), wss: "wss".into(), ..ConnNode::default() }),
        sample("logic.Backoff", backoff),
    ]
}

fn push_samples() -> Vec<Sample> {
    vec![
        sample("logic.User", card()),
        sample(
            "logic.UserMessagePush",
            UserMessagePush { from_user: Some(card()), to_user_id: 102, content: "content".into() },
        ),
        sample(
            "logic.GroupMessagePush",
            GroupMessagePush { from_user: Some(card()), group_id: 102, content: "content".into() },
        ),
        sample(
            "logic.UpdateGroupPush",
            UpdateGroupPush {
                opt_id: 101,
                opt_name: "operator".into(),
                name: "name".into(),
                avatar_url: "avatar".into(),
                introduction: "introduction".into(),
                extra: "extra".into(),
                kind: 0,
            },
        ),
        sample(
            "logic.UpdateGroupPush.kind",
            UpdateGroupPush { kind: GroupKind::GkLarge as i32, ..UpdateGroupPush::default() },
        ),
        sample(
            "logic.AddGroupMembersPush",
            AddGroupMembersPush { opt_id: 101, opt_name: "operator".into(), members: vec![member()] },
        ),
        sample(
            "logic.RemoveGroupMemberPush",
            RemoveGroupMemberPush {
                opt_id: 101,
                opt_name: "operator".into(),
                deleted_user_id: 103,
                ..RemoveGroupMemberPush::default()
            },
        ),
        sample(
            "logic.RemoveGroupMemberPush.deleted_user_ids",
            RemoveGroupMemberPush { deleted_user_ids: vec![103, 104], ..RemoveGroupMemberPush::default() },
        ),
    ]
}
