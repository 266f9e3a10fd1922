//! Who may call what, and what is refused before anything is stored (REGRESSIONS 27, 28, 29).

use crate::support::{business::StubBusiness, refusal, server, server_with};
use gim_proto::{
    ResultCode,
    connect::{SendRequest, send_request::Target},
    logic::{
        Device, DeviceRegisterRequest, DeviceUpdateRequest, Group, GroupAddMemberRequest, GroupCreateRequest,
        GroupGetMembersRequest, GroupGetRequest, GroupListMineRequest, GroupMember, GroupRemoveMemberRequest,
        GroupUpdateMemberRequest, GroupUpdateRequest, HistoryRequest, ListOnlineRequest, MessageAckRequest,
        PushRoomRequest, RecallRequest, SyncRequest, history_request::Peer,
    },
    metadata,
};
use tonic::{Code, Request, Status};

fn send_request(text: &str) -> SendRequest {
    SendRequest {
        target: Some(Target::UserId(8)),
        command: 0,
        content: text.as_bytes().to_vec().into(),
        client_msg_id: "key".into(),
    }
}

/// Asks every call for clients, each with what `sign` adds to it.
macro_rules! every_client_call {
    ($server:expr, $sign:expr) => {{
        let device = Some(Device { id: 70, ..Device::default() });
        let peer = Some(Peer::UserId(8));
        let group = || Some(Group { id: 9, name: "group".into(), ..Group::default() });
        let members = || vec![GroupMember { user_id: 9, ..GroupMember::default() }];
        let member = Some(GroupMember { user_id: 9, ..GroupMember::default() });
        let (group_id, user_ids) = (9, vec![9]);
        let room_push = PushRoomRequest { room_id: 9, command: 5000, ..PushRoomRequest::default() };
        [
            ("Sync", refusal($server.message_ext().sync($sign(SyncRequest::default())).await)),
            ("MessageACK", refusal($server.message_ext().message_ack($sign(MessageAckRequest::default())).await)),
            ("Send", refusal($server.message_ext().send($sign(send_request("x"))).await)),
            (
                "History",
                refusal($server.message_ext().history($sign(HistoryRequest { peer, ..Default::default() })).await),
            ),
            ("Recall", refusal($server.message_ext().recall($sign(RecallRequest { message_id: 1 })).await)),
            (
                "Update",
                refusal($server.device_ext().update($sign(DeviceUpdateRequest { device: device.clone() })).await),
            ),
            ("Register", refusal($server.device_ext().register($sign(DeviceRegisterRequest { device })).await)),
            ("PushRoom", refusal($server.room_ext().push_room($sign(room_push)).await)),
            (
                "Group/Create",
                refusal(
                    $server.group_ext().create($sign(GroupCreateRequest { group: group(), members: members() })).await,
                ),
            ),
            ("Group/Update", refusal($server.group_ext().update($sign(GroupUpdateRequest { group: group() })).await)),
            ("Group/Get", refusal($server.group_ext().get($sign(GroupGetRequest { group_id })).await)),
            ("Group/ListMine", refusal($server.group_ext().list_mine($sign(GroupListMineRequest::default())).await)),
            (
                "Group/AddMembers",
                refusal(
                    $server
                        .group_ext()
                        .add_members($sign(GroupAddMemberRequest { group_id, members: members() }))
                        .await,
                ),
            ),
            (
                "Group/UpdateMember",
                refusal($server.group_ext().update_member($sign(GroupUpdateMemberRequest { group_id, member })).await),
            ),
            (
                "Group/RemoveMember",
                refusal(
                    $server.group_ext().remove_member($sign(GroupRemoveMemberRequest { group_id, user_ids })).await,
                ),
            ),
            (
                "Group/GetMembers",
                refusal(
                    $server
                        .group_ext()
                        .get_members($sign(GroupGetMembersRequest { group_id, ..Default::default() }))
                        .await,
                ),
            ),
        ]
    }};
}

fn signed_by<T>(user_id: u64, device_id: u64, token: &str) -> impl Fn(T) -> Request<T> {
    move |message| metadata::signed(message, user_id, device_id, token)
}

#[tokio::test]
async fn the_longest_token_gets_through_in_every_call() {
    let server = server().await;
    let longest = "t".repeat(server.settings.limits.token_bytes_max);
    for (token, expected) in [(longest.clone(), ResultCode::SignInAgain), (longest + "t", ResultCode::TooLarge)] {
        for (call, (code, problem)) in every_client_call!(server, |message| signed_by(7, 70, &token)(message)) {
            assert_eq!(code, expected, "{call}: {problem}");
        }
    }
}

