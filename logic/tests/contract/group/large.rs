//! Large groups: one timeline for all.

use gim_logic::domain::clock;
use gim_proto::{
    ResultCode,
    connect::{self, PacketCommand},
    logic::{
        GroupAddMemberRequest, GroupCursor, GroupKind, GroupMemberships, GroupPush, GroupPushRequest, LiveConnection,
        MessageAckRequest, RemoveGroupMemberPush, SyncReply, SyncRequest, down_item::Item,
    },
};
use prost::Message as _;

use crate::{
    contract::group::harness::{code, member, send_to, signed},
    support::{Server, business::StubBusiness, conn::Conn, server, server_with},
};

async fn group_push(conn: &mut Conn) -> (GroupPush, connect::Message) {
    match conn.next().await {
        Item::GroupPush(push) => {
            let message = connect::Message::decode(push.message.clone()).unwrap();
            (push, message)
        }
        other => panic!("{other:?}"),
    }
}

async fn memberships(conn: &mut Conn) -> GroupMemberships {
    match conn.next().await {
        Item::GroupMemberships(memberships) => memberships,
        other => panic!("{other:?}"),
    }
}

fn seqs(messages: &[connect::Message]) -> Vec<u64> {
    messages.iter().map(|message| message.group_seq).collect()
}

#[tokio::test]
async fn a_send_costs_no_copies_and_an_offline_member_finds_it() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkLarge, &[7, 8]).await;
    let first = server.say(7, group_id, "hello", "a").await.unwrap();
    assert_eq!(first.seq, 2, "of the group: the notice of its members came before");
    let again = server.say(7, group_id, "hello", "a").await.unwrap();
    assert_eq!(again, connect::SendReply { duplicate: true, ..first });
    assert!(server.inbox(8).await.is_empty() && server.inbox(7).await.is_empty(), "nobody has a copy");
    let timeline = server.timeline(8, group_id, 0).await;
    assert_eq!(seqs(&timeline), [1, 2]);
    let message = &timeline[1];
    assert_eq!((message.message_id, message.group_id, message.prev_group_seq), (first.message_id, group_id, 1));
    assert_eq!(code(server.say(9, group_id, "hi", "b").await), ResultCode::NotInGroup);
    assert!(server.group_pages(9, &[(group_id, 0)]).await.unwrap().0.is_empty(), "who is not in it sees nothing");
}

#[tokio::test]
async fn every_node_gets_a_message_once_and_knows_whose_it_is() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkLarge, &[7, 8]).await;
    let mut first = Conn::attach(&server, "conn-1", 1).await;
    let mut second = Conn::attach(&server, "conn-2", 1).await;
    let result = first.try_sign_in(7, 70, 700, "token-7").await;
    assert_eq!(result.large_group_ids, [group_id]);
    assert!(second.try_sign_in(9, 90, 900, "token-9").await.large_group_ids.is_empty());

    let request_no =
        first.begin_packet(7, PacketCommand::PcSend as i32, send_to(group_id, "hi", "a").encode_to_vec()).await;
    let (mut reply, mut push) = (None, None);
    while reply.is_none() || push.is_none() {
        match first.next().await {
            Item::PacketReply(item) => reply = Some(item),
            Item::GroupPush(item) => push = Some(item),
            other => panic!("{other:?}"),
        }
    }
    let (reply, push) = (reply.unwrap(), push.unwrap());
    assert_eq!((reply.request_no, reply.code), (request_no, 0), "{}", reply.message);
    let sent = connect::SendReply::decode(reply.data).unwrap();
    assert_eq!((push.group_id, push.seq, push.origin_device_id), (group_id, 2, 70));
    let message = connect::Message::decode(push.message.clone()).unwrap();
    assert_eq!((message.group_id, message.group_seq, message.prev_group_seq), (group_id, 2, 1));
    assert_eq!((message.seq, message.prev_seq), (0, 0), "in no inbox");
    assert_eq!((message.message_id, sent.seq), (sent.message_id, 2));
    assert_eq!(group_push(&mut second).await.0.message, push.message, "the same bytes, whoever is there");

    server.push_passing(group_id).await;
    assert_eq!(group_push(&mut first).await.0.seq, 0, "what is not persisted has no place in the timeline");
    assert_eq!(seqs(&server.timeline(8, group_id, 0).await), [1, 2]);
}

