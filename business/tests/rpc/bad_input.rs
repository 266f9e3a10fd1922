//! Every field that can be missing, malformed or too long is refused by its name, and nothing is stored or sent.

use gim_proto::{
    ResultCode,
    business::{
        AuthRequest, ContactRules, FriendAddRequest, FriendAgreeRequest, FriendBlockRequest, FriendRemoveRequest,
        FriendSendMessageRequest, FriendSetRequest, GetBlockersRequest, GetUserRequest, GetUsersRequest, MayAddRequest,
        MayWriteRequest, RevokeTokensRequest, SearchUserRequest, SignInRequest, SignOutRequest, UpdateUserRequest,
    },
    logic::Device,
    metadata,
};
use tonic::{Request, metadata::MetadataValue};

use super::harness::{Phone, Server, assert_names, code, sign_in_request};

const BAD_IDS: [u64; 3] = [0, (1 << 63), u64::MAX];

fn send(user_id: u64, content: impl Into<bytes::Bytes>) -> FriendSendMessageRequest {
    FriendSendMessageRequest { user_id, content: content.into(), ..Default::default() }
}

#[tokio::test]
async fn sign_in_names_its_fields() {
    let server = Server::start().await;
    let device = |device: Device| Some(device);
    let long = "x".repeat(4097);
    let good = sign_in_request("1");
    let cases = [
        ("phone_number", SignInRequest { phone_number: String::new(), ..good.clone() }),
        ("phone_number", SignInRequest { phone_number: "1".repeat(33), ..good.clone() }),
        ("phone_number", SignInRequest { phone_number: "1 2".into(), ..good.clone() }),
        ("phone_number", SignInRequest { phone_number: "１".into(), ..good.clone() }),
        ("code", SignInRequest { code: String::new(), ..good.clone() }),
        ("code", SignInRequest { code: "1".repeat(65), ..good.clone() }),
        ("device", SignInRequest { device: None, ..good.clone() }),
        ("device.id", SignInRequest { device: device(Device { id: 1 << 63, ..Device::default() }), ..good.clone() }),
        ("device.id", SignInRequest { device: device(Device { id: u64::MAX, ..Device::default() }), ..good.clone() }),
        (
            "device.brand",
            SignInRequest { device: device(Device { brand: long.clone(), ..Device::default() }), ..good.clone() },
        ),
        (
            "device.model",
            SignInRequest { device: device(Device { model: long.clone(), ..Device::default() }), ..good.clone() },
        ),
        (
            "device.system_version",
            SignInRequest {
                device: device(Device { system_version: long.clone(), ..Device::default() }),
                ..good.clone()
            },
        ),
        (
            "device.sdk_version",
            SignInRequest { device: device(Device { sdk_version: long.clone(), ..Device::default() }), ..good.clone() },
        ),
        (
            "device.branch_push_id",
            SignInRequest { device: device(Device { branch_push_id: long, ..Device::default() }), ..good.clone() },
        ),
    ];
    for (field, request) in cases {
        assert_names(field, server.users().sign_in(request).await);
    }
    assert!(server.logic.saved().is_empty());
    assert!(server.sign_in("1").await.is_new);
}

#[tokio::test]
async fn every_call_of_a_client_names_the_metadata_it_misses() {
    let server = Server::start_with(|settings| settings.limits.token_bytes_max = 4_096).await;
    let phone = server.sign_in("1").await;
    let long_token = "t".repeat(4_097);
    let with = |name: &'static str, value: Option<&str>| {
        let mut request = phone.ask(());
        request.metadata_mut().remove(name);
        if let Some(value) = value {
            metadata::put(&mut request, name, value);
        }
        request
    };
    let cases = [
        ("user_id", None),
        ("user_id", Some("")),
        ("user_id", Some("me")),
        ("user_id", Some("-1")),
        ("user_id", Some("0")),
        ("user_id", Some("9223372036854775808")),
        ("user_id", Some("99999999999999999999")),
        ("device_id", None),
        ("device_id", Some("1.0")),
        ("device_id", Some("0")),
        ("token", None),
        ("token", Some("")),
        ("token", Some(long_token.as_str())),
    ];
    for (name, value) in cases {
        assert_names(name, server.friends().get_friends(with(name, value)).await);
    }
    let mut request = with("token", None);
    request.metadata_mut().insert("token", MetadataValue::try_from(&b"t\xff"[..]).unwrap());
    assert_names("token", server.friends().get_friends(request).await);
}

