//! Becoming friends and writing to them, with what the other side is told.

use gim_proto::{
    ResultCode,
    business::{
        AddFriendPush, AgreeAddFriendPush, Friend, FriendAddRequest, FriendAgreeRequest, FriendSendMessageRequest,
        FriendSetRequest, UpdateUserRequest,
    },
    connect::MessageCommand,
    logic::{User, UserMessagePush},
};
use prost::Message as _;
use tonic::{Response, Status};

use crate::harness::{Phone, Server, code};

async fn named(server: &Server, phone_number: &str, nickname: &str) -> Phone {
    let phone = server.sign_in(phone_number).await;
    let update = UpdateUserRequest {
        nickname: nickname.into(),
        sex: 1,
        avatar_url: format!("http://{nickname}"),
        extra: "about".into(),
    };
    server.users().update_user(phone.ask(update)).await.unwrap();
    phone
}

async fn add(server: &Server, phone: &Phone, friend_id: u64) -> Result<Response<()>, Status> {
    let request = FriendAddRequest { friend_id, remarks: "remark".into(), description: "it is me".into() };
    server.friends().add(phone.ask(request)).await
}

async fn agree(server: &Server, phone: &Phone, user_id: u64) -> Result<Response<()>, Status> {
    server.friends().agree(phone.ask(FriendAgreeRequest { user_id, remarks: "agreed".into() })).await
}

async fn friends(server: &Server, phone: &Phone) -> Vec<Friend> {
    server.friends().get_friends(phone.ask(())).await.unwrap().into_inner().friends
}

async fn make_friends(server: &Server) -> (Phone, Phone) {
    let (alice, bob) = (named(server, "1", "alice").await, named(server, "2", "bob").await);
    add(server, &alice, bob.user_id).await.unwrap();
    agree(server, &bob, alice.user_id).await.unwrap();
    server.logic.take_pushed();
    (alice, bob)
}

#[tokio::test]
async fn a_request_is_told_to_the_other_side_and_an_agreement_to_the_asker() {
    let server = Server::start().await;
    let (alice, bob) = (named(&server, "1", "alice").await, named(&server, "2", "bob").await);
    add(&server, &alice, bob.user_id).await.unwrap();
    let (push, request_id) = server.logic.take_pushed().remove(0);
    assert_eq!((push.user_ids, push.command, push.is_persist), (vec![bob.user_id], 110, true));
    assert_eq!(request_id, "r-1");
    let told = AddFriendPush::decode(push.content).unwrap();
    assert_eq!((told.friend_id, told.nickname.as_str()), (alice.user_id, "alice"));
    assert_eq!((told.avatar_url.as_str(), told.description.as_str()), ("http://alice", "it is me"));

    assert!(friends(&server, &alice).await.is_empty() && friends(&server, &bob).await.is_empty());
    agree(&server, &bob, alice.user_id).await.unwrap();
    let (push, request_id) = server.logic.take_pushed().remove(0);
    assert_eq!((push.user_ids, push.command, push.is_persist), (vec![alice.user_id], 111, true));
    assert_eq!(request_id, "r-1");
    let told = AgreeAddFriendPush::decode(push.content).unwrap();
    assert_eq!((told.friend_id, told.nickname.as_str(), told.avatar_url.as_str()), (bob.user_id, "bob", "http://bob"));
}

#[tokio::test]
async fn friends_see_each_other_with_their_own_remarks() {
    let server = Server::start().await;
    let (alice, bob) = make_friends(&server).await;
    let expected = Friend {
        user_id: bob.user_id,
        phone_number: "2".into(),
        nickname: "bob".into(),
        sex: 1,
        avatar_url: "http://bob".into(),
        user_extra: "about".into(),
        remarks: "remark".into(),
        extra: String::new(),
    };
    assert_eq!(friends(&server, &alice).await.as_slice(), std::slice::from_ref(&expected));
    let request = FriendSetRequest { friend_id: bob.user_id, remarks: "bobby".into(), extra: "x".into() };
    let reply = server.friends().set(alice.ask(request)).await.unwrap().into_inner();
    assert_eq!((reply.friend_id, reply.remarks.as_str(), reply.extra.as_str()), (bob.user_id, "bobby", "x"));
    assert_eq!(friends(&server, &alice).await, [Friend { remarks: "bobby".into(), extra: "x".into(), ..expected }]);
    let seen_by_bob = friends(&server, &bob).await.remove(0);
    assert_eq!((seen_by_bob.user_id, seen_by_bob.remarks.as_str()), (alice.user_id, "agreed"));
    assert_eq!(seen_by_bob.extra, "");
}

#[tokio::test]
async fn only_who_was_asked_can_agree() {
    let server = Server::start().await;
    let [alice, bob, carol] = [server.sign_in("1").await, server.sign_in("2").await, server.sign_in("3").await];
    add(&server, &alice, bob.user_id).await.unwrap();
    server.logic.take_pushed();
    assert_eq!(code(agree(&server, &alice, bob.user_id).await), ResultCode::NotFriends);
    assert_eq!(code(agree(&server, &carol, alice.user_id).await), ResultCode::NotFriends);
    assert!(server.logic.take_pushed().is_empty());
    assert!(friends(&server, &alice).await.is_empty());
}

