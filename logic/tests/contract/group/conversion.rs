//! From a normal group to a large one: nothing is lost, nothing is there twice.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use gim_proto::{
    connect,
    logic::{Group, GroupKind, GroupUpdateRequest, UpdateGroupPush, down_item::Item},
};
use prost::Message as _;

use crate::{
    contract::group::harness::{group, member, signed},
    support::{conn::Conn, server},
};

#[tokio::test]
async fn old_messages_stay_in_the_inboxes_and_new_ones_are_in_the_timeline() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkNormal, &[7, 8]).await;
    let old = server.say(7, group_id, "old", "a").await.unwrap();
    server.convert(group_id).await;
    let new = server.say(7, group_id, "new", "b").await.unwrap();
    server.add(7, group_id, vec![member(9)]).await.unwrap();

    let inbox = server.inbox(8).await;
    let commands: Vec<i32> = inbox.iter().map(|message| message.command).collect();
    assert_eq!((inbox[1].message_id, commands), (old.message_id, vec![121, 2, 120]));
    let notice = UpdateGroupPush::decode(inbox[2].content.clone()).unwrap();
    assert_eq!(notice.kind, GroupKind::GkLarge as i32, "the last one in the inbox says so");
    let timeline = server.timeline(8, group_id, 0).await;
    assert_eq!((timeline[0].message_id, timeline.len()), (new.message_id, 2), "nothing twice");
    assert_eq!(server.timeline(9, group_id, 0).await.len(), 1, "who came later sees what came later");
    assert!(server.inbox(9).await.is_empty());

    // An update that says nothing of the kind leaves it, and so does one that asks for it again.
    server.rename(7, group_id, "name").await.unwrap();
    server.convert(group_id).await;
    assert_eq!(server.timeline(8, group_id, 0).await.len(), 4);
    assert_eq!(server.inbox(8).await.len(), 3);
    assert_eq!(server.say(7, group_id, "old", "a").await.unwrap(), connect::SendReply { duplicate: true, ..old });
}

#[tokio::test]
async fn who_is_online_goes_on_in_the_timeline() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkNormal, &[7, 8]).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(8, 80, 800).await;
    server.convert(group_id).await;
    server.say(7, group_id, "new", "a").await.unwrap();
    let Item::GroupMemberships(memberships) = conn.next().await else { panic!("no memberships") };
    assert_eq!((memberships.group_id, &memberships.joined_connection_ids[..]), (group_id, &[800][..]));
    let Item::Push(notice) = conn.next().await else { panic!("the notice is in the inbox") };
    assert_eq!(connect::Message::decode(notice.message).unwrap().command, 120);
    let Item::GroupPush(push) = conn.next().await else { panic!("no push") };
    let message = connect::Message::decode(push.message).unwrap();
    assert_eq!((message.group_seq, message.prev_group_seq), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_during_the_conversion_go_one_way_or_the_other() {
    const SENDERS: u64 = 6;
    let server = Arc::new(server().await);
    let members: Vec<u64> = (1..=SENDERS + 2).collect();
    let group_id = server.make(GroupKind::GkNormal, &members).await;
    let (stop, mut senders) = (Arc::new(AtomicBool::new(false)), Vec::new());
    for user_id in 1..=SENDERS {
        let (server, stop) = (server.clone(), stop.clone());
        senders.push(tokio::spawn(async move {
            let mut sent = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                let key = format!("{user_id}-{}", sent.len());
                sent.push(server.say(user_id, group_id, "text", &key).await.unwrap().message_id);
            }
            sent
        }));
    }
    let until = async |count: usize| {
        while server.inbox(SENDERS + 1).await.len() + server.timeline(SENDERS + 1, group_id, 0).await.len() < count {}
    };
    until(60).await;
    let converted = Group { id: group_id, ..group("large", GroupKind::GkLarge) };
    let request = GroupUpdateRequest { group: Some(converted) };
    server.group_ext().update(signed(1, request)).await.unwrap();
    let so_far = server.inbox(SENDERS + 1).await.len();
    until(so_far + 60).await;
    stop.store(true, Ordering::SeqCst);
    let mut sent = Vec::new();
    for sender in senders {
        sent.extend(sender.await.unwrap());
    }

    for &user_id in &members {
        let (inbox, timeline) = (server.inbox(user_id).await, server.timeline(user_id, group_id, 0).await);
        assert!(inbox.len() > 30 && timeline.len() > 30, "{} and {}", inbox.len(), timeline.len());
        let mut found: HashMap<u64, u32> = HashMap::new();
        for message in inbox.iter().chain(&timeline) {
            *found.entry(message.message_id).or_default() += 1;
        }
        assert!(sent.iter().all(|message_id| found.get(message_id) == Some(&1)), "each exactly once");
        assert_eq!(found.len(), sent.len() + 2, "and nothing else but the two notices");
        for (list, before) in [(&inbox, 0), (&timeline, inbox.len() as u64)] {
            let number = |message: &connect::Message| message.seq.max(message.group_seq);
            let gap_free = list.iter().zip(before + 1..).all(|(message, seq)| number(message) == seq);
            assert!(gap_free, "the timeline goes on where the inboxes ended");
        }
    }
}
