//! Normal groups: a copy in the inbox of each member.

use std::{collections::HashSet, sync::Arc};

use gim_proto::{
    ResultCode,
    connect::{self, MessageCommand, PacketCommand},
    logic::{
        AddGroupMembersPush, GroupAddMemberRequest, GroupKind, GroupMessagePush, GroupPushRequest,
        RemoveGroupMemberPush, UpdateGroupPush, down_item::Item,
    },
};
use prost::Message as _;

use crate::{
    contract::group::harness::{code, member, send_to},
    support::{conn::Conn, server},
};

#[tokio::test]
async fn a_message_is_in_the_inbox_of_every_member_once() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkNormal, &[7, 8, 9]).await;
    let first = server.say(7, group_id, "hello", "a").await.unwrap();
    assert_eq!(first.seq, 2, "the sender's own inbox has the notice of the group before it");
    let again = server.say(7, group_id, "hello", "a").await.unwrap();
    assert_eq!(again, connect::SendReply { duplicate: true, ..first });
    let server = server.restart().await;
    assert_eq!(server.say(7, group_id, "hello", "a").await.unwrap(), again, "after a restart too");
    for user_id in [7, 8, 9] {
        let inbox = server.inbox(user_id).await;
        assert_eq!(inbox.len(), 2);
        let message = &inbox[1];
        assert_eq!((message.message_id, message.group_id, message.command), (first.message_id, group_id, 2));
        assert_eq!((message.seq, message.prev_seq), (2, 1));
        let wrapped = GroupMessagePush::decode(message.content.clone()).unwrap();
        assert_eq!((wrapped.group_id, &wrapped.content[..]), (group_id, &b"hello"[..]));
        assert_eq!(wrapped.from_user.unwrap().nickname, "nick-7");
    }
}

#[tokio::test]
async fn a_send_over_a_connection_reaches_every_device_but_its_own() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkNormal, &[7, 8]).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    conn.sign_in(7, 71, 701).await;
    conn.sign_in(8, 80, 800).await;
    conn.begin_packet(7, PacketCommand::PcSend as i32, send_to(group_id, "hi", "a").encode_to_vec()).await;
    let (mut is_answered, mut pushed) = (false, None);
    while !is_answered || pushed.is_none() {
        match conn.next().await {
            Item::PacketReply(reply) => {
                assert_eq!(reply.code, 0, "{}", reply.message);
                is_answered = true;
            }
            Item::Push(push) => pushed = Some(push),
            other => panic!("{other:?}"),
        }
    }
    let push = pushed.unwrap();
    let mut connections: Vec<u64> = push.targets.iter().flat_map(|target| target.connection_ids.clone()).collect();
    connections.sort_unstable();
    assert_eq!(connections, [701, 800]);
    assert_eq!(connect::Message::decode(push.message).unwrap().group_id, group_id);
}

#[tokio::test]
async fn changes_are_told_to_members_and_to_those_they_concern() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkNormal, &[7, 8]).await;
    server.add(7, group_id, vec![member(9)]).await.unwrap();
    server.rename(7, group_id, "new name").await.unwrap();
    server.remove(7, group_id, &[9]).await.unwrap();
    server.say(7, group_id, "without 9", "a").await.unwrap();

    let inbox = server.inbox(9).await;
    let commands: Vec<i32> = inbox.iter().map(|message| message.command).collect();
    assert_eq!(commands, [121, 120, 122], "from the joining to the leaving, both included");
    assert!(inbox.iter().all(|message| message.group_id == group_id));
    let added = AddGroupMembersPush::decode(inbox[0].content.clone()).unwrap();
    assert_eq!((added.opt_id, added.opt_name.as_str(), added.members[0].user_id), (7, "nick-7", 9));
    let updated = UpdateGroupPush::decode(inbox[1].content.clone()).unwrap();
    assert_eq!((updated.opt_id, updated.name.as_str()), (7, "new name"));
    let removed = RemoveGroupMemberPush::decode(inbox[2].content.clone()).unwrap();
    assert_eq!((removed.opt_id, removed.deleted_user_id), (7, 9));
    let commands: Vec<i32> = server.inbox(8).await.iter().map(|message| message.command).collect();
    assert_eq!(commands, [121, 121, 120, 122, MessageCommand::McGroupMessage as i32]);
}

