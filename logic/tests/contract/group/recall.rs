//! Messages to groups that are taken back.

use gim_proto::{
    ResultCode,
    connect::{self, MessageStatus},
    logic::{GroupKind, RecallRequest, down_item::Item},
};
use prost::Message as _;
use tonic::Status;

use crate::{
    contract::group::{
        harness::{code, signed},
        history::history,
    },
    support::{Server, conn::Conn, server},
};

async fn recall(server: &Server, user_id: u64, message_id: u64) -> Result<(), Status> {
    server.message_ext().recall(signed(user_id, RecallRequest { message_id })).await.map(drop)
}

/// As `(seq or group seq, message id, whether recalled)`; what is recalled has no content.
fn seen(messages: &[connect::Message]) -> Vec<(u64, u64, bool)> {
    let see = |message: &connect::Message| {
        let is_recalled = message.status() == MessageStatus::MsRecalled;
        assert_eq!(is_recalled, message.content.is_empty());
        (message.seq.max(message.group_seq), message.message_id, is_recalled)
    };
    messages.iter().map(see).collect()
}

async fn next_group_message(conn: &mut Conn) -> connect::Message {
    match conn.next().await {
        Item::GroupPush(push) => connect::Message::decode(push.message).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_recall_in_a_large_group_reaches_online_and_syncing_members() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkLarge, &[7, 8, 9]).await;
    let notice = server.timeline(8, group_id, 0).await[0].message_id;
    let sent = server.say(7, group_id, "oh no", "a").await.unwrap().message_id;
    let answer = server.say(8, group_id, "what?", "b").await.unwrap().message_id;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.try_sign_in(8, 80, 800, "token-8").await;
    recall(&server, 7, sent).await.unwrap();
    recall(&server, 7, sent).await.unwrap();

    let live = next_group_message(&mut conn).await;
    assert_eq!((live.prev_group_seq, live.group_id), (3, group_id));
    assert_eq!(seen(&[live]), [(4, sent, true)]);
    let after = server.say(8, group_id, "never mind", "c").await.unwrap();
    assert_eq!(next_group_message(&mut conn).await.group_seq, 5, "told once, though it was asked for twice");

    let server = server.restart().await;
    let late = server.timeline(9, group_id, 3).await;
    assert_eq!(seen(&late), [(4, sent, true), (5, after.message_id, false)], "a device that had it learns of it");
    let all = server.timeline(9, group_id, 0).await;
    let rest = [(2, sent, true), (3, answer, false), (4, sent, true), (5, after.message_id, false)];
    assert_eq!(seen(&all)[1..], rest, "a device that had it not never sees it");
    assert!(server.inbox(9).await.is_empty(), "nobody has a copy");
    let page = history(&server, 9, group_id, 0, 0).await.unwrap();
    let once = [(5, after.message_id, false), (3, answer, false), (2, sent, true), (1, notice, false)];
    assert_eq!(seen(&page.messages), once, "history keeps its place, once");
}

#[tokio::test]
async fn only_the_sender_recalls_in_a_large_group_and_even_after_leaving_it() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkLarge, &[7, 8]).await;
    let sent = server.say(8, group_id, "mine", "a").await.unwrap().message_id;
    let notice = server.timeline(7, group_id, 0).await[0].message_id;
    for (user_id, message_id) in [(7, sent), (9, sent), (7, notice)] {
        assert_eq!(code(recall(&server, user_id, message_id).await), ResultCode::NotAllowed);
    }
    assert_eq!(server.timeline(7, group_id, 0).await.len(), 2, "what was refused left nothing behind");
    server.remove(8, group_id, &[8]).await.unwrap();
    recall(&server, 8, sent).await.unwrap();
    assert_eq!(seen(&server.timeline(7, group_id, 3).await), [(4, sent, true)]);
}

#[tokio::test]
async fn recalls_and_sends_at_once_leave_no_gap_in_a_timeline() {
    let server = std::sync::Arc::new(server().await);
    let group_id = server.make(GroupKind::GkLarge, &[7, 8]).await;
    let tasks = (0..12).map(|number| {
        let server = server.clone();
        tokio::spawn(async move {
            let sent = server.say(7, group_id, "text", &number.to_string()).await.unwrap();
            recall(&server, 7, sent.message_id).await.unwrap();
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let timeline = server.timeline(8, group_id, 1).await;
    assert_eq!(timeline.iter().map(|message| message.group_seq).collect::<Vec<_>>(), (2..=25).collect::<Vec<_>>());
    assert!(timeline.iter().all(|message| message.status() == MessageStatus::MsRecalled));
}

#[tokio::test]
async fn a_message_from_before_the_conversion_is_recalled_in_its_inboxes() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkNormal, &[7, 8]).await;
    let sent = server.say(7, group_id, "old", "a").await.unwrap().message_id;
    server.convert(group_id).await;
    recall(&server, 7, sent).await.unwrap();
    for user_id in [7, 8] {
        let inbox = seen(&server.inbox(user_id).await);
        assert_eq!((inbox[1], inbox[3], inbox.len()), ((2, sent, true), (4, sent, true), 4));
        assert!(server.timeline(user_id, group_id, 0).await.is_empty());
    }
}