impl Server {
    async fn push_passing(&self, group_id: u64) {
        let request = GroupPushRequest {
            group_id,
            command: 3000,
            content: b"x"[..].into(),
            is_persist: false,
            ..GroupPushRequest::default()
        };
        self.group_int().push(request).await.unwrap();
    }
}

#[tokio::test]
async fn who_joins_or_leaves_online_is_known_before_the_next_message() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkLarge, &[7]).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(8, 80, 800).await;
    conn.sign_in(8, 81, 801).await;
    server.say(7, group_id, "before", "a").await.unwrap();
    assert_eq!(group_push(&mut conn).await.1.group_seq, 2);

    server.add(7, group_id, vec![member(8)]).await.unwrap();
    let mut joined = memberships(&mut conn).await;
    joined.joined_connection_ids.sort_unstable();
    assert_eq!((joined.group_id, &joined.joined_connection_ids[..]), (group_id, &[800, 801][..]));
    assert_eq!(group_push(&mut conn).await.1.command, 121);
    assert_eq!(seqs(&server.timeline(8, group_id, 0).await), [3], "from the joining on, the notice of it included");

    server.remove(7, group_id, &[8]).await.unwrap();
    let mut left = memberships(&mut conn).await;
    left.left_connection_ids.sort_unstable();
    assert_eq!((&left.left_connection_ids[..], left.joined_connection_ids.len()), (&[800, 801][..], 0));
    let Item::Push(push) = conn.next().await else { panic!("no push into the inbox") };
    let notice = connect::Message::decode(push.message).unwrap();
    assert_eq!((notice.command, notice.group_id), (122, group_id));
    assert_eq!(RemoveGroupMemberPush::decode(notice.content).unwrap().deleted_user_id, 8);
    assert_eq!(group_push(&mut conn).await.1.command, 122, "for those who are still there");
    assert_eq!(server.inbox(8).await.len(), 1, "who is out of the timeline finds it in the inbox");
    assert!(server.group_pages(8, &[]).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn a_node_that_comes_back_is_told_what_changed_and_how_far_groups_got() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkLarge, &[7, 8]).await;
    let left = server.make(GroupKind::GkLarge, &[7, 8]).await;
    server.remove(7, left, &[8]).await.unwrap();
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    // After this push, all that the groups were told before is behind us.
    conn.sign_in(9, 90, 900).await;
    server.push(&[9], "marker").await;
    while !matches!(conn.next().await, Item::Push(_)) {}
    let live = |user_id, connection_id, large_group_ids| LiveConnection {
        connection_id,
        user_id,
        device_id: user_id * 10,
        since_ms: clock::now_ms(),
        large_group_ids,
        ..LiveConnection::default()
    };
    conn.announce(&[live(7, 700, vec![]), live(8, 800, vec![group_id, left])]).await;
    let first = memberships(&mut conn).await;
    assert_eq!((first.group_id, &first.joined_connection_ids[..]), (group_id, &[700][..]));
    let second = memberships(&mut conn).await;
    assert_eq!((second.group_id, &second.left_connection_ids[..]), (left, &[800][..]));
    assert_eq!(second.joined_connection_ids, [700]);
    let Item::GroupHeads(news) = conn.next().await else { panic!("no news") };
    let mut newest: Vec<_> = news.groups.iter().map(|group| (group.group_id, group.newest_seq)).collect();
    newest.sort_unstable();
    assert_eq!(newest, [(group_id, 1), (left, 2)]);
}

