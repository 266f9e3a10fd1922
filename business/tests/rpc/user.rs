//! Reading, changing and finding users.

use gim_proto::{
    ResultCode,
    business::{GetUserRequest, GetUsersRequest, SearchUserRequest, UpdateUserRequest},
};

use prost::Message as _;

use super::harness::{Phone, Server, code};

async fn rename(server: &Server, phone: &Phone, nickname: &str) {
    let request = UpdateUserRequest { nickname: nickname.into(), ..UpdateUserRequest::default() };
    server.users().update_user(phone.ask(request)).await.unwrap();
}

async fn search(server: &Server, phone: &Phone, key: &str) -> Vec<u64> {
    let request = phone.ask(SearchUserRequest { key: key.into(), ..Default::default() });
    let users = server.users().search_user(request).await.unwrap().into_inner().users;
    users.iter().map(|user| user.user_id).collect()
}

#[tokio::test]
async fn what_a_user_says_about_herself_is_what_others_see() {
    let server = Server::start().await;
    let [alice, bob] = [server.sign_in("1").await, server.sign_in("2").await];
    let update =
        UpdateUserRequest { nickname: "Alice".into(), sex: 2, avatar_url: "http://a".into(), extra: "{}".into() };
    server.users().update_user(alice.ask(update)).await.unwrap();
    let request = GetUserRequest { user_id: alice.user_id };
    let seen = server.users().get_user(bob.ask(request)).await.unwrap().into_inner().user.unwrap();
    assert_eq!((seen.user_id, seen.nickname.as_str(), seen.sex), (alice.user_id, "Alice", 2));
    assert_eq!((seen.avatar_url.as_str(), seen.extra.as_str()), ("http://a", "{}"));
    // Seconds, not milliseconds: before the year 2286.
    assert!((1_600_000_000..10_000_000_000).contains(&seen.create_time));
    assert!(seen.update_time >= seen.create_time);
    assert_eq!(server.internal().get_user(request).await.unwrap().into_inner().user, Some(seen));
}

#[tokio::test]
async fn an_unknown_user_is_not_found() {
    let server = Server::start().await;
    let alice = server.sign_in("1").await;
    let request = GetUserRequest { user_id: 999 };
    assert_eq!(code(server.users().get_user(alice.ask(request)).await), ResultCode::UserNotFound);
    assert_eq!(code(server.internal().get_user(request).await), ResultCode::UserNotFound);
}

#[tokio::test]
async fn several_users_are_read_at_once_and_unknown_ones_left_out() {
    let server = Server::start().await;
    let [alice, bob] = [server.sign_in("1").await, server.sign_in("2").await];
    let user_ids = [(alice.user_id, 0), (bob.user_id, 7), (999, 0)].into();
    let users = server.internal().get_users(GetUsersRequest { user_ids }).await.unwrap().into_inner().users;
    assert_eq!(users.len(), 2);
    assert!(users.iter().all(|(id, user)| *id == user.user_id));
    assert!(users.contains_key(&alice.user_id) && users.contains_key(&bob.user_id));
}

#[tokio::test]
async fn users_are_found_by_their_whole_number_or_a_part_of_their_name() {
    let server = Server::start_with(|settings| settings.limits.search_results_max = 2).await;
    let [alice, bob, carol] =
        [server.sign_in("5551").await, server.sign_in("5552").await, server.sign_in("5553").await];
    for (phone, nickname) in [(&alice, "Alice 100%"), (&bob, "Bob 1000"), (&carol, "Carol 100")] {
        rename(&server, phone, nickname).await;
    }
    assert_eq!(search(&server, &alice, "5552").await, [bob.user_id]);
    assert_eq!(search(&server, &alice, "555").await, [0; 0]);
    assert_eq!(search(&server, &alice, "aro").await, [carol.user_id]);
    assert_eq!(search(&server, &alice, "100%").await, [alice.user_id]);
    assert_eq!(search(&server, &alice, "100").await, [alice.user_id, bob.user_id], "two at most");
}

#[tokio::test]
async fn a_page_of_a_search_fits_a_packet() {
    let server = Server::start().await;
    let alice = server.sign_in("1").await;
    let mut expected = Vec::new();
    for number in 2..50 {
        let phone = server.sign_in(&number.to_string()).await;
        let update = UpdateUserRequest {
            nickname: "somebody".into(),
            avatar_url: "a".repeat(512),
            extra: "e".repeat(1_024),
            ..UpdateUserRequest::default()
        };
        server.users().update_user(phone.ask(update)).await.unwrap();
        expected.push(phone.user_id);
    }
    let (mut found, mut from, mut pages) = (Vec::new(), 0, 0);
    loop {
        let request = alice.ask(SearchUserRequest { key: "somebody".into(), from, limit: 50 });
        let reply = server.users().search_user(request).await.unwrap().into_inner();
        assert!(reply.encoded_len() <= 50_000, "{} bytes", reply.encoded_len());
        found.extend(reply.users.iter().map(|user| user.user_id));
        (from, pages) = (reply.next, pages + 1);
        if from == 0 {
            break;
        }
    }
    assert_eq!((found, pages), (expected, 2));
}

#[tokio::test]
async fn a_search_is_read_page_by_page() {
    let server = Server::start_with(|settings| settings.limits.search_results_max = 3).await;
    let alice = server.sign_in("1").await;
    for number in 2..9 {
        rename(&server, &server.sign_in(&number.to_string()).await, "somebody").await;
    }
    let page = |from, limit| {
        let request = alice.ask(SearchUserRequest { key: "somebody".into(), from, limit });
        let mut client = server.users();
        async move { client.search_user(request).await.unwrap().into_inner() }
    };
    let (mut found, mut sizes, mut from) = (Vec::new(), Vec::new(), 0);
    loop {
        let reply = page(from, 0).await;
        sizes.push(reply.users.len());
        found.extend(reply.users.iter().map(|user| user.user_id));
        from = reply.next;
        if from == 0 {
            break;
        }
    }
    assert_eq!(sizes, [3, 3, 1]);
    assert!(found.is_sorted() && found.len() == 7, "{found:?}");
    assert_eq!(page(0, 1).await.users.len(), 1);
    assert_eq!(page(0, 100).await.users.len(), 3, "no more than the server allows");
}

#[tokio::test]
async fn by_a_setting_a_part_of_the_phone_number_finds_its_user() {
    for part_of_phone_number in [false, true] {
        let server = Server::start_with(|settings| settings.search.part_of_phone_number = part_of_phone_number).await;
        let [alice, bob] = [server.sign_in("13800000001").await, server.sign_in("13900000002").await];
        let expected = if part_of_phone_number { vec![bob.user_id] } else { Vec::new() };
        assert_eq!(search(&server, &alice, "0002").await, expected);
        assert_eq!(search(&server, &alice, "13900000002").await, [bob.user_id]);
    }
}
