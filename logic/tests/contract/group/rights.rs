//! Who may do what, and the codes of who may not.

use std::sync::atomic::Ordering;

use gim_proto::{
    ResultCode,
    logic::{
        GroupAddMemberRequest, GroupCreateRequest, GroupGetMembersRequest, GroupGetRequest, GroupKind,
        GroupListMineRequest, GroupMember, GroupRemoveMemberRequest, GroupUpdateMemberRequest,
    },
};

use crate::{
    contract::group::harness::{admin, code, group, member, signed},
    support::{business::StubBusiness, server, server_with},
};

#[tokio::test]
async fn only_members_see_a_group() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkNormal, &[7, 8]).await;
    let get = async |user_id| server.group_ext().get(signed(user_id, GroupGetRequest { group_id })).await;
    let seen = get(8).await.unwrap().into_inner().group.unwrap();
    assert_eq!((seen.id, seen.name.as_str(), seen.member_count), (group_id, "group", 2));
    assert_eq!(code(get(9).await), ResultCode::NotInGroup);
    assert_eq!(code(server.members(9, group_id, 0).await), ResultCode::NotInGroup);
    assert_eq!(code(server.say(9, group_id, "hi", "a").await), ResultCode::NotInGroup);
    let served = server.group_int().get(GroupGetRequest { group_id }).await.unwrap().into_inner().group.unwrap();
    assert_eq!(served, seen, "services see every group");
}

#[tokio::test]
async fn admins_change_a_group_and_others_do_not() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkNormal, &[7, 8]).await;
    assert_eq!(code(server.rename(8, group_id, "mine").await), ResultCode::NotAllowed);
    assert_eq!(code(server.add(8, group_id, vec![member(9)]).await), ResultCode::NotAllowed);
    assert_eq!(code(server.remove(8, group_id, &[7]).await), ResultCode::NotAllowed);
    assert_eq!(code(server.remove(8, group_id, &[8, 7]).await), ResultCode::NotAllowed);
    assert_eq!(code(server.describe(8, group_id, admin(8)).await), ResultCode::NotAllowed);
    assert_eq!(code(server.describe(8, group_id, member(7)).await), ResultCode::NotAllowed);
    assert_eq!(code(server.rename(9, group_id, "mine").await), ResultCode::NotInGroup);
    assert_eq!(code(server.add(9, group_id, vec![member(9)]).await), ResultCode::NotInGroup);
    assert_eq!(code(server.remove(9, group_id, &[9]).await), ResultCode::NotInGroup);

    server.rename(7, group_id, "ours").await.unwrap();
    server.add(7, group_id, vec![member(9)]).await.unwrap();
    server.describe(7, group_id, GroupMember { nickname: "eight".into(), ..admin(8) }).await.unwrap();
    server.remove(8, group_id, &[9]).await.unwrap();
    server
        .describe(8, group_id, GroupMember { nickname: "8".into(), ..GroupMember { user_id: 8, ..Default::default() } })
        .await
        .unwrap();
    let members = server.members(7, group_id, 1).await.unwrap();
    let members: Vec<_> = members.iter().map(|m| (m.user_id, m.r#type, m.nickname.as_str())).collect();
    assert_eq!(members, [(7, 1, ""), (8, 1, "8")], "a description without a type leaves it");
}

#[tokio::test]
async fn who_may_not_add_a_user_makes_no_group_with_her() {
    let server = server().await;
    let state = server.business.state.clone();
    state.blocked.lock().unwrap().push((7, 9));
    let create = async |by, members: Vec<GroupMember>| {
        let request = GroupCreateRequest { group: Some(group("group", GroupKind::GkNormal)), members };
        server.group_ext().create(signed(by, request)).await
    };
    let refused = create(7, vec![member(7), member(8), member(9)]).await.unwrap_err();
    assert_eq!(refused.message(), "user 9: you two had a fight");
    assert!(server.inbox(8).await.is_empty() && server.inbox(9).await.is_empty());
    let group_id = create(7, vec![member(8)]).await.unwrap().into_inner().group_id;
    assert_eq!(server.add(7, group_id, vec![member(9)]).await.unwrap_err().message(), "user 9: you two had a fight");
    assert!(server.inbox(9).await.is_empty());
    assert_eq!(*state.may_add_calls.lock().unwrap(), [(7, 0, 2), (7, 0, 1), (7, group_id, 1)]);
    assert_eq!(code(create(7, vec![member(1000)]).await), ResultCode::UserNotFound);
    create(9, vec![member(7)]).await.expect("the other way round nobody minds");
    server.make(GroupKind::GkNormal, &[7, 9]).await;
}

#[tokio::test]
async fn without_may_add_whoever_may_write_may_add() {
    let server = server_with(StubBusiness::without_may_add().await, |_| ()).await;
    let state = server.business.state.clone();
    state.blocked.lock().unwrap().push((7, 9));
    let create = async |user_ids: &[u64]| {
        let members = user_ids.iter().copied().map(member).collect();
        let request = GroupCreateRequest { group: Some(group("group", GroupKind::GkNormal)), members };
        server.group_ext().create(signed(7, request)).await
    };
    let refused = create(&[8, 9]).await.unwrap_err();
    assert_eq!(refused.message(), "user 9: you two had a fight");
    assert_eq!(code(create(&[8, 1000]).await), ResultCode::UserNotFound);
    create(&[8, 10]).await.unwrap();
    let server = server_with(StubBusiness::only_auth().await, |_| ()).await;
    let request = GroupCreateRequest { group: Some(group("group", GroupKind::GkNormal)), members: vec![member(1000)] };
    server.group_ext().create(signed(7, request)).await.expect("who has no opinion keeps nobody out");
}

#[tokio::test]
async fn who_left_a_group_is_put_into_it_again_by_services_only() {
    let server = server().await;
    for kind in [GroupKind::GkNormal, GroupKind::GkLarge] {
        let group_id = server.make(kind, &[7, 8, 9]).await;
        server.remove(8, group_id, &[8]).await.unwrap();
        let before = server.inbox(8).await.len();
        let refused = server.add(7, group_id, vec![member(10), member(8)]).await;
        assert_eq!(code(refused), ResultCode::NotAllowed);
        assert_eq!(code(server.add(8, group_id, vec![member(8)]).await), ResultCode::NotInGroup);
        assert_eq!(server.inbox(8).await.len(), before);
        assert_eq!(server.members(7, group_id, 0).await.unwrap().len(), 2, "nobody else came in either");

        let request = GroupAddMemberRequest { group_id, members: vec![member(8)] };
        server.group_int().add_member(request).await.unwrap();
        server.remove(7, group_id, &[8]).await.unwrap();
        server.add(7, group_id, vec![member(8)]).await.expect("who was removed did not leave");
    }
}

#[tokio::test]
async fn a_member_names_himself_and_leaves() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkNormal, &[7, 8]).await;
    server.describe(8, group_id, GroupMember { nickname: "me".into(), ..member(8) }).await.unwrap();
    assert_eq!(server.members(7, group_id, 0).await.unwrap()[1].nickname, "me");
    server.remove(8, group_id, &[8]).await.unwrap();
    assert_eq!(code(server.members(8, group_id, 0).await), ResultCode::NotInGroup);
}

