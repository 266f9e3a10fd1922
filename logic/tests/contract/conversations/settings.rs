//! What a user sets of conversations: for that user alone, and told to the other devices.

use gim_proto::{
    ResultCode,
    connect::{Message, MessageCommand},
    logic::{
        ConversationPush, ConversationSetRequest, GroupKind, HistoryRequest, conversation::Peer,
        conversation_delete_request as delete_of, conversation_push, conversation_set_request::Peer as Of,
        down_item::Item, history_request::Peer as history_of,
    },
};
use prost::Message as _;

use super::{delete, list, peers, say, send, set, signed, unread};
use crate::support::{business::StubBusiness, conn::Conn, refusal, server, server_with};

const NOTHING: ConversationSetRequest =
    ConversationSetRequest { peer: None, is_pinned: None, is_muted: None, is_marked_unread: None, is_hidden: None };
const PIN: ConversationSetRequest = ConversationSetRequest { is_pinned: Some(true), ..NOTHING };
const HIDE: ConversationSetRequest = ConversationSetRequest { is_hidden: Some(true), ..NOTHING };

#[tokio::test]
async fn pinned_ones_are_apart_and_what_is_not_named_stays() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkLarge, &[8, 7]).await;
    for other in [8, 9, 10] {
        send(&server, other, 7).await;
    }
    set(&server, 7, Of::UserId(8), PIN).await.unwrap();
    set(&server, 7, Of::GroupId(group_id), ConversationSetRequest { is_muted: Some(true), ..PIN }).await.unwrap();
    set(&server, 7, Of::UserId(9), ConversationSetRequest { is_marked_unread: Some(true), ..NOTHING }).await.unwrap();
    let server = server.restart().await;
    for limit in [1, 50] {
        let (pinned, all) = list(&server, 7, limit).await;
        assert_eq!(peers(&pinned), [Peer::GroupId(group_id), Peer::UserId(8)]);
        assert_eq!(peers(&all), [Peer::UserId(10), Peer::UserId(9)]);
        assert!(pinned[0].is_muted && !pinned[1].is_muted && all[1].is_marked_unread && !all[0].is_marked_unread);
    }
    assert!(list(&server, 8, 0).await.0.is_empty(), "nobody else sees it");
    let back = ConversationSetRequest { is_pinned: Some(false), ..NOTHING };
    set(&server, 7, Of::GroupId(group_id), back).await.unwrap();
    let (pinned, all) = list(&server, 7, 0).await;
    assert_eq!((pinned.len(), all.len()), (1, 3));
    assert!(all.iter().any(|one| one.peer == Some(Peer::GroupId(group_id)) && one.is_muted));
}

#[tokio::test]
async fn hidden_ones_come_back_with_a_message_and_deleted_ones_without_the_old() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkNormal, &[8, 7]).await;
    for _ in 0..3 {
        send(&server, 8, 7).await;
        say(&server, 8, group_id).await;
    }
    for hidden in [Of::UserId(8), Of::GroupId(group_id)] {
        set(&server, 7, hidden, HIDE).await.unwrap();
    }
    assert!(list(&server, 7, 0).await.1.is_empty());
    send(&server, 8, 7).await;
    say(&server, 8, group_id).await;
    let counts = [(Peer::GroupId(group_id), 4), (Peer::UserId(8), 4)];
    assert_eq!(unread(&list(&server, 7, 0).await.1), counts);

    set(&server, 7, Of::UserId(8), PIN).await.unwrap();
    for deleted in [delete_of::Peer::UserId(8), delete_of::Peer::GroupId(group_id)] {
        delete(&server, 7, deleted).await.unwrap();
        delete(&server, 7, deleted).await.unwrap();
    }
    assert_eq!(list(&server, 7, 0).await, (vec![], vec![]));
    assert_eq!(list(&server, 8, 0).await.1.len(), 2, "the others keep theirs");
    send(&server, 8, 7).await;
    say(&server, 8, group_id).await;
    for (user_id, peer, count) in [
        (7, history_of::UserId(8), 1),
        (7, history_of::GroupId(group_id), 1),
        (8, history_of::UserId(7), 5),
        (8, history_of::GroupId(group_id), 6),
    ] {
        let request = HistoryRequest { peer: Some(peer), ..HistoryRequest::default() };
        let page = server.message_ext().history(signed(user_id, request)).await.unwrap().into_inner();
        assert_eq!((page.messages.len(), page.has_more), (count, false));
    }
    let (pinned, all) = list(&server, 7, 0).await;
    let counts = [(Peer::GroupId(group_id), 1), (Peer::UserId(8), 1)];
    assert_eq!((pinned.len(), unread(&all)), (0, counts.to_vec()));
}

