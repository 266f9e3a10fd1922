//! History of every kind of conversation: from a number back and on, around a message, from a time on, and how much there is.

use gim_proto::{
    ResultCode,
    connect::{CallRequest, Message, PacketCommand, SendReply, SendRequest, send_request::Target},
    logic::{
        GroupAddMemberRequest, GroupKind, GroupMember, HistoryExtent, HistoryReply, HistoryRequest,
        conversation_delete_request, history_request::Peer,
    },
};
use prost::Message as _;
use tonic::Status;

use super::{delete, say, send, signed};
use crate::support::{Server, conn::Conn, refusal, server};

const MESSAGES: usize = 23;

async fn history(server: &Server, user_id: u64, request: HistoryRequest) -> Result<HistoryReply, Status> {
    Ok(server.message_ext().history(signed(user_id, request)).await?.into_inner())
}

fn of(peer: Peer) -> HistoryRequest {
    HistoryRequest { peer: Some(peer), ..HistoryRequest::default() }
}

/// The number that `before_seq` and `after_seq` mean.
fn number(message: &Message) -> u64 {
    message.seq.max(message.group_seq)
}

fn ids(page: &HistoryReply) -> Vec<u64> {
    page.messages.iter().map(|message| message.message_id).collect()
}

/// One conversation of each kind, with messages of user 8 among others that lie between; in the order in which they were sent.
async fn filled(server: &Server) -> [(Peer, Vec<SendReply>); 3] {
    let normal = server.make(GroupKind::GkNormal, &[8, 7]).await;
    let large = server.make(GroupKind::GkLarge, &[8, 7]).await;
    let mut all = [(Peer::UserId(8), vec![]), (Peer::GroupId(normal), vec![]), (Peer::GroupId(large), vec![])];
    for _ in 0..MESSAGES {
        all[0].1.push(send(server, 8, 7).await);
        send(server, 9, 7).await;
        all[1].1.push(say(server, 8, normal).await);
        all[2].1.push(say(server, 8, large).await);
    }
    all
}

#[tokio::test]
async fn a_conversation_of_any_kind_is_read_back_and_on_in_pages() {
    let server = server().await;
    for (peer, sent) in filled(&server).await {
        let extent = history(&server, 7, HistoryRequest { with_extent: true, limit: 1, ..of(peer) }).await.unwrap();
        let extent = extent.extent.unwrap();
        let is_group = matches!(peer, Peer::GroupId(_));
        assert_eq!(extent.count as usize, MESSAGES + usize::from(is_group), "a group has the notice of its making");
        let (mut back, mut before_seq) = (Vec::new(), 0);
        loop {
            let page = history(&server, 7, HistoryRequest { before_seq, limit: 5, ..of(peer) }).await.unwrap();
            assert!(page.messages.len() <= 5 && !page.has_newer && page.extent.is_none());
            before_seq = page.messages.last().map_or(0, number);
            back.extend(ids(&page));
            if !page.has_more {
                break;
            }
        }
        assert_eq!(before_seq, extent.first_seq);
        let (mut on, mut after_seq) = (Vec::new(), Some(0));
        loop {
            let page = history(&server, 7, HistoryRequest { after_seq, limit: 5, ..of(peer) }).await.unwrap();
            assert!(page.messages.len() <= 5 && !page.has_more);
            after_seq = page.messages.first().map(number);
            on.extend(ids(&page).into_iter().rev());
            if !page.has_newer {
                break;
            }
        }
        assert_eq!(after_seq, Some(extent.last_seq));
        back.reverse();
        assert_eq!(on, back, "{peer:?}");
        let sent: Vec<u64> = sent.iter().map(|sent| sent.message_id).collect();
        assert!(on.ends_with(&sent), "{peer:?}");
    }
}

#[tokio::test]
async fn a_message_is_found_with_its_neighbours_and_a_time_with_what_came_then() {
    let server = server().await;
    for (peer, sent) in filled(&server).await {
        let all: Vec<u64> = sent.iter().map(|sent| sent.message_id).collect();
        let around = |around_message_id, limit| HistoryRequest { around_message_id, limit, ..of(peer) };
        let page = history(&server, 7, around(all[10], 5)).await.unwrap();
        assert_eq!(ids(&page), [all[12], all[11], all[10], all[9], all[8]], "{peer:?}");
        assert!(page.has_more && page.has_newer);
        let page = history(&server, 7, around(all[10], 1)).await.unwrap();
        assert_eq!((ids(&page), page.has_more, page.has_newer), (vec![all[10]], true, true));
        let page = history(&server, 7, around(all[MESSAGES - 1], 4)).await.unwrap();
        assert_eq!((ids(&page), page.has_newer), (vec![all[MESSAGES - 1], all[MESSAGES - 2]], false));
        for message_id in [all[0] - 1, all[3] + 1, 1, 1 << 62] {
            let (code, text) = refusal(history(&server, 7, around(message_id, 3)).await);
            assert_eq!((code, text.starts_with("around_message_id: ")), (ResultCode::BadRequest, true), "{text}");
        }
        for SendReply { created_at_ms: from_ms, .. } in [sent[0], sent[7], sent[MESSAGES - 1]] {
            let page = history(&server, 7, HistoryRequest { from_ms, ..of(peer) }).await.unwrap();
            let expected: Vec<u64> =
                sent.iter().rev().filter(|sent| sent.created_at_ms >= from_ms).map(|sent| sent.message_id).collect();
            let found = ids(&page);
            assert!(found.starts_with(&expected), "{peer:?}");
            let earlier = &page.messages[expected.len()..];
            assert!(earlier.iter().all(|message| message.created_at_ms >= from_ms), "the notice may be as young");
        }
        let page = history(&server, 7, HistoryRequest { from_ms: i64::MAX, ..of(peer) }).await.unwrap();
        assert_eq!(page, HistoryReply::default());
    }
}