#[tokio::test]
async fn timelines_are_synced_in_pages_from_the_cursor_or_the_ack() {
    let server = server().await;
    let busy = server.make(GroupKind::GkLarge, &[7, 8]).await;
    let quiet = server.make(GroupKind::GkLarge, &[7, 8]).await;
    for number in 0..120 {
        server.say(7, busy, "text", &number.to_string()).await.unwrap();
    }
    let (pages, has_more) = server.group_pages(8, &[]).await.unwrap();
    assert_eq!(
        pages.iter().map(|page| (page.group_id, page.messages.len())).collect::<Vec<_>>(),
        [(busy, 50), (quiet, 1)]
    );
    assert!(has_more && pages[0].has_more && !pages[1].has_more);
    assert_eq!((pages[0].newest_seq, seqs(&pages[0].messages)), (121, (1..=50).collect::<Vec<_>>()));
    assert_eq!(seqs(&server.timeline(8, busy, 0).await), (1..=121).collect::<Vec<_>>());

    let ack = async |user_id, device_ack, acks: &[(u64, u64)]| {
        let group_acks = acks.iter().map(|&(group_id, seq)| GroupCursor { group_id, seq }).collect();
        server.message_ext().message_ack(signed(user_id, MessageAckRequest { device_ack, group_acks })).await
    };
    ack(8, 0, &[(busy, 119), (quiet, 1)]).await.unwrap();
    ack(8, 0, &[(busy, 100)]).await.unwrap();
    let (pages, has_more) = server.group_pages(8, &[]).await.unwrap();
    assert_eq!((pages.len(), seqs(&pages[0].messages), has_more), (1, vec![120, 121], false), "acks only rise");
    let (pages, _) = server.group_pages(8, &[(busy, 121), (12345, 1)]).await.unwrap();
    assert!(pages.is_empty(), "a group that the user is not in is passed over");
    let request = SyncRequest { large_groups: true, from_start: true, ..SyncRequest::default() };
    let pages = server.message_ext().sync(signed(8, request)).await.unwrap().into_inner().groups;
    let firsts: Vec<u64> = pages.iter().map(|page| page.messages[0].group_seq).collect();
    assert_eq!(firsts, [1, 1], "a device that has nothing is not bound by what others acknowledged");

    server.push(&[8], "of the inbox").await;
    ack(8, 1, &[(12345, 1)]).await.unwrap();
    ack(8, 0, &[(12345, 1), (busy, 120)]).await.unwrap();
    let (pages, _) = server.group_pages(8, &[]).await.unwrap();
    assert_eq!(seqs(&pages[0].messages), [121], "an ack of a group that was left holds up no other");

    assert_eq!(code(ack(8, 0, &[(busy, 122)]).await), ResultCode::BeyondNewest);
    assert_eq!(code(ack(9, 0, &[(busy, 1)]).await), ResultCode::NotInGroup);
    assert_eq!(code(ack(8, 0, &[]).await), ResultCode::BadRequest);
    assert_eq!(code(server.group_pages(8, &[(busy, 122)]).await), ResultCode::BeyondNewest);
    assert_eq!(code(server.group_pages(8, &[(busy, u64::MAX)]).await), ResultCode::BadRequest);
}

#[tokio::test]
async fn a_user_of_many_large_groups_gets_what_is_new_in_bounded_replies() {
    const GROUPS: usize = 150;
    let server = server().await;
    let mut group_ids = Vec::new();
    for _ in 0..GROUPS {
        group_ids.push(server.make(GroupKind::GkLarge, &[7, 8]).await);
    }
    let (first, has_more) = server.group_pages(8, &[]).await.unwrap();
    assert!(has_more && first.len() < GROUPS, "{}", first.len());
    let cursors: Vec<(u64, u64)> = first.iter().map(|page| (page.group_id, page.newest_seq)).collect();
    let (rest, has_more) = server.group_pages(8, &cursors).await.unwrap();
    assert!(!has_more);
    let got: Vec<u64> = first.iter().chain(&rest).map(|page| page.group_id).collect();
    assert_eq!(got, group_ids, "each of them once, in their order");
}

