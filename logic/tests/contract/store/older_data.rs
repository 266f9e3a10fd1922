//! What a service of the version before 0150 had stored, of every kind, and what it answered from that: in its tables, by its statements.

use gim_config::sql::Database;
use gim_logic::{
    domain::message::Message,
    store::{HistoryPart, Limit},
};
use gim_proto::check::ID_MAX;
use sqlx::{AssertSqlSafe, Executor as _, Row as _, any::AnyRow};

use super::{StoreHarness, post, sent};

/// Who writes, and who is in each of the groups.
const USERS: [u64; 6] = [20, 21, 22, 23, 24, 1 << 62];
const GROUPS: [(u64, &[u64]); 2] = [(90, &[20, 21, 22]), (91, &[1 << 62, 23, 20, 24])];

const MESSAGES: u64 = 600;
const FIRST_ID: u64 = 1 << 40;

/// A page of an inbox, with all of it.
const PAGE: &str = "SELECT um.seq, um.message_id, m.command, m.content, m.sender_id, m.created_at_ms, m.status, m.group_id \
                    FROM user_message um JOIN message m ON m.id = um.message_id WHERE um.user_id = ? ORDER BY um.seq";
const HISTORY: &str = "SELECT dm.seq, dm.message_id, m.command, m.content, m.sender_id, m.created_at_ms, m.status, m.group_id \
                       FROM direct_message dm JOIN message m ON m.id = dm.message_id \
                       WHERE dm.user_id = ? AND dm.peer_id = ? ORDER BY dm.seq DESC";
const KEYS: &str =
    "SELECT sender_id, message_id, seq, client_msg_id FROM sent WHERE message_id >= ? ORDER BY message_id";

/// A message as it was answered: seq, id, command, content, sender, time, status, group.
type Answered = (u64, u64, i64, Vec<u8>, u64, i64, i64, u64);

/// Everything that was answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Answers {
    inboxes: Vec<Vec<Answered>>,
    histories: Vec<Vec<Answered>>,
    /// Sender, key, message and its seq.
    keys: Vec<(u64, String, u64, u64)>,
}

#[derive(Default)]
struct Rows {
    messages: Vec<String>,
    inboxes: Vec<String>,
    conversations: Vec<String>,
    keys: Vec<String>,
    timelines: Vec<String>,
    seqs: std::collections::BTreeMap<u64, u64>,
}

impl Rows {
    fn next_seq(&mut self, of: u64) -> u64 {
        let seq = self.seqs.entry(of).or_default();
        *seq += 1;
        *seq
    }

    /// A place in the inbox of each; the first one's seq.
    fn add_places(&mut self, id: u64, user_ids: &[u64]) -> u64 {
        let mut first = 0;
        for (index, user_id) in user_ids.iter().enumerate() {
            let seq = self.next_seq(*user_id);
            self.inboxes.push(format!("({user_id},{seq},{id})"));
            first = if index == 0 { seq } else { first };
        }
        first
    }

    fn add_message(&mut self, id: u64, sender_id: u64, group_id: u64, receivers: &str) {
        self.messages.push(format!("({id},1,X'{id:016x}',{sender_id},{id},0,{group_id},{receivers})"));
    }

