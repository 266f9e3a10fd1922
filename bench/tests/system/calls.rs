//! Everything that clients may call, over the long connection: logic's services and those of business, without a token.

use gim_proto::{
    ResultCode,
    business::{
        FriendAddRequest, FriendAgreeRequest, GetUserReply, GetUserRequest, ListFriendsReply, ListUsersRequest,
        SignInReply, SignOutRequest,
    },
    client::{Client, ClientError},
    connect::CloseReason,
    logic,
    logic::{GroupCreateReply, GroupCreateRequest, GroupListMineReply, GroupListMineRequest},
    methods,
};
use prost::Message;

use crate::server::Server;

const SIGN_OUT: &str = "business.UserExtService/SignOut";

fn call<M: Message + Default>(client: &mut Client, method: &str, message: &impl Message) -> M {
    let reply = client.call(method, message).unwrap();
    assert_eq!((reply.code, &*reply.message), (0, ""), "{method}");
    M::decode(reply.data).unwrap()
}

/// Makes friends and a group, and reads them back.
fn make_friends_and_a_group(server: &Server) -> (SignInReply, Client) {
    let (alice, bob) = (server.business_sign_in("13800000001"), server.business_sign_in("13800000002"));
    let (mut of_alice, mut of_bob) = (server.connect_as(&alice), server.connect_as(&bob));
    let add = FriendAddRequest { friend_id: bob.user_id, ..FriendAddRequest::default() };
    call::<()>(&mut of_alice, "business.FriendExtService/Add", &add);
    let agree = FriendAgreeRequest { user_id: alice.user_id, ..FriendAgreeRequest::default() };
    call::<()>(&mut of_bob, "business.FriendExtService/Agree", &agree);
    let friends: ListFriendsReply =
        call(&mut of_alice, "business.FriendExtService/ListFriends", &ListUsersRequest::default());
    assert_eq!(friends.friends.iter().map(|friend| friend.user_id).collect::<Vec<_>>(), [bob.user_id]);
    let get = GetUserRequest { user_id: bob.user_id };
    let user: GetUserReply = call(&mut of_alice, "business.UserExtService/GetUser", &get);
    assert_eq!(user.user.unwrap().user_id, bob.user_id);
    let group = Some(logic::Group { name: "ours".into(), ..logic::Group::default() });
    let create = GroupCreateRequest { group, members: Vec::new() };
    let made: GroupCreateReply = call(&mut of_alice, "logic.GroupExtService/Create", &create);
    let mine: GroupListMineReply =
        call(&mut of_alice, "logic.GroupExtService/ListMine", &GroupListMineRequest::default());
    assert_eq!(mine.groups[0].id, made.group_id);
    (alice, of_alice)
}

#[test]
fn a_client_makes_friends_and_groups_over_its_connection() {
    let server = Server::start();
    let (_, mut client) = make_friends_and_a_group(&server);
    client.heartbeat().unwrap();
}

#[test]
fn calls_reach_a_business_that_asks_for_certificates() {
    make_friends_and_a_group(&Server::start_certified());
}

#[test]
fn every_method_for_clients_is_offered_and_no_other() {
    let server = Server::start();
    let mut client = server.connect_as(&server.business_sign_in("13800000003"));
    for method in methods::of_services() {
        assert_eq!(client.call(&method, &()).unwrap().code, ResultCode::UnknownCommand.number(), "{method}");
    }
    for method in methods::of_clients().into_iter().filter(|method| method != SIGN_OUT) {
        let reply = client.call(&method, &()).unwrap();
        assert!(![2, 10000, 10005].contains(&reply.code), "{method} is not offered: {}", reply.message);
    }
}

#[test]
fn who_signs_out_by_a_call_is_out() {
    let server = Server::start();
    let identity = server.business_sign_in("13800000004");
    let mut client = server.connect_as(&identity);
    // The answer and the goodbye may come in either order.
    let ended = match client.call(SIGN_OUT, &SignOutRequest::default()) {
        Ok(reply) => {
            assert_eq!(reply.code, 0);
            client.receive().unwrap_err()
        }
        Err(error) => error,
    };
    assert!(matches!(ended, ClientError::Closed(Some(notice)) if notice.reason() == CloseReason::CrTokenRevoked));
    let refused = server.connect().sign_in(identity.user_id, identity.device_id, &identity.token).unwrap();
    assert_eq!(refused.code, ResultCode::SignInAgain.number());
}