#[tokio::test]
async fn history_begins_after_joining_and_after_what_was_deleted() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkLarge, &[8, 9]).await;
    let before = say(&server, 8, group_id).await;
    let members = vec![GroupMember { user_id: 7, ..GroupMember::default() }];
    server.group_int().add_member(GroupAddMemberRequest { group_id, members }).await.unwrap();
    let after = say(&server, 8, group_id).await;
    let peer = Peer::GroupId(group_id);
    for request in [
        HistoryRequest { after_seq: Some(0), with_extent: true, ..of(peer) },
        HistoryRequest { from_ms: 1, with_extent: true, ..of(peer) },
        HistoryRequest { around_message_id: after.message_id, with_extent: true, ..of(peer) },
    ] {
        let page = history(&server, 7, request).await.unwrap();
        let extent = HistoryExtent { count: 2, first_seq: after.seq - 1, last_seq: after.seq };
        assert_eq!((page.messages.len(), page.extent), (2, Some(extent)), "the notice of joining, and one message");
    }
    let hidden = HistoryRequest { around_message_id: before.message_id, ..of(peer) };
    assert_eq!(refusal(history(&server, 7, hidden).await).0, ResultCode::BadRequest);
    delete(&server, 7, conversation_delete_request::Peer::GroupId(group_id)).await.unwrap();
    let page = history(&server, 7, HistoryRequest { from_ms: 1, with_extent: true, ..of(peer) }).await.unwrap();
    assert_eq!((page.messages.len(), page.extent), (0, Some(HistoryExtent::default())));
    assert_eq!(refusal(history(&server, 10, of(peer)).await).0, ResultCode::NotInGroup);
    for (request, field) in [
        (HistoryRequest { before_seq: 1, after_seq: Some(1), ..of(peer) }, "before_seq"),
        (HistoryRequest { around_message_id: 1, from_ms: 1, ..of(peer) }, "before_seq"),
        (HistoryRequest { after_seq: Some(u64::MAX), ..of(peer) }, "after_seq"),
        (HistoryRequest { around_message_id: u64::MAX, ..of(peer) }, "around_message_id"),
        (HistoryRequest { from_ms: -1, ..of(peer) }, "from_ms"),
    ] {
        let (code, text) = refusal(history(&server, 7, request).await);
        assert_eq!((code, text.split(':').next()), (ResultCode::BadRequest, Some(field)));
    }
}

#[tokio::test]
async fn a_page_of_long_messages_fits_a_packet_from_wherever_it_is_read() {
    let server = server().await;
    let mut sent = Vec::new();
    for (number, bytes) in [20_000, 20_000, 25_000, 60_000, 20_000, 20_000, 60_000].into_iter().enumerate() {
        let request = SendRequest {
            target: Some(Target::UserId(7)),
            content: vec![b'x'; bytes].into(),
            client_msg_id: number.to_string(),
            ..SendRequest::default()
        };
        sent.push(server.message_ext().send(signed(8, request)).await.unwrap().into_inner());
    }
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let mut page = async |request: HistoryRequest| {
        let call =
            CallRequest { method: "logic.MessageExtService/History".into(), body: request.encode_to_vec().into() };
        let reply = conn.packet(7, PacketCommand::PcCall as i32, call.encode_to_vec()).await;
        assert_eq!((reply.code, &*reply.message), (0, ""), "{request:?}");
        let page = HistoryReply::decode(reply.data).unwrap();
        (page.messages.iter().map(|message| message.seq).collect::<Vec<_>>(), page.has_more, page.has_newer)
    };
    let peer = Peer::UserId(8);
    assert_eq!(page(HistoryRequest { after_seq: Some(0), ..of(peer) }).await, (vec![2, 1], false, true));
    assert_eq!(page(HistoryRequest { after_seq: Some(2), ..of(peer) }).await, (vec![3], false, true));
    assert_eq!(page(HistoryRequest { after_seq: Some(3), ..of(peer) }).await, (vec![4], false, true));
    let around = |index: usize| HistoryRequest { around_message_id: sent[index].message_id, ..of(peer) };
    assert_eq!(page(around(3)).await, (vec![4], true, true));
    assert_eq!(page(around(4)).await, (vec![6, 5], true, true));
    assert_eq!(page(around(2)).await, (vec![3], true, true));
}