#[tokio::test]
async fn a_removal_of_several_members_is_one_notice_that_names_them() {
    let server = server().await;
    for kind in [GroupKind::GkNormal, GroupKind::GkLarge] {
        let users: Vec<u64> = (1..=20).collect();
        let group_id = server.make(kind, &users).await;
        let before = server.inbox(5).await.len();
        server.remove(1, group_id, &users[1..19]).await.unwrap();
        let inbox = server.inbox(5).await;
        let [notice] = &inbox[before..] else { panic!("one notice for {kind:?}") };
        let removed = RemoveGroupMemberPush::decode(notice.content.clone()).unwrap();
        assert_eq!(removed.deleted_user_ids, users[1..19]);
        assert_eq!((removed.opt_id, removed.deleted_user_id), (1, 2));
        assert_eq!(server.members(20, group_id, 0).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_push_of_a_service_is_stored_or_reaches_only_who_is_online() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkNormal, &[7, 8]).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    let push = async |is_persist| {
        let request = GroupPushRequest {
            group_id,
            command: 3000,
            content: b"x"[..].into(),
            is_persist,
            ..GroupPushRequest::default()
        };
        server.group_int().push(request).await.unwrap().into_inner().message_id
    };
    let passing = push(false).await;
    let Item::Push(item) = conn.next().await else { panic!("no push") };
    assert_eq!((item.targets[0].seq, &item.targets[0].connection_ids[..]), (0, &[700][..]));
    assert_eq!(connect::Message::decode(item.message).unwrap().message_id, passing);
    let stored = push(true).await;
    let Item::Push(item) = conn.next().await else { panic!("no push") };
    assert_eq!(item.targets[0].seq, 2);
    let inbox = server.inbox(8).await;
    assert_eq!(inbox.iter().map(|message| message.message_id).collect::<Vec<_>>()[1..], [stored]);
    assert_eq!(&inbox[1].content[..], b"x", "what a service says is not wrapped");
}

/// Members leave and come back while others talk: whatever is sent between the answer to a leaving and the request to come
/// back is not theirs, and whatever is sent while they are surely in is.
#[tokio::test(flavor = "multi_thread")]
async fn leaving_stops_the_messages_of_a_group_at_once() {
    let server = Arc::new(server().await);
    let group_id = server.make(GroupKind::GkNormal, &[1, 2, 3, 9]).await;
    let (stop, mut talkers) = (Arc::new(std::sync::atomic::AtomicBool::new(false)), Vec::new());
    for user_id in [1, 2] {
        let (server, stop) = (server.clone(), stop.clone());
        talkers.push(tokio::spawn(async move {
            let mut sent = 0;
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                server.say(user_id, group_id, "noise", &format!("noise-{user_id}-{sent}")).await.unwrap();
                sent += 1;
            }
        }));
    }
    let (mut theirs, mut not_theirs) = (HashSet::new(), HashSet::new());
    for round in 0..15 {
        theirs.insert(server.say(3, group_id, "in", &format!("in-{round}")).await.unwrap().message_id);
        server.remove(9, group_id, &[9]).await.unwrap();
        assert_eq!(code(server.say(9, group_id, "out", &format!("out-{round}")).await), ResultCode::NotInGroup);
        not_theirs.insert(server.say(3, group_id, "out", &format!("other-{round}")).await.unwrap().message_id);
        // Who left comes back by a service.
        let request = GroupAddMemberRequest { group_id, members: vec![member(9)] };
        server.group_int().add_member(request).await.unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    for talker in talkers {
        talker.await.unwrap();
    }
    let inbox = server.inbox(9).await;
    let got: HashSet<u64> = inbox.iter().map(|message| message.message_id).collect();
    assert_eq!(got.len(), inbox.len());
    assert!(theirs.is_subset(&got), "what was sent while they were in");
    assert!(not_theirs.is_disjoint(&got), "what was sent after they left");
    let seqs: Vec<u64> = inbox.iter().map(|message| message.seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
}
