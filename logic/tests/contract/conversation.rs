//! History and recall, as clients call them and as conn nodes see them.

use crate::support::{Server, business::StubBusiness, conn::Conn, refusal, server, server_with};
use gim_proto::{
    ResultCode,
    connect::{self, MessageStatus, SendRequest, send_request::Target},
    logic::{
        HistoryReply, HistoryRequest, PushToUsersRequest, RecallRequest, SyncRequest, User, UserMessagePush,
        down_item::Item, history_request::Peer,
    },
    metadata,
};
use prost::Message as _;
use tonic::{Request, Status};

fn signed<T>(user_id: u64, message: T) -> Request<T> {
    metadata::signed(message, user_id, user_id * 10, &format!("token-{user_id}"))
}

async fn send(server: &Server, from: u64, to: u64, text: &str) -> connect::SendReply {
    let request = SendRequest {
        target: Some(Target::UserId(to)),
        command: 0,
        content: text.as_bytes().to_vec().into(),
        client_msg_id: format!("{from}-{to}-{text}"),
    };
    server.message_ext().send(signed(from, request)).await.unwrap().into_inner()
}

async fn try_history(server: &Server, user_id: u64, request: HistoryRequest) -> Result<HistoryReply, Status> {
    Ok(server.message_ext().history(signed(user_id, request)).await?.into_inner())
}

async fn history(server: &Server, user_id: u64, peer_id: u64, before_seq: u64, limit: u32) -> HistoryReply {
    let request = HistoryRequest { peer: Some(Peer::UserId(peer_id)), before_seq, limit, ..HistoryRequest::default() };
    try_history(server, user_id, request).await.unwrap()
}

async fn recall(server: &Server, user_id: u64, message_id: u64) -> Result<(), Status> {
    server.message_ext().recall(signed(user_id, RecallRequest { message_id })).await.map(drop)
}

async fn sync(server: &Server, user_id: u64, seq: u64) -> Vec<connect::Message> {
    server
        .message_ext()
        .sync(signed(user_id, SyncRequest { seq, ..SyncRequest::default() }))
        .await
        .unwrap()
        .into_inner()
        .messages
}

/// The whole conversation in pages, as `(seq, text)`.
async fn read_back(server: &Server, user_id: u64, peer_id: u64, limit: u32) -> Vec<(u64, String)> {
    let (mut all, mut before_seq) = (Vec::new(), 0);
    loop {
        let page = history(server, user_id, peer_id, before_seq, limit).await;
        all.extend(page.messages.iter().map(|message| (message.seq, text(message))));
        assert!(page.messages.len() == limit as usize || !page.has_more);
        if !page.has_more {
            return all;
        }
        before_seq = page.messages.last().unwrap().seq;
    }
}

fn text(message: &connect::Message) -> String {
    let push = UserMessagePush::decode(message.content.clone()).unwrap();
    String::from_utf8(push.content.to_vec()).unwrap()
}

#[tokio::test]
async fn history_reads_backwards_in_pages_and_each_side_sees_its_own_seqs() {
    let server = server().await;
    for number in 0..25 {
        let (from, to) = if number % 3 == 0 { (8, 7) } else { (7, 8) };
        send(&server, from, to, &number.to_string()).await;
        send(&server, 7, 9, &format!("aside {number}")).await;
    }
    let server = server.restart().await;
    let texts: Vec<String> = (0..25).rev().map(|number| number.to_string()).collect();
    for (limit, user_id, peer_id) in [(10, 7, 8), (1, 8, 7), (25, 7, 8), (0, 8, 7)] {
        let page_size = if limit == 0 { 100 } else { limit };
        let read = read_back(&server, user_id, peer_id, page_size).await;
        assert_eq!(read.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>(), texts);
        let own: Vec<u64> = sync(&server, user_id, 0).await.iter().map(|message| message.seq).collect();
        assert!(read.iter().all(|(seq, _)| own.contains(seq)) && read.is_sorted_by(|one, next| one.0 > next.0));
    }
    assert_eq!(read_back(&server, 9, 7, 100).await.len(), 25);
    assert!(history(&server, 9, 8, 0, 0).await.messages.is_empty(), "nobody sees what others say to each other");
    assert!(history(&server, 8, 9, 0, 0).await.messages.is_empty());
}

#[tokio::test]
async fn of_pushes_only_those_for_a_user_are_part_of_the_conversation() {
    let server = server().await;
    let push = |command, user_ids: &[u64]| {
        let from_user = Some(User { user_id: 7, ..User::default() });
        let wrapped = UserMessagePush { from_user, to_user_id: 8, content: b"hi"[..].into() };
        let content = wrapped.encode_to_vec().into();
        PushToUsersRequest {
            user_ids: user_ids.to_vec(),
            command,
            content,
            is_persist: true,
            ..PushToUsersRequest::default()
        }
    };
    let sent = server.message_int().push_to_users(push(1, &[8, 7])).await.unwrap().into_inner().message_id;
    server.message_int().push_to_users(push(5000, &[8, 7])).await.unwrap();
    server.message_int().push_to_users(push(1, &[7, 8, 9])).await.unwrap();
    server.push(&[7, 8], "no wrapped message").await;
    for (user_id, peer_id) in [(7, 8), (8, 7)] {
        let page = history(&server, user_id, peer_id, 0, 0).await;
        assert_eq!(page.messages.iter().map(|message| message.message_id).collect::<Vec<_>>(), [sent]);
    }
    recall(&server, 7, sent).await.unwrap();
    send(&server, 7, 7, "note").await;
    assert_eq!(read_back(&server, 7, 7, 10).await, [(6, "note".to_owned())]);
}

