//! Becoming friends and writing to them, with what the other side is told.

use gim_business::AddedBy;
use gim_proto::{
    ResultCode,
    business::{
        AddFriendPush, AddedBy as AddedByNumber, AgreeAddFriendPush, ContactRules, Friend, FriendAddRequest,
        FriendAgreeRequest, FriendBlockRequest, FriendRemoveRequest, FriendSendMessageReply, FriendSendMessageRequest,
        FriendSetRequest, GetBlockersRequest, ListFriendRequestsReply, ListUsersRequest, MayAddRequest,
        MayWriteRequest, UpdateUserRequest,
    },
    connect::MessageCommand,
};
use prost::Message as _;
use tonic::{Response, Status};

use super::harness::{Phone, Server, assert_names, code};

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

fn send_request(user_id: u64) -> FriendSendMessageRequest {
    FriendSendMessageRequest { user_id, content: "hello".into(), ..Default::default() }
}

async fn send(server: &Server, phone: &Phone, user_id: u64) -> Result<Response<FriendSendMessageReply>, Status> {
    server.friends().send_message(phone.ask(send_request(user_id))).await
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
async fn asking_again_renews_silently_and_asking_a_friend_is_refused() {
    let server = Server::start().await;
    let [alice, bob] = [server.sign_in("1").await, server.sign_in("2").await];
    for _ in 0..3 {
        add(&server, &alice, bob.user_id).await.unwrap();
    }
    assert_eq!(server.logic.take_pushed().len(), 1, "who is asked is told once");
    server.friends().remove(alice.ask(FriendRemoveRequest { friend_id: bob.user_id })).await.unwrap();
    add(&server, &alice, bob.user_id).await.unwrap();
    for _ in 0..3 {
        agree(&server, &bob, alice.user_id).await.unwrap();
    }
    let commands: Vec<_> = server.logic.take_pushed().iter().map(|(push, _)| push.command).collect();
    assert_eq!(commands, [111], "and so is who asked");
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
async fn a_message_goes_to_logic_in_the_senders_name() {
    let server = Server::start().await;
    let (alice, bob) = make_friends(&server).await;
    for (from, to) in [(&alice, &bob), (&bob, &alice)] {
        let reply = send(&server, from, to.user_id).await.unwrap().into_inner();
        assert_eq!(reply.message_id, 9_001);
        let (sent, request_id) = server.logic.take_sent().remove(0);
        assert_eq!((sent.user_id, sent.device_id, sent.to_user_id), (from.user_id, from.device_id, to.user_id));
        assert_eq!((sent.command, &sent.content[..]), (MessageCommand::McUserMessage as i32, &b"hello"[..]));
        assert_eq!(request_id, "r-1");
    }
}

#[tokio::test]
async fn a_message_is_repeated_under_its_own_key_and_has_one_in_any_case() {
    let server = Server::start().await;
    let (alice, bob) = make_friends(&server).await;
    for key in ["", "", "mine", "mine"] {
        let request = FriendSendMessageRequest { client_msg_id: key.into(), ..send_request(bob.user_id) };
        server.friends().send_message(alice.ask(request)).await.unwrap();
    }
    let keys: Vec<String> = server.logic.take_sent().into_iter().map(|(sent, _)| sent.client_msg_id).collect();
    assert_eq!(keys[2..], ["mine", "mine"]);
    assert!(!keys[0].is_empty() && !keys[1].is_empty() && keys[0] != keys[1]);
}

#[tokio::test]
async fn strangers_and_those_who_only_asked_cannot_write_or_note() {
    let server = Server::start().await;
    let [alice, bob] = [server.sign_in("1").await, server.sign_in("2").await];
    add(&server, &alice, bob.user_id).await.unwrap();
    server.logic.take_pushed();
    for (from, to) in [(&alice, &bob), (&bob, &alice)] {
        assert_eq!(code(send(&server, from, to.user_id).await), ResultCode::NotFriends);
        let request = FriendSetRequest { friend_id: to.user_id, ..FriendSetRequest::default() };
        assert_eq!(code(server.friends().set(from.ask(request)).await), ResultCode::NotFriends);
    }
    assert!(server.logic.take_sent().is_empty());
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
    assert_eq!(code(send(&server, &alice, bob.user_id).await), ResultCode::TryAgainLater);
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

#[tokio::test]
async fn blocked_friends_cannot_write_until_they_are_unblocked() {
    let server = Server::start().await;
    let (alice, bob) = make_friends(&server).await;
    server.logic.take_forgotten();
    let block = FriendBlockRequest { user_id: bob.user_id };
    for _ in 0..2 {
        server.friends().block(alice.ask(block)).await.unwrap();
    }
    assert_eq!(server.logic.take_forgotten(), [(alice.user_id, bob.user_id); 2]);
    assert_eq!(code(send(&server, &bob, alice.user_id).await), ResultCode::NotAllowed);
    assert!(server.logic.take_sent().is_empty());
    send(&server, &alice, bob.user_id).await.unwrap();
    assert_eq!(friends(&server, &alice).await.len(), 1, "the friendship stays");
    let blocked = server.friends().get_blocked(alice.ask(())).await.unwrap().into_inner().users;
    assert_eq!(blocked.iter().map(|user| user.user_id).collect::<Vec<_>>(), [bob.user_id]);
    assert!(server.friends().get_blocked(bob.ask(())).await.unwrap().into_inner().users.is_empty());

    server.friends().unblock(alice.ask(block)).await.unwrap();
    assert_eq!(server.logic.take_forgotten(), [(alice.user_id, bob.user_id)]);
    send(&server, &bob, alice.user_id).await.unwrap();
}

#[tokio::test]
async fn who_is_blocked_cannot_ask_to_be_a_friend() {
    let server = Server::start_with(|settings| settings.limits.blocked_max = 1).await;
    let [alice, bob, carol] = [server.sign_in("1").await, server.sign_in("2").await, server.sign_in("3").await];
    server.friends().block(alice.ask(FriendBlockRequest { user_id: bob.user_id })).await.unwrap();
    assert_eq!(code(add(&server, &bob, alice.user_id).await), ResultCode::NotAllowed);
    assert!(server.logic.take_pushed().is_empty());
    add(&server, &alice, bob.user_id).await.unwrap();
    let request = alice.ask(FriendBlockRequest { user_id: carol.user_id });
    assert_eq!(code(server.friends().block(request).await), ResultCode::NotAllowed, "the list is full");
    add(&server, &carol, alice.user_id).await.unwrap();
    let request = alice.ask(FriendBlockRequest { user_id: 999 });
    assert_eq!(code(server.friends().block(request).await), ResultCode::UserNotFound);
}

#[tokio::test]
async fn who_is_blocked_cannot_agree_either() {
    let server = Server::start().await;
    let (alice, bob) = make_friends(&server).await;
    let carol = server.sign_in("3").await;
    add(&server, &alice, carol.user_id).await.unwrap();
    server.logic.take_pushed();
    for blocked in [&bob, &carol] {
        server.friends().block(alice.ask(FriendBlockRequest { user_id: blocked.user_id })).await.unwrap();
        assert_eq!(code(agree(&server, blocked, alice.user_id).await), ResultCode::NotAllowed);
    }
    assert!(server.logic.take_pushed().is_empty());
}

#[tokio::test]
async fn nobody_asks_more_users_in_a_day_than_a_list_of_friends_holds() {
    let server = Server::start_with(|settings| settings.limits.friends_max = 1).await;
    let [alice, bob, carol] = [server.sign_in("1").await, server.sign_in("2").await, server.sign_in("3").await];
    add(&server, &alice, bob.user_id).await.unwrap();
    server.friends().remove(alice.ask(FriendRemoveRequest { friend_id: bob.user_id })).await.unwrap();
    assert_eq!(code(add(&server, &alice, carol.user_id).await), ResultCode::TooManyRequests);
    add(&server, &alice, bob.user_id).await.unwrap();
    assert_eq!(server.logic.take_pushed().len(), 1);
}

#[tokio::test]
async fn who_blocked_a_user_is_told_to_services() {
    let server = Server::start().await;
    let [alice, bob, carol] = [server.sign_in("1").await, server.sign_in("2").await, server.sign_in("3").await];
    let among = vec![alice.user_id, bob.user_id, 999];
    let blockers = async |of: &Phone| {
        let request = GetBlockersRequest { user_id: of.user_id, among_user_ids: among.clone() };
        server.internal().get_blockers(request).await.unwrap().into_inner().user_ids
    };
    for phone in [&alice, &carol] {
        server.friends().block(phone.ask(FriendBlockRequest { user_id: bob.user_id })).await.unwrap();
    }
    assert_eq!(blockers(&bob).await, [alice.user_id], "carol is none of those asked about");
    assert!(blockers(&alice).await.is_empty());
}

async fn not_added(server: &Server, from: &Phone, user_ids: &[u64]) -> Vec<(u64, i32)> {
    let request = MayAddRequest { from_user_id: from.user_id, user_ids: user_ids.to_vec(), group_id: 0 };
    let refused = server.internal().may_add(request).await.unwrap().into_inner().refused;
    let mut codes: Vec<_> = refused.into_iter().map(|(user_id, reply)| (user_id, reply.code)).collect();
    codes.sort_unstable();
    codes
}

#[tokio::test]
async fn who_puts_a_user_into_groups_is_what_she_says_and_else_the_settings() {
    for (usual, of_carol) in
        [(AddedBy::Everybody, None), (AddedBy::Friends, Some(10210)), (AddedBy::Nobody, Some(10006))]
    {
        let server = Server::start_with(|settings| settings.friends.added_by = usual).await;
        let (alice, bob) = make_friends(&server).await;
        let carol = server.sign_in("3").await;
        let everybody = [alice.user_id, bob.user_id, carol.user_id, 999];
        let rule = async |phone: &Phone, added_by: AddedByNumber| {
            let rules = ContactRules { added_by: added_by.into() };
            server.friends().set_contact_rules(phone.ask(rules)).await.unwrap();
            assert_eq!(server.friends().get_contact_rules(phone.ask(())).await.unwrap().into_inner(), rules);
        };
        rule(&bob, AddedByNumber::AbFriends).await;
        let carols = of_carol.map(|code| (carol.user_id, code));
        let expected = |own: &[(u64, i32)]| own.iter().copied().chain(carols).chain([(999, 10301)]).collect::<Vec<_>>();
        assert_eq!(not_added(&server, &alice, &everybody).await, expected(&[]));
        rule(&bob, AddedByNumber::AbNobody).await;
        assert_eq!(not_added(&server, &alice, &everybody).await, expected(&[(bob.user_id, 10006)]));
        rule(&bob, AddedByNumber::AbEverybody).await;
        server.friends().block(bob.ask(FriendBlockRequest { user_id: alice.user_id })).await.unwrap();
        assert_eq!(not_added(&server, &alice, &everybody).await, expected(&[(bob.user_id, 10006)]));
        assert!(not_added(&server, &carol, &[bob.user_id]).await.is_empty());
        rule(&bob, AddedByNumber::AbDefault).await;
    }
}

#[tokio::test]
async fn where_only_friends_write_only_friends_add() {
    let server = Server::start_with(|settings| settings.friends.only_friends_write = true).await;
    let (alice, bob) = make_friends(&server).await;
    let carol = server.sign_in("3").await;
    assert_eq!(not_added(&server, &alice, &[bob.user_id, carol.user_id]).await, [(carol.user_id, 10210)]);
}

#[tokio::test]
async fn open_requests_are_listed_until_they_are_answered_or_turned_down() {
    let server = Server::start().await;
    let (alice, bob) = (named(&server, "1", "alice").await, named(&server, "2", "bob").await);
    let carol = server.sign_in("3").await;
    add(&server, &alice, carol.user_id).await.unwrap();
    add(&server, &bob, carol.user_id).await.unwrap();
    let requests = || async { server.friends().get_requests(carol.ask(())).await.unwrap().into_inner().requests };
    let open = requests().await;
    assert_eq!(open.len(), 2);
    let of_alice = open.iter().find(|request| request.user_id == alice.user_id).unwrap();
    assert_eq!((of_alice.nickname.as_str(), of_alice.description.as_str()), ("alice", "it is me"));
    assert!((1_600_000_000..10_000_000_000).contains(&of_alice.create_time), "seconds");

    agree(&server, &carol, alice.user_id).await.unwrap();
    let remove = FriendRemoveRequest { friend_id: bob.user_id };
    server.friends().remove(carol.ask(remove)).await.unwrap();
    assert!(requests().await.is_empty());
    assert_eq!(code(agree(&server, &carol, bob.user_id).await), ResultCode::NotFriends);
    assert_eq!(code(server.friends().remove(carol.ask(remove)).await), ResultCode::NotFriends);
}

#[tokio::test]
async fn lists_of_users_come_by_pages_in_the_order_of_their_ids() {
    let server = Server::start().await;
    let me = server.sign_in("0").await;
    let mut others = Vec::new();
    for number in 1..=5 {
        let other = named(&server, &number.to_string(), "other").await;
        add(&server, &other, me.user_id).await.unwrap();
        others.push(other);
    }
    let ids: Vec<u64> = others.iter().map(|other| other.user_id).collect();
    let page = |after_user_id| me.ask(ListUsersRequest { after_user_id, limit: 2 });
    let requests = async |after| server.friends().list_requests(page(after)).await.unwrap().into_inner();
    let of_requests = |page: ListFriendRequestsReply| {
        (page.requests.iter().map(|request| request.user_id).collect::<Vec<_>>(), page.has_more)
    };
    assert_eq!(of_requests(requests(0).await), (ids[..2].to_vec(), true));
    assert_eq!(of_requests(requests(ids[1]).await), (ids[2..4].to_vec(), true));
    assert_eq!(of_requests(requests(ids[3]).await), (ids[4..].to_vec(), false));
    for &user_id in &ids {
        server.friends().block(me.ask(FriendBlockRequest { user_id })).await.unwrap();
    }
    assert_eq!(of_requests(requests(0).await), (vec![], false), "nobody hears of those who are blocked");
    let blocked = server.friends().list_blocked(page(ids[2])).await.unwrap().into_inner();
    assert_eq!(blocked.users.iter().map(|user| user.user_id).collect::<Vec<_>>(), ids[3..]);
    assert!(!blocked.has_more);
    for other in &others {
        server.friends().unblock(me.ask(FriendBlockRequest { user_id: other.user_id })).await.unwrap();
        agree(&server, &me, other.user_id).await.unwrap();
    }
    let (mut listed, mut after_user_id) = (Vec::new(), 0);
    loop {
        let page = server.friends().list_friends(page(after_user_id)).await.unwrap().into_inner();
        listed.extend(page.friends);
        after_user_id = listed.last().unwrap().user_id;
        if !page.has_more {
            break;
        }
    }
    assert_eq!(listed, friends(&server, &me).await);
    assert_eq!(requests(0).await, ListFriendRequestsReply::default());
    assert_names("after_user_id", server.friends().list_friends(page(u64::MAX)).await);
}

#[tokio::test]
async fn a_friendship_that_is_ended_is_ended_for_both() {
    let server = Server::start().await;
    let (alice, bob) = make_friends(&server).await;
    server.friends().remove(bob.ask(FriendRemoveRequest { friend_id: alice.user_id })).await.unwrap();
    assert!(friends(&server, &alice).await.is_empty() && friends(&server, &bob).await.is_empty());
    assert_eq!(code(send(&server, &alice, bob.user_id).await), ResultCode::NotFriends);
    add(&server, &alice, bob.user_id).await.unwrap();
}

async fn may_write(server: &Server, from: &Phone, to_user_id: u64) -> i32 {
    let request = MayWriteRequest { from_user_id: from.user_id, to_user_id };
    server.internal().may_write(request).await.unwrap().into_inner().code
}

#[tokio::test]
async fn logic_learns_who_may_write_to_whom() {
    let server = Server::start().await;
    let (alice, bob) = make_friends(&server).await;
    let carol = server.sign_in("3").await;
    assert_eq!(may_write(&server, &carol, alice.user_id).await, 0);
    assert_eq!(may_write(&server, &carol, 999).await, 10301);
    server.friends().block(alice.ask(FriendBlockRequest { user_id: bob.user_id })).await.unwrap();
    assert_eq!(may_write(&server, &bob, alice.user_id).await, 10006);
    assert_eq!(may_write(&server, &alice, bob.user_id).await, 0);
}

#[tokio::test]
async fn where_only_friends_write_strangers_may_not_and_logic_hears_of_it() {
    let server = Server::start_with(|settings| settings.friends.only_friends_write = true).await;
    let [alice, bob] = [server.sign_in("1").await, server.sign_in("2").await];
    assert_eq!(may_write(&server, &alice, bob.user_id).await, 10210);
    add(&server, &alice, bob.user_id).await.unwrap();
    assert_eq!(may_write(&server, &alice, bob.user_id).await, 10210);
    agree(&server, &bob, alice.user_id).await.unwrap();
    assert_eq!(may_write(&server, &alice, bob.user_id).await, 0);
    server.friends().remove(alice.ask(FriendRemoveRequest { friend_id: bob.user_id })).await.unwrap();
    assert_eq!(server.logic.take_forgotten(), [(bob.user_id, alice.user_id), (alice.user_id, bob.user_id)]);
    assert_eq!(may_write(&server, &bob, alice.user_id).await, 10210);
}

#[tokio::test]
async fn by_a_setting_send_message_reaches_whoever_did_not_block_the_sender() {
    let server = Server::start_with(|settings| settings.friends.send_message_to_others = true).await;
    let [alice, bob] = [server.sign_in("1").await, server.sign_in("2").await];
    send(&server, &alice, bob.user_id).await.unwrap();
    assert_eq!(server.logic.take_sent().len(), 1);
    assert_eq!(code(send(&server, &alice, bob.user_id + 1000).await), ResultCode::UserNotFound);
    let block = FriendBlockRequest { user_id: alice.user_id };
    server.friends().block(bob.ask(block)).await.unwrap();
    assert_eq!(code(send(&server, &alice, bob.user_id).await), ResultCode::NotAllowed);
    assert!(server.logic.take_sent().is_empty());
}