#[tokio::test]
async fn no_call_of_a_client_works_without_a_token() {
    let server = Server::start().await;
    let (mut users, mut friends) = (server.users(), server.friends());
    assert_names("user_id", users.get_user(GetUserRequest { user_id: 1 }).await);
    assert_names("user_id", users.update_user(UpdateUserRequest::default()).await);
    assert_names("user_id", users.search_user(SearchUserRequest { key: "x".into(), ..Default::default() }).await);
    assert_names("user_id", friends.add(FriendAddRequest { friend_id: 1, ..Default::default() }).await);
    assert_names("user_id", friends.agree(FriendAgreeRequest { user_id: 1, ..Default::default() }).await);
    assert_names("user_id", friends.set(FriendSetRequest { friend_id: 1, ..Default::default() }).await);
    assert_names("user_id", friends.get_friends(()).await);
    assert_names("user_id", friends.send_message(send(1, "x")).await);
    assert_names("user_id", friends.remove(FriendRemoveRequest { friend_id: 1 }).await);
    assert_names("user_id", friends.get_requests(()).await);
    assert_names("user_id", friends.block(FriendBlockRequest { user_id: 1 }).await);
    assert_names("user_id", friends.unblock(FriendBlockRequest { user_id: 1 }).await);
    assert_names("user_id", friends.get_blocked(()).await);
    assert_names("user_id", friends.set_contact_rules(ContactRules::default()).await);
    assert_names("user_id", friends.get_contact_rules(()).await);
    assert_names("user_id", users.sign_out(SignOutRequest::default()).await);

    let phone = server.sign_in("1").await;
    assert_names("added_by", friends.set_contact_rules(phone.ask(ContactRules { added_by: 4 })).await);
    let thief = Phone { token: "wrong".into(), ..server.sign_in("1").await };
    let update = thief.ask(UpdateUserRequest { nickname: "thief".into(), ..Default::default() });
    assert_eq!(code(users.update_user(update).await), ResultCode::SignInAgain);
    let search = thief.ask(SearchUserRequest { key: "1".into(), ..Default::default() });
    assert_eq!(code(users.search_user(search).await), ResultCode::SignInAgain);
}

#[tokio::test]
async fn trusted_calls_name_their_fields() {
    let server = Server::start().await;
    let mut client = server.internal();
    let good = AuthRequest { user_id: 1, device_id: 1, token: "t".into() };
    for bad in BAD_IDS {
        assert_names("user_id", client.auth(AuthRequest { user_id: bad, ..good.clone() }).await);
        assert_names("device_id", client.auth(AuthRequest { device_id: bad, ..good.clone() }).await);
        assert_names("user_id", client.get_user(GetUserRequest { user_id: bad }).await);
        assert_names("user_ids", client.get_users(GetUsersRequest { user_ids: [(bad, 0)].into() }).await);
        assert_names("user_id", client.revoke_tokens(RevokeTokensRequest { user_id: bad, device_id: 1 }).await);
        let may_write = |from_user_id, to_user_id| MayWriteRequest { from_user_id, to_user_id };
        assert_names("from_user_id", client.may_write(may_write(bad, 1)).await);
        assert_names("to_user_id", client.may_write(may_write(1, bad)).await);
        let may_add = |from_user_id, user_id| MayAddRequest { from_user_id, user_ids: vec![user_id], group_id: 0 };
        assert_names("from_user_id", client.may_add(may_add(bad, 1)).await);
        assert_names("user_ids", client.may_add(may_add(1, bad)).await);
        let blockers = |user_id, other_id| GetBlockersRequest { user_id, among_user_ids: vec![other_id] };
        assert_names("user_id", client.get_blockers(blockers(bad, 1)).await);
        assert_names("among_user_ids", client.get_blockers(blockers(1, bad)).await);
        if bad != 0 {
            assert_names("group_id", client.may_add(MayAddRequest { group_id: bad, ..may_add(1, 2) }).await);
            assert_names("device_id", client.revoke_tokens(RevokeTokensRequest { user_id: 1, device_id: bad }).await);
        }
    }
    assert_names("token", client.auth(AuthRequest { token: String::new(), ..good.clone() }).await);
    assert_names("token", client.auth(AuthRequest { token: "t".repeat(12 * 1024 + 1), ..good }).await);
    assert_names("user_ids", client.get_users(GetUsersRequest::default()).await);
    let user_ids = (1..=1_001).map(|id| (id, 0)).collect();
    assert_names("user_ids", client.get_users(GetUsersRequest { user_ids }).await);
}