#[tokio::test]
async fn the_oldest_member_follows_the_last_admin() {
    let server = server().await;
    for kind in [GroupKind::GkNormal, GroupKind::GkLarge] {
        let group_id = server.make(kind, &[7, 9, 10]).await;
        server.add(7, group_id, vec![member(8)]).await.unwrap();
        let ordinary = GroupMember { r#type: 2, ..member(7) };
        assert_eq!(code(server.describe(7, group_id, ordinary).await), ResultCode::NotAllowed, "he stays one, or goes");
        server.remove(7, group_id, &[7]).await.unwrap();
        assert_eq!(server.members(8, group_id, 0).await.unwrap()[1], admin(9), "nobody is older");
        // Whom a service takes out is followed likewise.
        let remove = GroupRemoveMemberRequest { group_id, user_ids: vec![9] };
        server.group_int().remove_member(remove).await.unwrap();
        assert_eq!(server.members(8, group_id, 0).await.unwrap()[1], admin(10));
        server.remove(10, group_id, &[10]).await.unwrap();
        assert_eq!(server.members(8, group_id, 0).await.unwrap(), [admin(8)]);
        server.remove(8, group_id, &[8]).await.unwrap();
        let left = server.group_int().get(GroupGetRequest { group_id }).await.unwrap().into_inner().group.unwrap();
        assert_eq!(left.member_count, 0, "the very last one leaves whenever he likes");
    }
}

#[tokio::test]
async fn a_business_that_is_away_keeps_nobody_in_a_group() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkNormal, &[7, 8]).await;
    server.business.state.hides_blockers.store(true, Ordering::Relaxed);
    assert_eq!(code(server.rename(7, group_id, "new").await), ResultCode::TryAgainLater);
    server.remove(7, group_id, &[7]).await.unwrap();
    assert_eq!(server.members(8, group_id, 0).await.unwrap(), [admin(8)]);
}

