//! A group read backwards.

use gim_proto::{
    ResultCode,
    logic::{GroupKind, HistoryReply, HistoryRequest, history_request::Peer},
};
use tonic::Status;

use crate::{
    contract::group::harness::{code, member, signed},
    support::{Server, server},
};

/// One page of a group's history, as a user sees it.
pub async fn history(
    server: &Server,
    user_id: u64,
    group_id: u64,
    before_seq: u64,
    limit: u32,
) -> Result<HistoryReply, Status> {
    let request =
        HistoryRequest { peer: Some(Peer::GroupId(group_id)), before_seq, limit, ..HistoryRequest::default() };
    Ok(server.message_ext().history(signed(user_id, request)).await?.into_inner())
}

/// The seqs of all pages.
async fn read_back(server: &Server, user_id: u64, group_id: u64, limit: u32) -> Vec<u64> {
    let (mut seqs, mut before_seq): (Vec<u64>, u64) = (Vec::new(), 0);
    loop {
        let page = history(server, user_id, group_id, before_seq, limit).await.unwrap();
        assert!(page.messages.iter().all(|message| message.group_id == group_id));
        assert!(page.messages.len() == limit as usize || !page.has_more);
        seqs.extend(page.messages.iter().map(|message| message.group_seq));
        if !page.has_more {
            return seqs;
        }
        before_seq = *seqs.last().unwrap();
    }
}

#[tokio::test]
async fn a_group_is_read_backwards_in_pages_whichever_its_kind() {
    let server = server().await;
    for kind in [GroupKind::GkNormal, GroupKind::GkLarge] {
        let group_id = server.make(kind, &[7, 8]).await;
        let elsewhere = server.make(kind, &[7, 8]).await;
        for number in 0..12 {
            server.say(7 + number % 2, group_id, "text", &format!("{group_id} {number}")).await.unwrap();
            server.say(7, elsewhere, "text", &format!("{elsewhere} {number}")).await.unwrap();
        }
        for limit in [1, 5, 13, 100] {
            assert_eq!(read_back(&server, 8, group_id, limit).await, (1..=13).rev().collect::<Vec<_>>(), "{limit}");
        }
        if kind == GroupKind::GkNormal {
            server.convert(group_id).await;
            server.say(7, group_id, "text", &format!("{group_id} later")).await.unwrap();
            assert_eq!(read_back(&server, 8, group_id, 4).await, (1..=15).rev().collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn who_joins_a_group_reads_what_came_after_and_who_is_not_in_it_nothing() {
    let server = server().await;
    for kind in [GroupKind::GkNormal, GroupKind::GkLarge] {
        let group_id = server.make(kind, &[7, 8]).await;
        server.say(7, group_id, "before", &format!("{group_id} a")).await.unwrap();
        server.add(7, group_id, vec![member(9)]).await.unwrap();
        server.say(7, group_id, "after", &format!("{group_id} b")).await.unwrap();
        assert_eq!(read_back(&server, 9, group_id, 10).await, [4, 3], "from the notice of the joining on");
        assert_eq!(read_back(&server, 8, group_id, 10).await, [4, 3, 2, 1]);

        server.remove(7, group_id, &[8]).await.unwrap();
        assert_eq!(code(history(&server, 8, group_id, 0, 0).await), ResultCode::NotInGroup);
        assert_eq!(code(history(&server, 10, group_id, 0, 0).await), ResultCode::NotInGroup);
        server.add(7, group_id, vec![member(8)]).await.unwrap();
        assert_eq!(read_back(&server, 8, group_id, 10).await, [6], "who comes back starts anew");
    }
    assert_eq!(code(history(&server, 7, 12345, 0, 0).await), ResultCode::NotInGroup);
    assert_eq!(code(history(&server, 7, u64::MAX, 0, 0).await), ResultCode::BadRequest);
}
