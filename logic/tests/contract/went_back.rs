//! A database that goes back to what it was at a backup, and what was done to it before logic runs again.

use gim_config::{service::Running as _, sql::Database};
use gim_logic::store::seqs;
use gim_proto::{
    ResultCode,
    connect::{Message, PacketCommand},
    logic::{
        GroupCursor, GroupKind, GroupMessagePush, PushRoomRequest, SubscribeRoomRequest, SyncReply, SyncRequest,
        down_item::Item,
    },
};
use prost::Message as _;
use sqlx::{AssertSqlSafe, Executor as _};

use super::{
    group::harness::{code, signed},
    store::{harness, sent},
};
use crate::support::{self, Server, backend, conn::Conn, server, soon};

const TABLES: [&str; 12] = [
    "inbox",
    "other_inbox",
    "direct_inbox",
    "message",
    "device_ack",
    "room_seq",
    "chat_group",
    "group_member",
    "group_message",
    "group_receivers",
    "group_cursor",
    "group_device_cursor",
];

const BY: u64 = 1_000_000;

async fn all(database: &Database, statement: impl Fn(&str) -> String) {
    for table in TABLES {
        database.writer.execute(AssertSqlSafe(statement(table))).await.unwrap();
    }
}

async fn back_up(server: &Server) {
    let database = server.database().await;
    all(&database, |table| format!("CREATE TABLE saved_{table} AS SELECT * FROM {table}")).await;
    database.close().await;
}

/// Stops logic, puts the backup back, does what an operator does then, and starts again.
async fn restore(server: Server, raised_by: Option<u64>) -> Server {
    let database = server.database().await;
    let Server { logic, business, data, mut settings, channel } = server;
    drop(channel);
    soon(logic.stop()).await;
    all(&database, |table| format!("DELETE FROM {table}")).await;
    all(&database, |table| format!("INSERT INTO {table} SELECT * FROM saved_{table}")).await;
    database.close().await;
    // A Redis that was emptied.
    settings.shared_state = backend::shared_state();
    if let Some(by) = raised_by {
        let done = gim_logic::raise_seqs(settings.clone(), by).await.unwrap();
        assert_eq!(done, format!("raised the seqs of 1 inboxes, 1 groups and 1 rooms by {by}"));
    }
    support::start(data, business, settings).await
}

/// A device, by the rules of the protocol: what it showed, and its cursors.
struct Device {
    user_id: u64,
    group_id: u64,
    cursor: u64,
    group_cursor: u64,
    shown: Vec<String>,
    /// Knows `start_seq`.
    is_new: bool,
}

impl Device {
    fn new(user_id: u64, group_id: u64, is_new: bool) -> Self {
        Self { user_id, group_id, cursor: 0, group_cursor: 0, shown: Vec::new(), is_new }
    }

    fn show(&mut self, message: &Message) {
        let content = match message.group_id {
            0 => message.content.clone(),
            _ => GroupMessagePush::decode(message.content.clone()).unwrap_or_default().content,
        };
        self.shown.push(String::from_utf8_lossy(&content).into_owned());
    }

    async fn sync(&mut self, server: &Server) {
        loop {
            let group_cursors = vec![GroupCursor { group_id: self.group_id, seq: self.group_cursor }];
            let request =
                SyncRequest { seq: self.cursor, from_start: self.cursor == 0, large_groups: true, group_cursors };
            let reply = server.message_ext().sync(signed(self.user_id, request)).await.unwrap().into_inner();
            if self.is_new {
                self.cursor = self.cursor.max(reply.start_seq);
            }
            for message in &reply.messages {
                assert!(message.seq > self.cursor);
                self.cursor = message.seq;
                self.show(message);
            }
            for message in reply.groups.iter().flat_map(|page| &page.messages) {
                assert!(message.group_seq > self.group_cursor);
                self.group_cursor = message.group_seq;
                self.show(message);
            }
            if !reply.has_more && !reply.groups_have_more {
                return;
            }
        }
    }

    /// A message was pushed.
    async fn take(&mut self, server: &Server, message: &Message) {
        if message.prev_seq == self.cursor {
            self.cursor = message.seq;
            self.show(message);
        } else if message.seq > self.cursor {
            self.sync(server).await;
        }
    }
}

async fn push_room(server: &Server) {
    let push = PushRoomRequest { room_id: 9, command: 5000, is_persist: true, ..PushRoomRequest::default() };
    server.room_int().push_room(push).await.unwrap();
}

/// Seqs of what a room retained after one, for a device that is moved into it.
async fn retained(server: &Server, conn: &mut Conn, seq: u64) -> Vec<u64> {
    let request = SubscribeRoomRequest { user_id: 7, device_id: 70, room_id: 9, seq, from_start: false };
    server.room_int().subscribe_room(request).await.unwrap();
    let moved = loop {
        if let Item::RoomMove(moved) = conn.next().await {
            break moved;
        }
    };
    let retained = moved.subscribed.unwrap_or_default().retained.into_iter();
    retained.map(|encoded| Message::decode(encoded).unwrap().room_seq).collect()
}

