//! Lists of conversations: which there are, in which order, with what in front.

use bytes::Bytes;
use gim_proto::{
    ResultCode,
    connect::{Message, MessageStatus, SendRequest, send_request::Target},
    logic::{
        Conversation, ConversationListRequest, GroupAddMemberRequest, GroupKind, GroupMember, PushToUsersRequest,
        RecallRequest, User, UserMessagePush, conversation::Peer,
    },
};
use prost::Message as _;
use sqlx::{AssertSqlSafe, Row as _};

use super::{list, page, peers, say, send, signed, unread};
use crate::support::{Server, refusal, server};

/// What is in each table that a message could touch.
async fn rows(server: &Server) -> Vec<i64> {
    let database = server.database().await;
    let mut counts = Vec::new();
    for table in [
        "message",
        "other_inbox",
        "direct_inbox",
        "group_message",
        "inbox",
        "device_ack",
        "group_cursor",
        "read_position",
        "conversation_setting",
    ] {
        let query = format!("SELECT COUNT(*) FROM {table}");
        counts.push(sqlx::query(AssertSqlSafe(query)).fetch_one(&database.reader).await.unwrap().get(0));
    }
    database.close().await;
    counts
}

#[tokio::test]
async fn a_message_writes_no_row_for_conversations() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkNormal, &[7, 8, 9]).await;
    let large = server.make(GroupKind::GkLarge, &[7, 8, 9]).await;
    send(&server, 7, 8).await;
    let mut before = rows(&server).await;
    let mut written = async || {
        let now = rows(&server).await;
        let written: Vec<i64> = now.iter().zip(&before).map(|(now, before)| now - before).collect();
        before = now;
        written
    };
    send(&server, 7, 8).await;
    assert_eq!(written().await, [1, 0, 2, 0, 0, 0, 0, 0, 0]);
    say(&server, 7, group_id).await;
    assert_eq!(written().await, [1, 3, 0, 1, 0, 0, 0, 0, 0]);
    say(&server, 7, large).await;
    assert_eq!(written().await, [1, 0, 0, 1, 0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn a_list_has_the_conversation_with_the_newest_message_first() {
    let server = server().await;
    let normal = server.make(GroupKind::GkNormal, &[8, 7]).await;
    let large = server.make(GroupKind::GkLarge, &[8, 7]).await;
    send(&server, 8, 7).await;
    send(&server, 7, 9).await;
    send(&server, 7, 7).await;
    server.push(&[7], "of a service: in no conversation").await;
    say(&server, 8, large).await;
    send(&server, 8, 7).await;
    say(&server, 8, normal).await;
    let expected = [Peer::GroupId(normal), Peer::UserId(8), Peer::GroupId(large), Peer::UserId(7), Peer::UserId(9)];
    let server = server.restart().await;
    for limit in [50, 2, 1] {
        let (pinned, all) = list(&server, 7, limit).await;
        assert_eq!((pinned.len(), peers(&all)), (0, expected.to_vec()), "{limit}");
        assert_eq!(all.iter().map(|one| one.is_large).collect::<Vec<_>>(), [false, false, true, false, false]);
        assert_eq!(
            all.iter().map(|one| one.unread).collect::<Vec<_>>(),
            [1, 2, 1, 0, 0],
            "own ones and notices are none"
        );
    }
    let (_, all) = list(&server, 7, 0).await;
    let last = all[1].last_message.clone().unwrap();
    assert_eq!((last.seq, last.created_at_ms), (6, all[1].active_at_ms));
    assert_eq!(all[0].last_message.as_ref().unwrap().group_seq, 2);
    let (_, of_another) = list(&server, 9, 0).await;
    assert_eq!(unread(&of_another), [(Peer::UserId(7), 1)]);
    assert!(list(&server, 10, 0).await.1.is_empty());
}

#[tokio::test]
async fn unread_is_exact_to_99_and_what_one_answered_is_read() {
    let server = server().await;
    let large = server.make(GroupKind::GkLarge, &[8, 7]).await;
    let counts = async || {
        let (_, all) = list(&server, 7, 0).await;
        let of = |peer| all.iter().find(|one| one.peer == Some(peer)).map(|one: &Conversation| one.unread);
        (of(Peer::UserId(8)), of(Peer::GroupId(large)))
    };
    for number in 1..=101_u32 {
        let sent = send(&server, 8, 7).await;
        say(&server, 8, large).await;
        if number == 1 {
            server.message_ext().recall(signed(8, RecallRequest { message_id: sent.message_id })).await.unwrap();
        }
        if [1, 2, 99, 100, 101].contains(&number) {
            assert_eq!(counts().await, (Some(number - 1), Some(number.min(100))), "a recalled one is none");
        }
    }
    send(&server, 7, 8).await;
    say(&server, 7, large).await;
    assert_eq!(counts().await, (Some(0), Some(0)));
    send(&server, 8, 7).await;
    assert_eq!(counts().await, (Some(1), Some(0)));
}

#[tokio::test]
async fn who_talks_to_very_many_or_much_to_one_has_everybody_in_the_list_once() {
    let server = server().await;
    let others: Vec<u64> = (1_000..2_100).collect();
    for &other in &others {
        // Of a service, which need not know them.
        let from_user = Some(User { user_id: 7, ..User::default() });
        let said = UserMessagePush { from_user, to_user_id: other, content: b"text"[..].into() };
        let push = PushToUsersRequest {
            user_ids: vec![7, other],
            command: 1,
            content: said.encode_to_vec().into(),
            is_persist: true,
            ..PushToUsersRequest::default()
        };
        server.message_int().push_to_users(push).await.unwrap();
    }
    for _ in 0..200 {
        send(&server, 7, 8).await;
    }
    let mut expected = vec![Peer::UserId(8)];
    expected.extend(others.iter().rev().map(|&other| Peer::UserId(other)));
    assert_eq!(peers(&list(&server, 7, 0).await.1), expected);
    // Of few conversations all are found at once, however much was said in one of them.
    for _ in 0..200 {
        send(&server, 9, 8).await;
    }
    send(&server, 9, 10).await;
    for _ in 0..200 {
        send(&server, 9, 8).await;
    }
    let first = page(&server, 9, &[], 50).await.unwrap();
    assert_eq!((peers(&first.conversations), first.next.len()), (vec![Peer::UserId(8), Peer::UserId(10)], 0));
}

#[tokio::test]
async fn a_recalled_last_message_keeps_its_place_and_a_long_one_is_left_out() {
    let server = server().await;
    let long = SendRequest {
        target: Some(Target::UserId(7)),
        content: vec![b'x'; 2_000].into(),
        client_msg_id: "long".into(),
        ..SendRequest::default()
    };
    server.message_ext().send(signed(8, long)).await.unwrap();
    let sent = send(&server, 7, 9).await;
    send(&server, 10, 7).await;
    server.message_ext().recall(signed(7, RecallRequest { message_id: sent.message_id })).await.unwrap();
    for _ in 0..2 {
        let (_, all) = list(&server, 7, 1).await;
        assert_eq!(peers(&all), [Peer::UserId(10), Peer::UserId(9), Peer::UserId(8)]);
        let last: Vec<_> = all.iter().map(|one| one.last_message.clone().unwrap()).collect();
        assert_eq!((last[1].seq, last[1].status()), (2, MessageStatus::MsRecalled));
        assert_eq!((last[2].seq, last[2].content.len(), all[2].content_left_out), (1, 0, true));
        assert_eq!(all[2].preview, format!("{}…", "x".repeat(99)), "what is left out has its line");
        assert_eq!(all[1].preview, "", "what was recalled has none");
        assert!(!all[0].content_left_out && !last[0].content.is_empty());
        assert_eq!(all.iter().map(|one| one.last_sender_id).collect::<Vec<_>>(), [10, 7, 8]);
        let request = ConversationListRequest { without_contents: true, ..ConversationListRequest::default() };
        let lean = server.conversation_ext().list(signed(7, request)).await.unwrap().into_inner().conversations;
        for (lean, full) in lean.into_iter().zip(all) {
            let last_message = full.last_message.map(|message| Message { content: Bytes::new(), ..message });
            let content_left_out = full.content_left_out || lean.content_left_out;
            assert_eq!(lean, Conversation { last_message, content_left_out, ..full }, "only what was said is missing");
        }
    }
}

#[tokio::test]
async fn a_member_sees_of_a_group_what_came_between_joining_and_leaving() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkNormal, &[8, 9]).await;
    say(&server, 8, group_id).await;
    server
        .group_int()
        .add_member(GroupAddMemberRequest {
            group_id,
            members: vec![GroupMember { user_id: 7, ..GroupMember::default() }],
        })
        .await
        .unwrap();
    let (_, all) = list(&server, 7, 0).await;
    assert_eq!(unread(&all), [(Peer::GroupId(group_id), 0)]);
    assert_eq!(all[0].last_message.as_ref().unwrap().command, 121);
    say(&server, 8, group_id).await;
    assert_eq!(unread(&list(&server, 7, 0).await.1), [(Peer::GroupId(group_id), 1)]);
    server.remove(7, group_id, &[7]).await.unwrap();
    assert!(list(&server, 7, 0).await.1.is_empty());
}

#[tokio::test]
async fn a_place_that_no_reply_named_is_refused() {
    let server = server().await;
    for after in [&b"x"[..], &[1, 2], &[0xff; 40], &[0; 200]] {
        let (code, text) = refusal(page(&server, 7, after, 0).await);
        assert_eq!((code, text.starts_with("after: ")), (ResultCode::BadRequest, true));
    }
}