#[tokio::test]
async fn a_bad_question_for_history_names_its_field() {
    let server = server().await;
    let problem = async |peer, before_seq| {
        let (code, message) =
            refusal(try_history(&server, 7, HistoryRequest { peer, before_seq, ..HistoryRequest::default() }).await);
        assert_eq!(code, ResultCode::BadRequest);
        message.split(':').next().unwrap().to_owned()
    };
    assert_eq!(problem(None, 0).await, "peer");
    assert_eq!(problem(Some(Peer::UserId(0)), 0).await, "user_id");
    assert_eq!(problem(Some(Peer::UserId(u64::MAX)), 0).await, "user_id");
    assert_eq!(problem(Some(Peer::GroupId(0)), 0).await, "group_id");
    assert_eq!(problem(Some(Peer::UserId(8)), u64::MAX).await, "before_seq");
    let page = history(&server, 7, 8, 12345, u32::MAX).await;
    assert_eq!(page, HistoryReply::default(), "a conversation that never was is an empty one");
}

#[tokio::test]
async fn a_recall_reaches_devices_online_and_those_that_had_synced_already() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let sent = send(&server, 7, 8, "oh no").await;
    send(&server, 8, 7, "what?").await;
    conn.sign_in(7, 70, 700).await;
    conn.sign_in(8, 80, 800).await;
    conn.sign_in(9, 90, 900).await;
    recall(&server, 7, sent.message_id).await.unwrap();

    let Item::Push(push) = conn.next().await else { panic!("no push") };
    let body = connect::Message::decode(push.message).unwrap();
    assert_eq!((body.message_id, body.status()), (sent.message_id, MessageStatus::MsRecalled));
    assert!(body.content.is_empty());
    let mut connections: Vec<u64> = push.targets.iter().flat_map(|target| target.connection_ids.clone()).collect();
    connections.sort_unstable();
    assert_eq!(connections, [700, 800], "the sender's devices too, and nobody else");
    assert!(push.targets.iter().all(|target| (target.seq, target.prev_seq) == (3, 2)));

    let server = server.restart().await;
    for user_id in [7, 8] {
        let late = sync(&server, user_id, 2).await;
        assert_eq!(late.len(), 1, "a device that had it learns that it is gone");
        assert_eq!((late[0].seq, late[0].message_id, late[0].status), (3, sent.message_id, 1));
        let all = sync(&server, user_id, 0).await;
        assert_eq!(all.iter().map(|message| message.seq).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(all[0].status == 1 && all[0].content.is_empty(), "a device that had it not never sees it");
        assert_eq!(all[0].created_at_ms, sent.created_at_ms);
        let page = history(&server, user_id, 15 - user_id, 0, 0).await;
        let statuses: Vec<_> = page.messages.iter().map(|message| (message.seq, message.status)).collect();
        assert_eq!(statuses, [(2, 0), (1, 1)], "history keeps its place, once");
    }
}

#[tokio::test]
async fn a_recall_that_is_repeated_or_raced_is_told_once() {
    let server = std::sync::Arc::new(server().await);
    let sent = send(&server, 7, 8, "oh no").await;
    let recalls = (0..16).map(|_| {
        let server = server.clone();
        tokio::spawn(async move { recall(&server, 7, sent.message_id).await.unwrap() })
    });
    for recall in recalls.collect::<Vec<_>>() {
        recall.await.unwrap();
    }
    for user_id in [7, 8] {
        assert_eq!(sync(&server, user_id, 0).await.len(), 2);
    }
    let again = send(&server, 7, 8, "oh no").await;
    assert_eq!((again.duplicate, again.message_id), (true, sent.message_id), "the key of the send is still known");
}

#[tokio::test]
async fn who_blocked_the_sender_hears_of_no_recall() {
    let server = server().await;
    let sent = send(&server, 7, 8, "oh no").await;
    server.business.state.blocked.lock().unwrap().push((7, 8));
    recall(&server, 7, sent.message_id).await.unwrap();
    assert_eq!(sync(&server, 7, 0).await.len(), 2);
    let seen = sync(&server, 8, 0).await;
    assert_eq!((seen.len(), seen[0].content.is_empty()), (1, true), "what was said is gone all the same");
}

#[tokio::test]
async fn only_the_sender_recalls_and_only_what_is_stored() {
    let server = server().await;
    let sent = send(&server, 7, 8, "mine").await;
    let pushed = server.push(&[7], "a service's").await;
    let mut changes = Vec::new();
    for (user_id, message_id, code) in [
        (8, sent.message_id, ResultCode::NotAllowed),
        (9, sent.message_id, ResultCode::NotAllowed),
        (7, pushed, ResultCode::NotAllowed),
        (7, sent.message_id + 1, ResultCode::NotAllowed),
        (7, 0, ResultCode::BadRequest),
        (7, u64::MAX, ResultCode::BadRequest),
    ] {
        assert_eq!(refusal(recall(&server, user_id, message_id).await).0, code, "{user_id} {message_id}");
        changes.extend(sync(&server, 7, 2).await);
    }
    assert!(changes.is_empty(), "{changes:?}");

    let never = server_with(StubBusiness::start().await, |settings| settings.message.recall_window_s = 0).await;
    let sent = send(&never, 7, 8, "for ever").await;
    assert_eq!(refusal(recall(&never, 7, sent.message_id).await).0, ResultCode::NotAllowed);
}
