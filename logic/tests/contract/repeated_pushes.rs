//! Pushes of a service that did not get an answer and asks again under the same key.

use gim_proto::{
    ResultCode,
    connect::{SendRequest, send_request::Target},
    logic::{GroupKind, GroupPushRequest, PushToUsersRequest, User, UserMessagePush},
};
use prost::Message as _;
use tonic::Status;

use super::group::harness::signed;
use crate::support::{Server, refusal, server};

fn to_users(user_ids: &[u64], content: &[u8], key: &str) -> PushToUsersRequest {
    PushToUsersRequest {
        user_ids: user_ids.to_vec(),
        command: 5000,
        content: content.to_vec().into(),
        is_persist: true,
        client_msg_id: key.into(),
        filter_words: false,
    }
}

fn to_group(group_id: u64, content: &[u8], key: &str) -> GroupPushRequest {
    GroupPushRequest {
        group_id,
        command: 5000,
        content: content.to_vec().into(),
        is_persist: true,
        client_msg_id: key.into(),
        filter_words: false,
    }
}

async fn push(server: &Server, request: PushToUsersRequest) -> Result<u64, Status> {
    Ok(server.message_int().push_to_users(request).await?.into_inner().message_id)
}

async fn push_to_group(server: &Server, request: GroupPushRequest) -> Result<u64, Status> {
    Ok(server.group_int().push(request).await?.into_inner().message_id)
}

/// That a push is refused for its key, and in what it differs.
fn assert_differs<T: std::fmt::Debug>(result: Result<T, Status>, what: &str) {
    let (code, problem) = refusal(result);
    assert_eq!(code, ResultCode::BadRequest, "{problem}");
    let expected = format!("client_msg_id: was used for another message, whose {what} differs");
    assert!(problem.starts_with(&expected), "{problem}");
}

#[tokio::test]
async fn a_push_that_is_repeated_is_stored_once_and_never_for_another() {
    let server = server().await;
    // No UTF-8, and what a client's message might look like.
    let content = UserMessagePush { to_user_id: 5, ..UserMessagePush::default() }.encode_to_vec();
    let first = push(&server, to_users(&[7, 8], &content, "one")).await.unwrap();
    assert_eq!(push(&server, to_users(&[8, 7, 8], &content, "one")).await.unwrap(), first, "the same receivers");
    let other = push(&server, to_users(&[7, 8], &content, "two")).await.unwrap();
    let server = server.restart().await;
    assert_eq!(push(&server, to_users(&[7, 8], &content, "one")).await.unwrap(), first);
    assert_differs(push(&server, to_users(&[7], &content, "one")).await, "target");
    assert_differs(push(&server, to_users(&[7, 9], &content, "one")).await, "target");
    let different = UserMessagePush { to_user_id: 6, ..UserMessagePush::default() }.encode_to_vec();
    assert_differs(push(&server, to_users(&[7, 8], &different, "one")).await, "content");
    let command = PushToUsersRequest { command: 5001, ..to_users(&[7, 8], &content, "one") };
    assert_differs(push(&server, command).await, "command");
    let ids: Vec<u64> = server.inbox(7).await.iter().map(|message| message.message_id).collect();
    assert_eq!(ids, [first, other]);
    assert_eq!(server.inbox(9).await, []);
    // Without a key, each is a message of its own.
    assert_ne!(
        push(&server, to_users(&[9], b"x", "")).await.unwrap(),
        push(&server, to_users(&[9], b"x", "")).await.unwrap()
    );
    let (code, problem) = refusal(push(&server, to_users(&[9], b"x", &"k".repeat(65))).await);
    assert!(code == ResultCode::TooLarge && problem.starts_with("client_msg_id: "), "{problem}");
}

#[tokio::test]
async fn a_repeated_push_to_a_group_is_stored_once() {
    let server = server().await;
    for kind in [GroupKind::GkNormal, GroupKind::GkLarge] {
        let (group_id, elsewhere) = (server.make(kind, &[7, 8]).await, server.make(kind, &[7, 8]).await);
        let key = format!("to {kind:?}");
        let first = push_to_group(&server, to_group(group_id, b"hi", &key)).await.unwrap();
        assert_eq!(push_to_group(&server, to_group(group_id, b"hi", &key)).await.unwrap(), first);
        assert_differs(push_to_group(&server, to_group(group_id, b"ho", &key)).await, "content");
        assert_differs(push_to_group(&server, to_group(elsewhere, b"hi", &key)).await, "target");
        assert_differs(push(&server, to_users(&[7], b"hi", &key)).await, "target");
    }
}

#[tokio::test]
async fn a_key_of_a_service_is_not_one_of_the_user_for_whom_it_speaks() {
    let server = server().await;
    let send = SendRequest {
        target: Some(Target::UserId(8)),
        content: b"hi"[..].into(),
        client_msg_id: "one".into(),
        ..SendRequest::default()
    };
    let sent = server.message_ext().send(signed(7, send)).await.unwrap().into_inner();
    let from_user = Some(User { user_id: 7, ..User::default() });
    let said = UserMessagePush { from_user, to_user_id: 8, content: b"ho"[..].into() }.encode_to_vec();
    let request = PushToUsersRequest { command: 1, ..to_users(&[7, 8], &said, "one") };
    let pushed = push(&server, request.clone()).await.unwrap();
    assert_ne!(pushed, sent.message_id);
    assert_eq!(push(&server, request).await.unwrap(), pushed);
    assert_eq!(server.inbox(8).await.len(), 2);
}