#[tokio::test]
async fn the_other_devices_of_the_user_are_told_and_nobody_else() {
    let server = server().await;
    send(&server, 8, 7).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    conn.sign_in(7, 71, 701).await;
    conn.sign_in(8, 80, 800).await;
    let told = async |conn: &mut Conn| {
        let Item::Push(push) = conn.next().await else { panic!("no push") };
        let connections: Vec<u64> = push.targets.iter().flat_map(|target| target.connection_ids.clone()).collect();
        assert_eq!(connections, [701], "not the device that did it");
        let message = Message::decode(push.message).unwrap();
        assert_eq!((message.command(), message.is_from_user), (MessageCommand::McConversation, false));
        ConversationPush::decode(message.content).unwrap()
    };
    let peer = Some(conversation_push::Peer::UserId(8));
    set(&server, 7, Of::UserId(8), ConversationSetRequest { is_muted: Some(false), ..PIN }).await.unwrap();
    let pinned = ConversationPush { peer, is_pinned: Some(true), is_muted: Some(false), ..ConversationPush::default() };
    assert_eq!(told(&mut conn).await, pinned);
    delete(&server, 7, delete_of::Peer::UserId(8)).await.unwrap();
    assert_eq!(told(&mut conn).await.deleted_up_to_seq, 1);
}

#[tokio::test]
async fn what_is_no_conversation_of_the_caller_is_refused_and_pins_are_bounded() {
    let server = server_with(StubBusiness::start().await, |settings| settings.conversation.pinned_max = 2).await;
    let group_id = server.make(GroupKind::GkNormal, &[8, 9]).await;
    for other in [8, 9, 10] {
        send(&server, 7, other).await;
    }
    for (peer, code) in [
        (Of::UserId(0), ResultCode::BadRequest),
        (Of::UserId(u64::MAX), ResultCode::BadRequest),
        (Of::UserId(99), ResultCode::BadRequest),
        (Of::GroupId(group_id), ResultCode::NotInGroup),
        (Of::GroupId(99), ResultCode::NotInGroup),
    ] {
        assert_eq!(refusal(set(&server, 7, peer, PIN).await).0, code, "{peer:?}");
        let peer = match peer {
            Of::UserId(id) => delete_of::Peer::UserId(id),
            Of::GroupId(id) => delete_of::Peer::GroupId(id),
        };
        assert_eq!(refusal(delete(&server, 7, peer).await).0, code, "{peer:?}");
    }
    let nobody = server.conversation_ext().set(signed(7, NOTHING)).await;
    assert_eq!(refusal(nobody).0, ResultCode::BadRequest);
    for (other, is_refused) in [(8, false), (9, false), (10, true), (8, false)] {
        assert_eq!(set(&server, 7, Of::UserId(other), PIN).await.is_err(), is_refused);
    }
    let database = server.database().await;
    let statement = "SELECT COUNT(*) FROM conversation_setting WHERE peer_id <> 0";
    let rows: i64 = sqlx::query_scalar(statement).fetch_one(&database.reader).await.unwrap();
    assert_eq!(rows, 2, "what is refused leaves nothing behind");
    database.close().await;
}

#[tokio::test]
async fn a_pin_of_what_is_gone_takes_no_place_and_can_be_taken_off() {
    let server = server_with(StubBusiness::start().await, |settings| settings.conversation.pinned_max = 2).await;
    let groups = [server.make(GroupKind::GkNormal, &[8, 7]).await, server.make(GroupKind::GkLarge, &[8, 7]).await];
    for group_id in groups {
        set(&server, 7, Of::GroupId(group_id), PIN).await.unwrap();
    }
    for other in [8, 9, 10] {
        send(&server, other, 7).await;
    }
    assert_eq!(refusal(set(&server, 7, Of::UserId(8), PIN).await).0, ResultCode::NotAllowed);
    for group_id in groups {
        server.remove(7, group_id, &[7]).await.unwrap();
    }
    let off = ConversationSetRequest { is_pinned: Some(false), ..NOTHING };
    for _ in 0..2 {
        set(&server, 7, Of::GroupId(groups[0]), off).await.unwrap();
    }
    assert_eq!(refusal(set(&server, 7, Of::GroupId(groups[0]), PIN).await).0, ResultCode::NotInGroup);
    assert_eq!(refusal(set(&server, 7, Of::GroupId(99), off).await).0, ResultCode::NotInGroup);
    for (other, is_refused) in [(8, false), (9, false), (10, true)] {
        assert_eq!(set(&server, 7, Of::UserId(other), PIN).await.is_err(), is_refused, "{other}");
    }
    assert_eq!(peers(&list(&server, 7, 0).await.0), [Peer::UserId(9), Peer::UserId(8)]);
}

#[tokio::test]
async fn pins_of_the_same_moment_are_bounded_and_no_conversation_vanishes() {
    let mut server = server_with(StubBusiness::start().await, |settings| settings.conversation.pinned_max = 3).await;
    for other in 11..17 {
        send(&server, other, 7).await;
    }
    let pin = |other| set(&server, 7, Of::UserId(other), PIN);
    let (a, b, c, d, e, f) = tokio::join!(pin(11), pin(12), pin(13), pin(14), pin(15), pin(16));
    assert_eq!([a, b, c, d, e, f].iter().filter(|answer| answer.is_ok()).count(), 3);
    for pinned_max in [3, 1] {
        server.settings.conversation.pinned_max = pinned_max;
        server = server.restart().await;
        for limit in [0, 1] {
            let (pinned, all) = list(&server, 7, limit).await;
            assert_eq!((pinned.len(), all.len()), (pinned_max as usize, 6 - pinned_max as usize));
            assert!(pinned.iter().all(|one| one.is_pinned) && !all.iter().any(|one| one.is_pinned));
        }
    }
}
