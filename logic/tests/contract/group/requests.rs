//! Bad requests: each is refused with its code and the name of its field, and leaves nothing behind.

use gim_proto::{
    ResultCode,
    logic::{
        Group, GroupAddMemberRequest, GroupCreateRequest, GroupGetRequest, GroupKind, GroupMember, GroupPushRequest,
        GroupRemoveMemberRequest, GroupUpdateRequest,
    },
    metadata,
};
use tonic::Status;

use crate::{
    contract::group::harness::{admin, code, group, member, send_to, signed},
    support::{Server, business::StubBusiness, server, server_with},
};

fn assert_names<T: std::fmt::Debug>(result: Result<T, Status>, field: &str) {
    let status = result.unwrap_err();
    assert!(status.message().starts_with(field), "{} does not name {field}", status.message());
    assert!(matches!(ResultCode::of_status(&status), ResultCode::BadRequest | ResultCode::TooLarge), "{status}");
}

async fn create(server: &Server, group: Option<Group>, members: Vec<GroupMember>) -> Result<u64, Status> {
    let reply = server.group_int().create(GroupCreateRequest { group, members }).await?;
    Ok(reply.into_inner().group_id)
}

#[tokio::test]
async fn a_service_gives_a_new_group_an_id_that_is_free() {
    let server = server().await;
    let with_id = |id| Some(Group { id, ..group("g", GroupKind::GkNormal) });
    assert_eq!(create(&server, with_id(12_345), vec![admin(7)]).await.unwrap(), 12_345);
    let taken = create(&server, with_id(12_345), vec![admin(8)]).await.unwrap_err();
    assert_eq!(
        (ResultCode::of_status(&taken), taken.message()),
        (ResultCode::BadRequest, "group.id: there is a group 12345 already")
    );
    let made = create(&server, with_id(0), vec![admin(7)]).await.unwrap();
    assert!(made != 0 && made < 1 << 53, "a number of JavaScript holds {made}");
    let request = GroupCreateRequest { group: with_id(777), members: vec![] };
    let of_user = server.group_ext().create(signed(7, request)).await.unwrap().into_inner().group_id;
    assert_ne!(of_user, 777, "users have no say in it");
}

#[tokio::test]
async fn users_put_nobody_into_too_many_groups_and_services_may() {
    let server = server_with(StubBusiness::start().await, |settings| settings.group.user_groups_max = 2).await;
    let create = async |user_id: u64, members: Vec<GroupMember>| {
        let request = GroupCreateRequest { group: Some(group("group", GroupKind::GkLarge)), members };
        let reply = server.group_ext().create(signed(user_id, request)).await?;
        Ok::<_, Status>(reply.into_inner().group_id)
    };
    let first = create(7, vec![member(8)]).await.unwrap();
    create(7, vec![]).await.unwrap();
    let refused = create(7, vec![]).await.unwrap_err();
    assert_eq!(
        (ResultCode::of_status(&refused), refused.message()),
        (ResultCode::NotAllowed, "members: user 7 is in too many groups")
    );
    create(9, vec![member(8)]).await.unwrap();
    assert_eq!(code(create(9, vec![member(8)]).await), ResultCode::NotAllowed, "nor somebody else");
    let add = GroupAddMemberRequest { group_id: first, members: vec![member(9), member(10)] };
    server.group_ext().add_members(signed(7, add)).await.unwrap();
    let add = GroupAddMemberRequest { group_id: first, members: vec![member(11), member(9)] };
    assert_eq!(code(server.group_ext().add_members(signed(7, add)).await), ResultCode::NotAllowed);
    let request =
        GroupCreateRequest { group: Some(group("group", GroupKind::GkLarge)), members: vec![admin(7), member(8)] };
    server.group_int().create(request).await.unwrap();
}