#[tokio::test]
async fn what_is_sent_after_a_restore_reaches_every_device_once() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkLarge, &[7, 8]).await;
    let say = async |server: &Server, text: &str| {
        server.say(7, group_id, text, text).await.unwrap();
    };
    server.push(&[7], "kept").await;
    say(&server, "kept in the group").await;
    push_room(&server).await;
    back_up(&server).await;
    let mut devices: Vec<Device> =
        [(7, true), (7, false), (8, true), (8, false)].map(|(user, is_new)| Device::new(user, group_id, is_new)).into();
    for number in 0..9 {
        // The inbox of 8 is younger than the backup.
        server.push(&[7, 8], &format!("lost {number}")).await;
        say(&server, &format!("lost in the group {number}")).await;
        push_room(&server).await;
    }
    for device in &mut devices {
        device.sync(&server).await;
        device.shown.clear();
    }

    let server = restore(server, Some(BY)).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    let mut expected = Vec::new();
    for number in 0..3 {
        let text = format!("new {number}");
        server.push(&[7, 8], &text).await;
        let message = loop {
            if let Item::Push(push) = conn.next().await {
                let mut message = Message::decode(push.message).unwrap();
                let target = &push.targets[0];
                (message.seq, message.prev_seq) = (target.seq, target.prev_seq);
                break message;
            }
        };
        for device in devices.iter_mut().filter(|device| device.user_id == 7) {
            device.take(&server, &message).await;
        }
        expected.push(text);
    }
    say(&server, "new in the group").await;
    expected.push("new in the group".to_owned());
    devices.push(Device::new(7, group_id, true));
    for device in &mut devices {
        device.sync(&server).await;
        device.sync(&server).await;
        let mut shown: Vec<_> = device.shown.iter().filter(|text| text.starts_with("new")).collect();
        shown.sort_unstable();
        assert_eq!(shown, expected.iter().collect::<Vec<_>>(), "user {} (new: {})", device.user_id, device.is_new);
    }
    push_room(&server).await;
    let mut other = Conn::attach(&server, "conn-2", 1).await;
    other.sign_in(7, 70, 701).await;
    let seqs = retained(&server, &mut other, 10).await;
    assert!(seqs.len() == 1 && seqs[0] > BY, "{seqs:?}");
}

#[tokio::test]
async fn who_is_beyond_a_database_that_went_back_is_told_how_far_it_is() {
    let server = server().await;
    let group_id = server.make(GroupKind::GkLarge, &[7]).await;
    server.push(&[7], "kept").await;
    back_up(&server).await;
    for number in 0..9 {
        server.push(&[7], "lost").await;
        server.say(7, group_id, "lost", &number.to_string()).await.unwrap();
    }
    let server = restore(server, None).await;
    let request = SyncRequest { seq: 10, ..SyncRequest::default() };
    assert_eq!(code(server.message_ext().sync(signed(7, request.clone())).await), ResultCode::BeyondNewest);
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    let reply = conn.packet(7, PacketCommand::PcSync as i32, request.encode_to_vec()).await;
    assert_eq!((reply.code, SyncReply::decode(reply.data).unwrap().start_seq), (10_007, 1));
    assert_eq!(reply.message, "seq: 10 is beyond the newest message of the inbox, which is 1");
    let group_cursors = vec![GroupCursor { group_id, seq: 10 }];
    let request = SyncRequest { large_groups: true, group_cursors, ..SyncRequest::default() };
    let reply = conn.packet(7, PacketCommand::PcSync as i32, request.encode_to_vec()).await;
    let groups = SyncReply::decode(reply.data).unwrap().groups;
    assert_eq!((reply.code, groups[0].group_id, groups[0].newest_seq), (10_007, group_id, 1));
}

#[tokio::test]
async fn what_has_no_seq_yet_is_raised_with_all_others() {
    let harness = harness().await;
    let rooms = &harness.store.room_seqs;
    harness.push(&[7]).await;
    let block = rooms.reserve(9).await.unwrap();
    let raised = seqs::raise(&harness.store.database, BY).await.unwrap();
    assert_eq!((raised.inboxes, raised.groups, raised.rooms), (1, 0, 1));
    assert_eq!(harness.store.inboxes.newest_seqs(&[8, 7]).await.unwrap(), [BY, BY + 1]);
    assert_eq!(harness.store.inboxes.newest_seq(8).await.unwrap(), BY);
    // Both in one transaction.
    let held = harness.hold_up(7).await;
    let holding = harness.submit_push(&[7]);
    let (first, second) = (harness.submit_push(&[8, 7]), harness.submit_push(&[8]));
    held.release().await;
    assert_eq!(sent(holding).await.seq, BY + 2);
    assert_eq!((sent(first).await.seq, sent(second).await.seq), (BY + 1, BY + 2));
    assert_eq!(harness.push(&[8]).await.seq, BY + 3);
    assert_eq!(harness.seqs(8).await, [BY + 1, BY + 2, BY + 3]);
    assert_eq!(harness.seqs(7).await, [1, BY + 2, BY + 3]);
    assert_eq!(rooms.reserve(9).await.unwrap(), BY + 2 * block);
    assert_eq!((rooms.reserve(10).await.unwrap(), rooms.reserve(10).await.unwrap()), (BY + block, BY + 2 * block));
    let too_far = seqs::raise(&harness.store.database, seqs::SEQ_MAX).await.unwrap_err().to_string();
    assert!(too_far.ends_with("and 9007199254740991 is the largest"), "{too_far}");
    assert_eq!(harness.store.inboxes.newest_seqs(&[7, 9]).await.unwrap(), [BY + 3, BY], "all or none");
    seqs::raise(&harness.store.database, 5).await.unwrap();
    assert_eq!(harness.store.inboxes.newest_seqs(&[7, 9]).await.unwrap(), [BY + 8, BY + 5]);
}