#[tokio::test]
async fn calls_about_users_name_their_fields() {
    let server = Server::start().await;
    let phone = server.sign_in("1").await;
    let mut client = server.users();
    for bad in BAD_IDS {
        assert_names("user_id", client.get_user(phone.ask(GetUserRequest { user_id: bad })).await);
    }
    let cases = [
        ("nickname", UpdateUserRequest { nickname: "x".repeat(129), ..Default::default() }),
        ("avatar_url", UpdateUserRequest { avatar_url: "x".repeat(513), ..Default::default() }),
        ("extra", UpdateUserRequest { extra: "x".repeat(1_025), ..Default::default() }),
    ];
    for (field, request) in cases {
        assert_eq!(code(client.update_user(phone.ask(request.clone())).await), ResultCode::TooLarge);
        assert_names(field, client.update_user(phone.ask(request)).await);
    }
    assert_names("key", client.search_user(phone.ask(SearchUserRequest::default())).await);
    assert_names(
        "key",
        client.search_user(phone.ask(SearchUserRequest { key: "x".repeat(129), ..Default::default() })).await,
    );
    for from in [1 << 63, u64::MAX] {
        let search = SearchUserRequest { key: "x".into(), from, limit: 0 };
        assert_names("from", client.search_user(phone.ask(search)).await);
    }
}

#[tokio::test]
async fn calls_about_friends_name_their_fields() {
    let server = Server::start().await;
    let phone = server.sign_in("1").await;
    let friend_id = server.sign_in("2").await.user_id;
    let mut client = server.friends();
    for bad in BAD_IDS.into_iter().chain([phone.user_id]) {
        let add = FriendAddRequest { friend_id: bad, ..Default::default() };
        assert_names("friend_id", client.add(phone.ask(add)).await);
        let agree = FriendAgreeRequest { user_id: bad, ..Default::default() };
        assert_names("user_id", client.agree(phone.ask(agree)).await);
        let set = FriendSetRequest { friend_id: bad, ..Default::default() };
        assert_names("friend_id", client.set(phone.ask(set)).await);
        assert_names("user_id", client.send_message(phone.ask(send(bad, "x"))).await);
        assert_names("friend_id", client.remove(phone.ask(FriendRemoveRequest { friend_id: bad })).await);
        assert_names("user_id", client.block(phone.ask(FriendBlockRequest { user_id: bad })).await);
        assert_names("user_id", client.unblock(phone.ask(FriendBlockRequest { user_id: bad })).await);
    }
    let long = "x".repeat(129);
    let add = FriendAddRequest { friend_id, remarks: long.clone(), ..Default::default() };
    assert_names("remarks", client.add(phone.ask(add)).await);
    let add = FriendAddRequest { friend_id, description: "x".repeat(513), ..Default::default() };
    assert_names("description", client.add(phone.ask(add)).await);
    let agree = FriendAgreeRequest { user_id: friend_id, remarks: long.clone() };
    assert_names("remarks", client.agree(phone.ask(agree)).await);
    let set = FriendSetRequest { friend_id, remarks: long, ..Default::default() };
    assert_names("remarks", client.set(phone.ask(set)).await);
    let set = FriendSetRequest { friend_id, extra: "x".repeat(1_025), ..Default::default() };
    assert_names("extra", client.set(phone.ask(set)).await);
    for content in [Vec::new(), vec![0; 56 * 1_024 + 1]] {
        assert_names("content", client.send_message(phone.ask(send(friend_id, content))).await);
    }
    let keyed = FriendSendMessageRequest { client_msg_id: "x".repeat(65), ..send(friend_id, "x") };
    assert_names("client_msg_id", client.send_message(phone.ask(keyed)).await);
    assert!(server.logic.take_pushed().is_empty() && server.logic.take_sent().is_empty());
}

#[tokio::test]
async fn texts_at_their_limits_are_taken() {
    let server = Server::start().await;
    let phone = server.sign_in(&"1".repeat(32)).await;
    let update =
        UpdateUserRequest { nickname: "x".repeat(128), sex: -1, avatar_url: "x".repeat(512), extra: "x".repeat(1_024) };
    server.users().update_user(phone.ask(update)).await.unwrap();
    let mut request = Request::new(GetUserRequest { user_id: i64::MAX as u64 });
    metadata::put(&mut request, metadata::REQUEST_ID, &"r".repeat(4_000));
    assert_eq!(code(server.internal().get_user(request).await), ResultCode::UserNotFound);
}