#[tokio::test]
async fn a_page_over_the_long_connection_fits_its_packet() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkLarge, &[7, 8]).await;
    let other = server.make(GroupKind::GkLarge, &[7, 8]).await;
    for number in 0..5 {
        server.say(7, group_id, &"x".repeat(25_000), &format!("a{number}")).await.unwrap();
        server.say(7, other, &"x".repeat(25_000), &format!("b{number}")).await.unwrap();
        server.push(&[8], &"x".repeat(10_000)).await;
    }
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(8, 80, 800).await;
    let (mut seq, mut cursors) = (0, std::collections::BTreeMap::from([(group_id, 0), (other, 0)]));
    loop {
        let group_cursors = cursors.iter().map(|(&group_id, &seq)| GroupCursor { group_id, seq }).collect();
        let request = SyncRequest { seq, large_groups: true, group_cursors, from_start: false };
        let reply = conn.packet(8, PacketCommand::PcSync as i32, request.encode_to_vec()).await;
        assert!(reply.data.len() < 64 * 1024, "{}", reply.data.len());
        let page = SyncReply::decode(reply.data).unwrap();
        let former = (seq, cursors.clone());
        seq = page.messages.last().map_or(seq, |message| message.seq);
        for group in &page.groups {
            let cursor = cursors.get_mut(&group.group_id).unwrap();
            for message in &group.messages {
                assert_eq!((message.prev_group_seq, message.group_seq), (*cursor, *cursor + 1));
                *cursor = message.group_seq;
            }
        }
        if !page.has_more && !page.groups_have_more {
            break;
        }
        assert_ne!(former, (seq, cursors.clone()), "every page goes on");
    }
    assert_eq!((seq, cursors.into_values().collect::<Vec<_>>()), (5, vec![6, 6]));
}

/// One send into a group of 100,000, all of them online on two nodes: one row, one item per node, found by who was away.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_a_hundred_thousand_costs_one_row_and_one_item_per_node() {
    const MEMBERS: u64 = 100_000;
    let server = server_with(StubBusiness::only_auth().await, |_| ()).await;
    let group_id = server.make(GroupKind::GkLarge, &[7]).await;
    let mut nodes = [Conn::attach(&server, "conn-1", 1).await, Conn::attach(&server, "conn-2", 1).await];
    for (index, conn) in nodes.iter_mut().enumerate() {
        let mine = (1000..1000 + MEMBERS).filter(|user_id| *user_id as usize % 2 == index);
        let live = |user_id| LiveConnection {
            connection_id: user_id,
            user_id,
            device_id: user_id,
            since_ms: clock::now_ms(),
            large_group_ids: vec![],
            ..LiveConnection::default()
        };
        let connections: Vec<LiveConnection> = mine.map(live).collect();
        for part in connections.chunks(1_000) {
            conn.announce(part).await;
        }
        // A reply that comes after all that: the routes are there.
        let marker = conn.begin_packet(7, 999, Vec::new()).await;
        while !matches!(conn.next().await, Item::PacketReply(reply) if reply.request_no == marker) {}
    }
    for first in (1000..1000 + MEMBERS).step_by(10_000) {
        let members = (first..first + 10_000).map(member).collect();
        server.group_int().add_member(GroupAddMemberRequest { group_id, members }).await.unwrap();
    }
    let rows_before = server.rows().await;
    let sent = server.say(7, group_id, "to all", "a").await.unwrap();
    let rows = server.rows().await;
    assert_eq!((rows.0 - rows_before.0, rows.1 - rows_before.1, rows.2 - rows_before.2), (1, 1, 0));

    for conn in &mut nodes {
        let (mut joined, mut pushes) = (0, 0);
        loop {
            match conn.next().await {
                Item::GroupMemberships(memberships) => joined += memberships.joined_connection_ids.len() as u64,
                Item::GroupPush(push) if push.seq == sent.seq => break pushes += 1,
                Item::GroupPush(_) | Item::NewestSeq(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((joined, pushes), (MEMBERS / 2, 1), "every online member is told, and one item serves them all");
    }
    let last = server.timeline(1000, group_id, sent.seq - 1).await;
    assert_eq!((last.len(), last[0].message_id), (1, sent.message_id));
    let group = gim_proto::logic::GroupGetRequest { group_id };
    let group = server.group_int().get(group).await.unwrap().into_inner().group.unwrap();
    assert_eq!(u64::from(group.member_count), MEMBERS + 1);
}

impl Server {
    /// How many rows there are: messages, places in timelines, copies in inboxes.
    async fn rows(&self) -> (i64, i64, i64) {
        let database = self.database().await;
        let count = async |table: &str| -> i64 {
            let query = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
            sqlx::query_scalar(query).fetch_one(&database.reader).await.unwrap()
        };
        let rows = (count("message").await, count("group_message").await, count("other_inbox").await);
        database.close().await;
        rows
    }
}