#[tokio::test]
async fn a_group_needs_a_name_and_members_who_are_users_and_named_once() {
    let server = server().await;
    let normal = || Some(group("group", GroupKind::GkNormal));
    assert_names(create(&server, None, vec![admin(7)]).await, "group: ");
    assert_names(create(&server, normal(), vec![]).await, "members: ");
    let twice = create(&server, normal(), vec![admin(7), member(8), member(7)]).await.unwrap_err();
    assert_eq!(twice.message(), "members: user 7 is there twice");
    assert_names(create(&server, normal(), vec![member(0)]).await, "members: ");
    assert_names(create(&server, normal(), vec![member(u64::MAX)]).await, "members: ");
    assert_names(create(&server, normal(), vec![GroupMember { r#type: 9, ..member(7) }]).await, "members.type: ");
    let nickname = "x".repeat(257);
    assert_names(create(&server, normal(), vec![GroupMember { nickname, ..member(7) }]).await, "members.nickname: ");
    assert_names(create(&server, Some(group("", GroupKind::GkNormal)), vec![admin(7)]).await, "group.name: ");
    let long = Some(group(&"x".repeat(257), GroupKind::GkNormal));
    assert_names(create(&server, long, vec![admin(7)]).await, "group.name: ");
    let odd = Some(Group { kind: 2, ..group("group", GroupKind::GkNormal) });
    assert_names(create(&server, odd, vec![admin(7)]).await, "group.kind: ");
    assert_eq!(code(create(&server, normal(), vec![admin(7), member(1000)]).await), ResultCode::UserNotFound);
    assert!(server.inbox(7).await.is_empty(), "nothing of all that was stored");
}

#[tokio::test]
async fn unknown_groups_and_ids_out_of_range_are_told_apart() {
    let server = server().await;
    for group_id in [0, u64::MAX] {
        assert_names(server.group_int().get(GroupGetRequest { group_id }).await, "group_id: ");
        assert_names(server.say(7, group_id, "hi", "a").await, "group_id: ");
        assert_names(server.add(7, group_id, vec![member(8)]).await, "group_id: ");
        assert_names(server.remove(7, group_id, &[8]).await, "group_id: ");
        assert_names(server.rename(7, group_id, "x").await, "group.id: ");
        let push = GroupPushRequest {
            group_id,
            command: 2,
            content: b"x"[..].into(),
            is_persist: true,
            ..GroupPushRequest::default()
        };
        assert_names(server.group_int().push(push).await, "group_id: ");
    }
    assert_eq!(code(server.group_int().get(GroupGetRequest { group_id: 5 }).await), ResultCode::GroupNotFound);
    assert_eq!(code(server.say(7, 5, "hi", "a").await), ResultCode::NotInGroup);
    assert_eq!(code(server.members(7, 5, 0).await), ResultCode::NotInGroup);
    assert_eq!(code(server.add(7, 5, vec![member(8)]).await), ResultCode::NotInGroup);
    for is_persist in [true, false] {
        let push = GroupPushRequest {
            group_id: 5,
            command: 2,
            content: b"x"[..].into(),
            is_persist,
            ..GroupPushRequest::default()
        };
        assert_eq!(code(server.group_int().push(push).await), ResultCode::GroupNotFound);
    }
}

#[tokio::test]
async fn members_are_added_and_removed_all_or_none() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkNormal, &[7, 8]).await;
    let before = server.inbox(7).await.len();
    assert_eq!(code(server.add(7, group_id, vec![member(9), member(8)]).await), ResultCode::AlreadyInGroup);
    assert_eq!(code(server.remove(7, group_id, &[8, 9]).await), ResultCode::GroupMemberNotFound);
    assert_eq!(code(server.describe(7, group_id, member(9)).await), ResultCode::GroupMemberNotFound);
    assert_names(server.add(7, group_id, vec![member(9), member(9)]).await, "members: ");
    assert_names(server.remove(7, group_id, &[8, 8]).await, "user_ids: ");
    assert_names(server.remove(7, group_id, &[]).await, "user_ids: ");
    let request = GroupAddMemberRequest { group_id, members: vec![member(1000)] };
    assert_eq!(code(server.group_int().add_member(request).await), ResultCode::UserNotFound);
    assert_eq!(server.members(7, group_id, 0).await.unwrap().len(), 2);
    assert_eq!(server.inbox(7).await.len(), before, "no notice of what was not done");
}

#[tokio::test]
async fn a_normal_group_is_full_at_its_limit_until_it_is_a_large_one() {
    let server = server_with(StubBusiness::start().await, |settings| {
        settings.group.normal_members_max = 3;
        settings.group.large_members_max = 4;
        settings.group.members_per_request_max = 5;
    })
    .await;
    let four = || vec![admin(1), member(2), member(3), member(4)];
    let refused = create(&server, Some(group("group", GroupKind::GkNormal)), four()).await.unwrap_err();
    assert_eq!(ResultCode::of_status(&refused), ResultCode::TooLarge);
    assert_eq!(refused.message(), "members: a normal group has at most 3; make it a large one first");
    let group_id = server.make(GroupKind::GkNormal, &[1, 2, 3]).await;
    assert_eq!(code(server.add(1, group_id, vec![member(4)]).await), ResultCode::TooLarge);
    server.convert(group_id).await;
    server.add(1, group_id, vec![member(4)]).await.unwrap();
    assert_eq!(code(server.add(1, group_id, vec![member(5)]).await), ResultCode::TooLarge);
    let six = (1..=6).map(member).collect();
    assert_names(create(&server, Some(group("group", GroupKind::GkLarge)), six).await, "members: ");
}

#[tokio::test]
async fn every_group_call_of_a_client_checks_the_token() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkNormal, &[7, 8]).await;
    let group = Some(Group { id: group_id, ..group("x", GroupKind::GkNormal) });
    let mut client = server.group_ext();
    let refusals = [
        code(client.get(metadata::signed(GroupGetRequest { group_id }, 7, 70, "token-8")).await),
        code(client.update(metadata::signed(GroupUpdateRequest { group }, 7, 70, "x")).await),
        code(
            client
                .remove_member(metadata::signed(GroupRemoveMemberRequest { group_id, user_ids: vec![8] }, 7, 70, "x"))
                .await,
        ),
        code(server.message_ext().send(metadata::signed(send_to(group_id, "hi", "a"), 7, 70, "x")).await),
    ];
    assert!(refusals.iter().all(|&code| code == ResultCode::SignInAgain), "{refusals:?}");
    let notice = gim_proto::connect::SendRequest { command: 121, ..send_to(group_id, "hi", "a") };
    assert_eq!(code(server.message_ext().send(signed(7, notice)).await), ResultCode::NotAllowed);
    assert_names(server.say(7, group_id, "hi", "").await, "client_msg_id: ");
}
