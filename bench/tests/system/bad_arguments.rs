//! gRPC calls with missing or malformed fields: INVALID_ARGUMENT with the field's name, on each service.

use gim_proto::{
    ResultCode,
    business::{
        AuthRequest, FriendAddRequest, SignInRequest, friend_ext_service_client::FriendExtServiceClient,
        user_ext_service_client::UserExtServiceClient, user_int_service_client::UserIntServiceClient,
    },
    connect::{
        DeviceMessage, PushToDevicesRequest, SendRequest, connect_int_service_client::ConnectIntServiceClient,
        send_request::Target,
    },
    logic::{
        Device, DeviceSaveRequest, PushRoomRequest, PushToUsersRequest, SyncRequest,
        device_int_service_client::DeviceIntServiceClient, message_ext_service_client::MessageExtServiceClient,
        message_int_service_client::MessageIntServiceClient, room_int_service_client::RoomIntServiceClient,
    },
    metadata,
};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::server::Server;

#[track_caller]
fn assert_names<T: std::fmt::Debug>(field: &str, answer: Result<T, Status>) {
    let status = answer.expect_err("a malformed request is refused");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().starts_with(&format!("{field}: ")), "{:?} does not name {field}", status.message());
    let violations = status.get_details_bad_request().expect("a BadRequest among the details").field_violations;
    assert_eq!(violations[0].field, field);
    assert!([ResultCode::BadRequest, ResultCode::TooLarge].contains(&ResultCode::of_status(&status)));
}

#[test]
fn logic_names_the_field_that_is_wrong() {
    let server = Server::start();
    let mut messages = MessageIntServiceClient::new(server.logic());
    let request = PushToUsersRequest { command: 2001, ..PushToUsersRequest::default() };
    let push = |user_ids: &[u64]| PushToUsersRequest { user_ids: user_ids.to_vec(), ..request.clone() };
    assert_names("user_ids", server.call(messages.push_to_users(push(&[]))));
    assert_names("user_ids", server.call(messages.push_to_users(push(&[1, 0]))));
    assert_names("user_ids", server.call(messages.push_to_users(push(&[u64::MAX]))));
    let long = PushToUsersRequest { content: vec![0; 1 << 20].into(), ..push(&[1]) };
    assert_names("content", server.call(messages.push_to_users(long)));
    assert_names("command", server.call(messages.push_to_users(PushToUsersRequest { command: 0, ..push(&[1]) })));

    let mut rooms = RoomIntServiceClient::new(server.logic());
    assert_names("room_id", server.call(rooms.push_room(PushRoomRequest { command: 2001, ..Default::default() })));
    let mut devices = DeviceIntServiceClient::new(server.logic());
    assert_names("device", server.call(devices.save(DeviceSaveRequest::default())));
    let brand = Device { brand: "x".repeat(100_000), ..Device::default() };
    let answer = server.call(devices.save(DeviceSaveRequest { device: Some(brand), user_id: 0 }));
    assert_names("device.brand", answer);
}

#[test]
fn logic_names_the_metadata_that_is_wrong() {
    let server = Server::start();
    let identity = server.business_sign_in("13800000006");
    let mut client = MessageExtServiceClient::new(server.logic());
    assert_names("user_id", server.call(client.sync(SyncRequest::default())));
    let mut request = Request::new(SyncRequest::default());
    metadata::put(&mut request, metadata::USER_ID, "twelve");
    metadata::put(&mut request, metadata::DEVICE_ID, "34");
    metadata::put(&mut request, metadata::TOKEN, "token");
    assert_names("user_id", server.call(client.sync(request)));
    let mut request = Request::new(SyncRequest::default());
    metadata::put(&mut request, metadata::USER_ID, "12");
    assert_names("device_id", server.call(client.sync(request)));

    let signed = |message| metadata::signed(message, identity.user_id, identity.device_id, &identity.token);
    let send = SendRequest { client_msg_id: "1".into(), content: "x".into(), ..SendRequest::default() };
    assert_names("target", server.call(client.send(signed(send.clone()))));
    let send = SendRequest { target: Some(Target::UserId(0)), ..send };
    assert_names("user_id", server.call(client.send(signed(send.clone()))));
    let send = SendRequest { target: Some(Target::UserId(1)), client_msg_id: "x".repeat(65), ..send };
    assert_names("client_msg_id", server.call(client.send(signed(send))));
}

#[test]
fn business_names_the_field_that_is_wrong() {
    let server = Server::start();
    let identity = server.business_sign_in("13800000007");
    let mut users = UserExtServiceClient::new(server.business());
    assert_names("phone_number", server.call(users.sign_in(SignInRequest::default())));
    let request = SignInRequest { phone_number: "13800000008".into(), ..SignInRequest::default() };
    assert_names("code", server.call(users.sign_in(request.clone())));
    assert_names("device", server.call(users.sign_in(SignInRequest { code: "123456".into(), ..request })));
    let mut internal = UserIntServiceClient::new(server.business());
    assert_names("user_id", server.call(internal.auth(AuthRequest::default())));
    let mut friends = FriendExtServiceClient::new(server.business());
    let request = metadata::signed(FriendAddRequest::default(), identity.user_id, identity.device_id, &identity.token);
    assert_names("friend_id", server.call(friends.add(request)));
    assert_names("user_id", server.call(friends.get_friends(())));
}

#[test]
fn conn_names_the_field_that_is_wrong() {
    let server = Server::start();
    let mut client = ConnectIntServiceClient::new(server.conn());
    let push = |message: DeviceMessage| PushToDevicesRequest { device_messages: vec![message], app_id: 0 };
    let without_id = DeviceMessage { device_id: 0, message: Some(Default::default()) };
    assert_names("device_messages[0].device_id", server.call(client.push_to_devices(push(without_id))));
    let without_message = DeviceMessage { device_id: 1, message: None };
    assert_names("device_messages[0].message", server.call(client.push_to_devices(push(without_message))));
}