#[tokio::test]
async fn nobody_acts_as_another_user_in_any_call() {
    let server = server_with(StubBusiness::start().await, |settings| settings.limits.token_bytes_max = 4096).await;
    for (call, (code, problem)) in every_client_call!(server, |message| signed_by(8, 70, "token-7")(message)) {
        assert_eq!(code, ResultCode::SignInAgain, "{call}: {problem}");
    }
    for (user_id, device_id, token, field) in [
        (0, 70, "t", "user_id: "),
        (u64::MAX, 70, "t", "user_id: "),
        (7, 0, "t", "device_id: "),
        (7, 70, "", "token: "),
    ] {
        for (call, (code, problem)) in
            every_client_call!(server, |message| signed_by(user_id, device_id, token)(message))
        {
            assert_eq!(code, ResultCode::BadRequest, "{call}: {problem}");
            assert!(problem.starts_with(field), "{call}: {problem}");
        }
    }
    let long = "t".repeat(4097);
    for (call, (code, problem)) in every_client_call!(server, |message| signed_by(7, 70, &long)(message)) {
        assert_eq!((code, &problem[..7]), (ResultCode::TooLarge, "token: "), "{call}");
    }
    let page = server.message_ext().sync(signed_by(7, 70, "token-7")(SyncRequest::default())).await.unwrap();
    assert!(page.into_inner().messages.is_empty(), "nothing of all that was stored");
}

#[tokio::test]
async fn what_is_no_utf8_is_refused_and_nothing_is_stored() {
    use tonic::codec::{DecodeBuf, Decoder, EncodeBuf, Encoder};

    /// Sends bytes as they are.
    #[derive(Default)]
    struct Raw;
    impl Encoder for Raw {
        type Item = Vec<u8>;
        type Error = Status;
        fn encode(&mut self, bytes: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
            bytes::BufMut::put_slice(buffer, &bytes);
            Ok(())
        }
    }
    impl Decoder for Raw {
        type Item = ();
        type Error = Status;
        fn decode(&mut self, _: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
            Ok(Some(()))
        }
    }
    #[derive(Default)]
    struct RawCodec;
    impl tonic::codec::Codec for RawCodec {
        type Encode = Vec<u8>;
        type Decode = ();
        type Encoder = Raw;
        type Decoder = Raw;
        fn encoder(&mut self) -> Raw {
            Raw
        }
        fn decoder(&mut self) -> Raw {
            Raw
        }
    }

    let server = server().await;
    // To user 8, with a client_msg_id (field 6) that is no UTF-8.
    let bytes = vec![0x08, 0x08, 0x32, 0x02, 0xff, 0xfe];
    let mut client = tonic::client::Grpc::new(server.channel.clone());
    client.ready().await.unwrap();
    let path = "/logic.MessageExtService/Send".parse().unwrap();
    let status = client.unary(signed_by(7, 70, "token-7")(bytes), path, RawCodec).await.unwrap_err();
    assert!(matches!(status.code(), Code::Internal | Code::InvalidArgument), "{status}");
    let page = server.message_ext().sync(signed_by(8, 80, "token-8")(SyncRequest::default())).await.unwrap();
    assert!(page.into_inner().messages.is_empty());
}

#[tokio::test]
async fn internal_calls_want_the_shared_token_and_client_calls_do_not() {
    let change = |settings: &mut gim_logic::LogicSettings| settings.grpc.internal_token = "s3cret".into();
    let server = server_with(StubBusiness::start().await, change).await;
    let list = |token: Option<&'static str>| {
        let mut request = Request::new(ListOnlineRequest { user_ids: vec![7] });
        if let Some(token) = token {
            metadata::put(&mut request, metadata::INTERNAL_TOKEN, token);
        }
        let mut devices = server.device_int();
        async move { devices.list_online(request).await }
    };
    list(Some("s3cret")).await.unwrap();
    for token in [None, Some("S3cret"), Some("")] {
        assert_eq!(list(token).await.unwrap_err().code(), Code::PermissionDenied, "{token:?}");
    }
    server.message_ext().sync(signed_by(7, 70, "token-7")(SyncRequest::default())).await.unwrap();

    let mut beyond = server.settings.clone();
    beyond.grpc.internal_token.clear();
    beyond.grpc.listen = gim_config::listen::Endpoint::new("0.0.0.0:0");
    let problem = gim_config::Settings::validate(&beyond).unwrap_err();
    assert!(problem.contains("internal_token"), "{problem}");
}