    fn add_key(&mut self, id: u64, sender_id: u64, seq: u64) {
        self.keys.push(format!("({sender_id},'{:x} it is',{id},{seq},{id})", id.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    }

    fn add_direct(&mut self, id: u64, sender_id: u64, to: u64) {
        let user_ids = if sender_id == to { vec![to] } else { vec![sender_id, to] };
        let seq = self.add_places(id, &user_ids);
        for user_id in &user_ids {
            let (peer_id, own) = (if *user_id == sender_id { to } else { sender_id }, self.seqs[user_id]);
            self.conversations.push(format!("({user_id},{peer_id},{own},{id})"));
        }
        self.add_message(id, sender_id, 0, "X'0708'");
        self.add_key(id, sender_id, seq);
    }

    fn add_to_group(&mut self, id: u64, (group_id, members): (u64, &[u64])) {
        let seq = self.add_places(id, members);
        let place = self.next_seq(group_id << 8);
        self.timelines.push(format!("({group_id},{place},{id},0)"));
        self.add_message(id, members[0], group_id, "X'0708'");
        self.add_key(id, members[0], seq);
    }

    fn add_push(&mut self, id: u64, to: u64) {
        let seq = self.add_places(id, &[to]);
        self.add_message(id, 0, 0, "NULL");
        if id.is_multiple_of(2) {
            self.add_key(id, 0, seq);
        }
    }
}

/// Stores messages between users, to oneself, to groups, of a service with a key and without, and recalls, all mixed.
pub async fn store(database: &Database) {
    let mut rows = Rows::default();
    for number in 0..MESSAGES {
        // Anything, and the same each time.
        let any = number.wrapping_mul(2_654_435_761) >> 7;
        let (id, pick) = (FIRST_ID + number, |salt: u64| USERS[usize::try_from((any / salt) % 6).unwrap()]);
        match any % 8 {
            0..4 => rows.add_direct(id, pick(8), pick(64)),
            4 => rows.add_to_group(id, GROUPS[0]),
            5 => rows.add_to_group(id, GROUPS[1]),
            _ => rows.add_push(id, pick(8)),
        }
    }
    // The first one is recalled: another place of the same message.
    rows.add_places(FIRST_ID, &USERS[..2]);
    let seqs = rows.seqs.iter().filter(|(of, _)| USERS.contains(of)).map(|(of, seq)| format!("({of},{seq})")).collect();
    for (into, rows) in [
        ("message (id, command, content, sender_id, created_at_ms, status, group_id, receivers)", rows.messages),
        ("user_message (user_id, seq, message_id)", rows.inboxes),
        ("direct_message (user_id, peer_id, seq, message_id)", rows.conversations),
        ("sent (sender_id, client_msg_id, message_id, seq, created_at_ms)", rows.keys),
        ("group_message (group_id, seq, message_id, is_recall)", rows.timelines),
        ("inbox (user_id, seq)", seqs),
    ] {
        let statement = format!("INSERT INTO {into} VALUES {}", rows.join(","));
        database.writer.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    let recall = format!("UPDATE message SET status = 1, content = X'' WHERE id = {FIRST_ID}");
    database.writer.execute(AssertSqlSafe(recall)).await.unwrap();
}

/// By the statements of that version.
pub async fn answered_before(database: &Database) -> Answers {
    let (mut inboxes, mut histories) = (Vec::new(), Vec::new());
    for user_id in USERS {
        let rows = sqlx::query(PAGE).bind(user_id.cast_signed()).fetch_all(&database.reader).await.unwrap();
        inboxes.push(rows.iter().map(answered).collect());
        for peer_id in USERS {
            let query = sqlx::query(HISTORY).bind(user_id.cast_signed()).bind(peer_id.cast_signed());
            histories.push(query.fetch_all(&database.reader).await.unwrap().iter().map(answered).collect());
        }
    }
    let keys = sqlx::query(KEYS).bind(FIRST_ID.cast_signed()).fetch_all(&database.reader).await.unwrap();
    let key = |row: &AnyRow| (number(row, 0), text(row, 3), number(row, 1), number(row, 2));
    Answers { inboxes, histories, keys: keys.iter().map(key).collect() }
}

/// The same by this version: every key is sent again.
pub async fn answered_now(harness: &StoreHarness, before: &Answers) -> Answers {
    let (mut inboxes, mut histories) = (Vec::new(), Vec::new());
    let all = Limit::messages(100_000);
    let answered = |messages: Vec<(u64, Message)>| messages.into_iter().map(answered_as).collect();
    for user_id in USERS {
        inboxes.push(answered(harness.store.inboxes.page(user_id, 0, all).await.unwrap()));
        for peer_id in USERS {
            let part = HistoryPart::before(ID_MAX);
            histories.push(answered(harness.store.inboxes.history(user_id, peer_id, part, all).await.unwrap()));
        }
    }
    let mut keys = Vec::new();
    for (sender_id, key, ..) in &before.keys {
        let again = sent(harness.writer.submit_post(post(*sender_id, &[*sender_id, 20], Some(key))).unwrap()).await;
        assert!(again.is_duplicate, "{sender_id} {key}");
        keys.push((*sender_id, key.clone(), again.message_id, again.seq));
    }
    Answers { inboxes, histories, keys }
}

fn answered(row: &AnyRow) -> Answered {
    (number(row, 0), number(row, 1), row.get(2), row.get(3), number(row, 4), row.get(5), row.get(6), number(row, 7))
}

fn answered_as((seq, message): (u64, Message)) -> Answered {
    let Message { id, command, content, sender_id, created_at_ms, status, group_id } = message;
    (seq, id, command.into(), content.into(), sender_id, created_at_ms, status.into(), group_id)
}

fn number(row: &AnyRow, index: usize) -> u64 {
    row.get::<i64, _>(index).cast_unsigned()
}

/// Of a column that is bytes in MySQL.
fn text(row: &AnyRow, index: usize) -> String {
    row.try_get(index).unwrap_or_else(|_| String::from_utf8(row.get(index)).unwrap())
}