#[tokio::test]
async fn who_blocked_somebody_hears_nothing_of_what_he_does_in_a_group() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkNormal, &[7, 8, 9]).await;
    let state = server.business.state.clone();
    state.blocked.lock().unwrap().push((7, 9));
    let told = async || [server.inbox(8).await.len(), server.inbox(9).await.len()];
    let [of_8, of_9] = told().await;
    server.rename(7, group_id, "look at this").await.unwrap();
    server.describe(7, group_id, GroupMember { nickname: "and this".into(), ..admin(7) }).await.unwrap();
    server.add(7, group_id, vec![member(10)]).await.unwrap();
    server.remove(7, group_id, &[10]).await.unwrap();
    assert_eq!(told().await, [of_8 + 4, of_9]);
    assert_eq!(
        state.blockers_calls.load(Ordering::Relaxed),
        4,
        "one question for each change, whoever is in the group"
    );
    server.rename(8, group_id, "mine").await.unwrap_err();
    server.say(7, group_id, "a message", "a").await.unwrap();
    assert_eq!(told().await, [of_8 + 5, of_9 + 1], "messages to the group are for all of it");
    server.remove(7, group_id, &[9]).await.unwrap();
    assert_eq!(told().await, [of_8 + 6, of_9 + 2], "who is taken out learns that");
}

#[tokio::test]
async fn nobody_is_described_to_a_member_who_blocked_the_describer() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkNormal, &[7, 8, 9]).await;
    server.business.state.blocked.lock().unwrap().push((7, 9));
    let told = async || [server.inbox(8).await.len(), server.inbox(9).await.len()];
    let [of_8, of_9] = told().await;
    let named = GroupMember { nickname: "look at this".into(), ..member(9) };
    for _ in 0..2 {
        server.describe(7, group_id, named.clone()).await.unwrap();
        assert_eq!(told().await, [of_8 + 1, of_9], "the second time nothing changes");
    }
    assert_eq!(server.members(9, group_id, 0).await.unwrap()[2].nickname, named.nickname);
    server.describe(8, group_id, GroupMember { nickname: "eight".into(), ..member(8) }).await.unwrap();
    assert_eq!(told().await, [of_8 + 2, of_9 + 1], "what others do is told");
}

#[tokio::test]
async fn a_service_lists_members_and_makes_them_admins() {
    let server = server().await;
    for kind in [GroupKind::GkNormal, GroupKind::GkLarge] {
        let group_id = server.make(kind, &[7, 8, 9]).await;
        let page = async |group_id, after_user_id, limit| {
            let request = GroupGetMembersRequest { group_id, after_user_id, limit };
            server.group_int().get_members(request).await.map(tonic::Response::into_inner)
        };
        let describe = async |member: GroupMember| {
            let request = GroupUpdateMemberRequest { group_id, member: Some(member) };
            server.group_int().update_member(request).await
        };
        let ordinary = |user_id| GroupMember { r#type: 2, ..member(user_id) };
        let first = page(group_id, 0, 2).await.unwrap();
        assert_eq!((first.members, first.has_more), (vec![admin(7), ordinary(8)], true));
        let told = server.inbox(9).await.len();
        describe(admin(8)).await.unwrap();
        describe(ordinary(7)).await.unwrap();
        let all = page(group_id, 0, 0).await.unwrap();
        assert_eq!((all.members, all.has_more), (vec![ordinary(7), admin(8), ordinary(9)], false));
        server.rename(8, group_id, "hers").await.unwrap();
        assert_eq!(code(server.rename(7, group_id, "his").await), ResultCode::NotAllowed);
        if kind == GroupKind::GkNormal {
            assert_eq!(server.inbox(9).await.len(), told + 3, "members are told of each change");
        }
        assert_eq!(code(describe(ordinary(8)).await), ResultCode::NotAllowed, "the last admin stays one");
        assert_eq!(code(describe(admin(10)).await), ResultCode::GroupMemberNotFound);
        assert_eq!(code(page(group_id + 1_000, 0, 0).await), ResultCode::GroupNotFound);
    }
}

#[tokio::test]
async fn who_makes_a_group_is_its_admin_and_finds_it_in_the_list() {
    let server = server().await;
    let create = async |user_id, members| {
        let request = GroupCreateRequest { group: Some(group("mine", GroupKind::GkNormal)), members };
        server.group_ext().create(signed(user_id, request)).await.unwrap().into_inner().group_id
    };
    let alone = create(7, vec![]).await;
    let together = create(7, vec![member(7), member(8)]).await;
    assert_eq!(server.members(8, together, 0).await.unwrap()[0].r#type, 1);
    let list = async |user_id, after_group_id, limit| {
        let request = GroupListMineRequest { after_group_id, limit };
        let reply = server.group_ext().list_mine(signed(user_id, request)).await.unwrap().into_inner();
        (reply.groups.iter().map(|group| group.id).collect::<Vec<_>>(), reply.has_more)
    };
    assert_eq!(list(7, 0, 0).await, (vec![alone, together], false));
    assert_eq!(list(7, 0, 1).await, (vec![alone], true));
    assert_eq!(list(7, alone, 1).await, (vec![together], false));
    assert_eq!(list(8, 0, 0).await, (vec![together], false));
    assert_eq!(list(9, 0, 0).await, (vec![], false));
}