#[tokio::test]
async fn when_both_asked_it_still_takes_an_agreement() {
    let server = Server::start().await;
    let [alice, bob] = [server.sign_in("1").await, server.sign_in("2").await];
    add(&server, &alice, bob.user_id).await.unwrap();
    add(&server, &bob, alice.user_id).await.unwrap();
    assert!(friends(&server, &alice).await.is_empty());
    agree(&server, &alice, bob.user_id).await.unwrap();
    assert_eq!(friends(&server, &alice).await[0].remarks, "agreed");
    assert_eq!(friends(&server, &bob).await[0].remarks, "remark");
}

#[tokio::test]
async fn asking_again_renews_and_asking_a_friend_is_refused() {
    let server = Server::start().await;
    let [alice, bob] = [server.sign_in("1").await, server.sign_in("2").await];
    add(&server, &alice, bob.user_id).await.unwrap();
    add(&server, &alice, bob.user_id).await.unwrap();
    assert_eq!(server.logic.take_pushed().len(), 2);
    agree(&server, &bob, alice.user_id).await.unwrap();
    assert_eq!(code(add(&server, &alice, bob.user_id).await), ResultCode::AlreadyFriends);
    assert_eq!(code(add(&server, &bob, alice.user_id).await), ResultCode::AlreadyFriends);
}

#[tokio::test]
async fn an_unknown_user_cannot_be_asked() {
    let server = Server::start().await;
    let alice = server.sign_in("1").await;
    assert_eq!(code(add(&server, &alice, 999).await), ResultCode::UserNotFound);
    assert!(server.logic.take_pushed().is_empty());
}

#[tokio::test]
async fn a_message_reaches_the_friend_and_the_senders_other_devices_with_her_card() {
    let server = Server::start().await;
    let (alice, bob) = make_friends(&server).await;
    for (from, to) in [(&alice, &bob), (&bob, &alice)] {
        let request = FriendSendMessageRequest { user_id: to.user_id, content: "hello".into() };
        let reply = server.friends().send_message(from.ask(request)).await.unwrap().into_inner();
        assert_eq!(reply.message_id, 9_001);
        let (push, request_id) = server.logic.take_pushed().remove(0);
        assert_eq!(push.user_ids, [to.user_id, from.user_id]);
        assert_eq!((push.command, push.is_persist), (MessageCommand::McUserMessage as i32, true));
        assert_eq!(request_id, "r-1");
        let nickname = if from == &alice { "alice" } else { "bob" };
        let card = User {
            user_id: from.user_id,
            device_id: from.device_id,
            nickname: nickname.into(),
            avatar_url: format!("http://{nickname}"),
            extra: "about".into(),
        };
        let expected = UserMessagePush { from_user: Some(card), to_user_id: to.user_id, content: "hello".into() };
        assert_eq!(UserMessagePush::decode(push.content).unwrap(), expected);
    }
}

#[tokio::test]
async fn strangers_and_those_who_only_asked_cannot_write_or_note() {
    let server = Server::start().await;
    let [alice, bob] = [server.sign_in("1").await, server.sign_in("2").await];
    add(&server, &alice, bob.user_id).await.unwrap();
    server.logic.take_pushed();
    for (from, to) in [(&alice, &bob), (&bob, &alice)] {
        let request = FriendSendMessageRequest { user_id: to.user_id, content: "hello".into() };
        assert_eq!(code(server.friends().send_message(from.ask(request)).await), ResultCode::NotFriends);
        let request = FriendSetRequest { friend_id: to.user_id, ..FriendSetRequest::default() };
        assert_eq!(code(server.friends().set(from.ask(request)).await), ResultCode::NotFriends);
    }
    assert!(server.logic.take_pushed().is_empty());
}

#[tokio::test]
async fn a_call_whose_push_failed_can_be_repeated() {
    let mut server = Server::start().await;
    let [alice, bob] = [server.sign_in("1").await, server.sign_in("2").await];
    server.logic.refuse_with(Some(Status::unavailable("down")));
    assert_eq!(code(add(&server, &alice, bob.user_id).await), ResultCode::TryAgainLater);
    server.logic.refuse_with(None);
    add(&server, &alice, bob.user_id).await.unwrap();
    server.logic.refuse_with(Some(Status::unavailable("down")));
    assert_eq!(code(agree(&server, &bob, alice.user_id).await), ResultCode::TryAgainLater);
    server.logic.refuse_with(None);
    agree(&server, &bob, alice.user_id).await.unwrap();
    let commands: Vec<_> = server.logic.take_pushed().iter().map(|(push, _)| push.command).collect();
    assert_eq!(commands, [110, 111]);
    assert_eq!(friends(&server, &alice).await.len(), 1);

    server.stop_logic().await;
    let request = FriendSendMessageRequest { user_id: bob.user_id, content: "hello".into() };
    assert_eq!(code(server.friends().send_message(alice.ask(request)).await), ResultCode::TryAgainLater);
    assert_eq!(friends(&server, &bob).await.len(), 1, "what needs no logic goes on");
}

#[tokio::test]
async fn a_full_list_of_friends_takes_no_more() {
    let server = Server::start_with(|settings| settings.limits.friends_max = 1).await;
    let [alice, bob, carol] = [server.sign_in("1").await, server.sign_in("2").await, server.sign_in("3").await];
    add(&server, &alice, bob.user_id).await.unwrap();
    assert_eq!(code(add(&server, &alice, carol.user_id).await), ResultCode::NotAllowed);
    add(&server, &carol, alice.user_id).await.unwrap();
    assert_eq!(code(agree(&server, &alice, carol.user_id).await), ResultCode::NotAllowed);
    agree(&server, &bob, alice.user_id).await.unwrap();
}
