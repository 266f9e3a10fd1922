//! Samples of package `connect`.

use gim_proto::connect::*;

use crate::{Sample, sample};

pub fn message() -> Message {
    Message {
        command: MessageCommand::McUserMessage as i32,
        content: "content".into(),
        seq: 104,
        created_at: 1_700_000_105,
        room_id: 106,
        message_id: 116,
        created_at_ms: 1_700_000_000_117,
        prev_seq: 103,
        status: MessageStatus::MsRecalled as i32,
        group_id: 120,
        ..Message::default()
    }
}

fn send_request(target: send_request::Target) -> SendRequest {
    SendRequest {
        target: Some(target),
        command: MessageCommand::McGroupMessage as i32,
        content: "content".into(),
        client_msg_id: "client-6".into(),
    }
}

pub fn samples() -> Vec<Sample> {
    vec![
        sample(
            "connect.CallRequest",
            CallRequest { method: "logic.GroupExtService/Create".into(), body: "body".into() },
        ),
        sample(
            "connect.Packet",
            Packet {
                request_id: "request-1".into(),
                command: PacketCommand::PcSubscribeRoom as i32,
                content: "content".into(),
                seq: 104,
            },
        ),
        sample("connect.Reply", Reply { code: 10001, message: "message".into(), data: "data".into() }),
        sample(
            "connect.SignInRequest",
            SignInRequest { user_id: 101, device_id: 102, token: "token".into(), app_id: 116, heartbeat_s: 0 },
        ),
        sample("connect.SignInRequest.heartbeat_s", SignInRequest { heartbeat_s: 117, ..SignInRequest::default() }),
        sample(
            "connect.SubscribeRoomRequest",
            SubscribeRoomRequest { room_id: 101, seq: 102, ..SubscribeRoomRequest::default() },
        ),
        sample(
            "connect.SubscribeRoomRequest.from_start",
            SubscribeRoomRequest { room_id: 101, seq: 0, from_start: true },
        ),
        sample(
            "connect.CloseNotice",
            CloseNotice {
                reason: CloseReason::CrReplaced as i32,
                message: "message".into(),
                reconnect_after_ms: 103,
                endpoint: "endpoint".into(),
            },
        ),
        sample("connect.Message", message()),
        sample("connect.Message.room_seq", Message { room_id: 106, room_seq: 121, ..Message::default() }),
        sample(
            "connect.Message.group_seq",
            Message { group_id: 120, group_seq: 122, prev_group_seq: 123, ..Message::default() },
        ),
        sample("connect.Message.is_from_user", Message { is_from_user: true, ..Message::default() }),
        sample("connect.SendRequest.user_id", send_request(send_request::Target::UserId(101))),
        sample("connect.SendRequest.group_id", send_request(send_request::Target::GroupId(102))),
        sample("connect.SendRequest.room_id", send_request(send_request::Target::RoomId(103))),
        sample(
            "connect.SendReply",
            SendReply { message_id: 101, seq: 102, created_at_ms: 1_700_000_000_103, duplicate: true },
        ),
        sample("connect.DeviceMessage", DeviceMessage { device_id: 101, message: Some(message()) }),
        sample(
            "connect.PushToDevicesRequest",
            PushToDevicesRequest {
                device_messages: vec![DeviceMessage { device_id: 101, message: Some(Message::default()) }],
                app_id: 0,
            },
        ),
        sample(
            "connect.PushToDevicesRequest.app_id",
            PushToDevicesRequest { device_messages: Vec::new(), app_id: 116 },
        ),
    ]
}
