//! What clients rely on while many things happen at once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use gim_proto::{
    connect::{Message, SendRequest, send_request::Target},
    logic::{SyncRequest, down_item::Item},
    metadata,
};
use prost::Message as _;

use crate::support::{Server, conn::Conn, server, soon};

async fn sync_all(server: &Server, user_id: u64, mut seq: u64) -> Vec<u64> {
    let mut seqs = Vec::new();
    loop {
        let request = SyncRequest { seq, ..SyncRequest::default() };
        let signed = metadata::signed(request, user_id, user_id * 10, &format!("token-{user_id}"));
        let reply = server.message_ext().sync(signed).await.unwrap().into_inner();
        seqs.extend(reply.messages.iter().map(|message| message.seq));
        seq = seqs.last().copied().unwrap_or(seq);
        if !reply.has_more {
            return seqs;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_syncs_while_messages_are_written_skips_none() {
    let server = Arc::new(server().await);
    let pushers: Vec<_> = (0..6u64)
        .map(|number| {
            let server = server.clone();
            tokio::spawn(async move {
                for round in 0..40 {
                    server.push(&[7, 8 + (number + round) % 5], "x").await;
                }
            })
        })
        .collect();
    let is_done = Arc::new(AtomicBool::new(false));
    let syncer = tokio::spawn({
        let (server, is_done) = (server.clone(), is_done.clone());
        async move {
            let mut seqs: Vec<u64> = vec![0];
            loop {
                let is_last = is_done.load(Ordering::SeqCst);
                // Seq 1 on: with 0 a client asks for what follows its newest ack, and there is none.
                for seq in sync_all(&server, 7, *seqs.last().unwrap()).await {
                    assert_eq!(seq, seqs.last().unwrap() + 1, "no seq is seen before a lower one");
                    seqs.push(seq);
                }
                if is_last {
                    return seqs.len() - 1;
                }
            }
        }
    });
    for pusher in pushers {
        soon(pusher).await.unwrap();
    }
    is_done.store(true, Ordering::SeqCst);
    assert_eq!(soon(syncer).await.unwrap(), 240);
}

#[tokio::test]
async fn a_receiver_whose_node_is_gone_stops_nobody_and_finds_it_by_sync() {
    let server = server().await;
    let mut here = Conn::attach(&server, "conn-1", 1).await;
    here.sign_in(7, 70, 700).await;
    let mut gone = Conn::attach(&server, "conn-2", 1).await;
    gone.sign_in(8, 80, 800).await;
    drop(gone);
    server.push(&[7, 8], "both").await;
    let Item::Push(push) = here.next().await else { panic!("no push") };
    assert_eq!(push.targets[0].connection_ids, [700]);
    assert_eq!(sync_all(&server, 8, 0).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_a_device_that_just_moved_arrives_once_or_is_found_by_sync() {
    let server = Arc::new(server().await);
    let mut first = Conn::attach(&server, "conn-1", 1).await;
    let mut second = Conn::attach(&server, "conn-2", 1).await;
    first.sign_in(7, 70, 700).await;
    let pusher = tokio::spawn({
        let server = server.clone();
        async move {
            for _ in 0..100 {
                server.push(&[7], "x").await;
            }
        }
    });
    while server.store_newest_seq(7).await < 20 {
        tokio::task::yield_now().await;
    }
    // What comes before the answer is a push that overtook it; conn turns that into a hint to sync.
    second.begin_sign_in(7, 70, 900, "token-7").await;
    let mut live: BTreeMap<u64, u64> = BTreeMap::new();
    let mut newest_seq = None;
    soon(pusher).await.unwrap();
    while newest_seq.is_none() || !(newest_seq == Some(100) || live.contains_key(&100)) {
        match second.next().await {
            Item::SignInResult(answer) => newest_seq = Some(answer.newest_seq),
            Item::Push(push) => {
                assert_eq!(push.targets[0].connection_ids, [900]);
                *live.entry(push.targets[0].seq).or_default() += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    for seq in newest_seq.unwrap() + 1..=100 {
        assert_eq!(live.get(&seq), Some(&1), "seq {seq} after the sign-in's {newest_seq:?}");
    }
    assert!(live.values().all(|&count| count == 1));
    assert_eq!(sync_all(&server, 7, 0).await, (1..=100).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_push_that_overtakes_a_sync_shows_that_something_is_missing() {
    let server = server().await;
    for _ in 0..3 {
        server.push(&[7], "missed").await;
    }
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    assert_eq!(conn.sign_in(7, 70, 700).await, 3, "the answer tells how much there is to sync");
    server.push(&[7], "live").await;
    let Item::Push(push) = conn.next().await else { panic!("no push") };
    assert_eq!((push.targets[0].seq, push.targets[0].prev_seq), (4, 3));
    assert_eq!(sync_all(&server, 7, 0).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_synced_message_says_when_it_was_sent_and_not_when_it_is_synced() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(8, 80, 800).await;
    let request = SendRequest {
        target: Some(Target::UserId(8)),
        content: b"hi"[..].into(),
        client_msg_id: "a".into(),
        ..SendRequest::default()
    };
    let sent = server.message_ext().send(metadata::signed(request, 7, 70, "token-7")).await.unwrap().into_inner();
    let Item::Push(push) = conn.next().await else { panic!("no push") };
    let live = Message::decode(push.message).unwrap();
    let server = server.restart().await;
    let later = async {
        while gim_logic::domain::clock::now_ms() < sent.created_at_ms + 1_100 {
            tokio::task::yield_now().await;
        }
    };
    soon(later).await;
    for user_id in [7, 8] {
        let signed = metadata::signed(SyncRequest::default(), user_id, user_id * 10, &format!("token-{user_id}"));
        let synced = server.message_ext().sync(signed).await.unwrap().into_inner().messages;
        let times = |message: &Message| (message.created_at_ms, message.created_at);
        assert_eq!(times(&synced[0]), times(&live));
        assert_eq!(times(&live), (sent.created_at_ms, sent.created_at_ms / 1_000));
    }
}
