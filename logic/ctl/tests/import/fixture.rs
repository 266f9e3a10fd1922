//! A gim as it would be after some weeks: its tables and its keys in Redis, made anew from a seed.

use std::{collections::BTreeMap, fmt::Write as _};

use gim_config::testing;
use gim_proto::logic::{GroupMessagePush, User, UserMessagePush};
use prost::Message as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, MySqlConnection, mysql::MySqlConnectOptions};
use tokio::sync::OnceCell;

pub const SEED: u64 = 18;
pub const USERS: u64 = 10;
pub const MESSAGES: u64 = 100_000;
pub const FIRST_USER: u64 = 10_000;
pub const FIRST_DEVICE: u64 = 20_000;
pub const GROUP: u64 = 10_000;
const FIRST_MESSAGE: u64 = 10_000;
/// A number of Redis' databases that no other test uses.
const REDIS_DATABASE: u32 = 7;
/// 2025-11-01 08:00 in the zone that gim wrote its times in, as Unix seconds.
const BEGAN_S: u64 = 1_761_955_200;
const ZONE_S: u64 = 8 * 3_600;
/// Rows of one statement.
const ROWS: usize = 1_000;

/// What nobody would choose, and somebody does.
pub const ODD: &str = "Zoë 🍣 '\"\\%_`;-- \u{0}\u{200d}李";

/// Whose inbox was emptied.
pub const PRUNED_USER: u64 = 90_001;

/// What stands at a place of an inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboxEntry {
    /// A message: when it was sent, and what it says.
    Message { created_at_s: i64, command: i32, content: Vec<u8> },
    /// Nothing: gim skipped it, or the message is gone.
    Nothing,
}

pub struct Fixture {
    pub mysql: String,
    pub redis: String,
    /// Of each user, by seq.
    pub inboxes: BTreeMap<u64, BTreeMap<u64, InboxEntry>>,
    /// Of each user.
    pub acks: BTreeMap<u64, u64>,
}

pub async fn shared() -> &'static Fixture {
    static FIXTURE: OnceCell<Fixture> = OnceCell::const_new();
    FIXTURE.get_or_init(Fixture::make).await
}

pub fn token(user_id: u64) -> String {
    format!("token-of-{user_id}")
}

pub fn phone_number(user_id: u64) -> String {
    format!("+86{user_id}")
}

pub fn device_of(user_id: u64) -> u64 {
    FIRST_DEVICE + user_id - FIRST_USER
}

impl Fixture {
    async fn make() -> Self {
        let mysql = testing::mysql_database();
        let (server, name) = mysql.rsplit_once('/').unwrap();
        let options: MySqlConnectOptions = server.parse().unwrap();
        let mut connection = options.timezone(None::<String>).connect().await.unwrap();
        run(&mut connection, &format!("CREATE DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")).await;
        run(&mut connection, &format!("USE `{name}`")).await;
        for table in TABLES {
            run(&mut connection, table).await;
        }
        people(&mut connection).await;
        let inboxes = messages(&mut connection).await;
        let acks = acks(&mut connection, &inboxes).await;
        let (redis, _) = testing::redis();
        let redis = format!("{redis}/{REDIS_DATABASE}");
        tokens(&redis).await;
        Self { mysql, redis, inboxes, acks }
    }

    /// How many places gim skipped, or lost the message of.
    pub fn without_message(&self) -> u64 {
        let nothing = self.inboxes.values().flat_map(BTreeMap::values).filter(|place| **place == InboxEntry::Nothing);
        nothing.count() as u64
    }

    pub fn newest_seq(&self, user_id: u64) -> u64 {
        self.inboxes[&user_id].last_key_value().map_or(0, |(seq, _)| *seq)
    }
}

const TABLES: [&str; 9] = [
    "CREATE TABLE `user` (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, created_at DATETIME NOT NULL, \
     updated_at DATETIME NOT NULL, phone_number VARCHAR(20) NOT NULL UNIQUE, nickname VARCHAR(20) NOT NULL, \
     sex TINYINT NOT NULL, avatar_url VARCHAR(256) NOT NULL, extra VARCHAR(1024) NOT NULL) ENGINE = InnoDB",
    "CREATE TABLE device (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, created_at DATETIME NOT NULL, \
     updated_at DATETIME NOT NULL, user_id BIGINT UNSIGNED NOT NULL DEFAULT 0, type TINYINT NOT NULL, \
     brand VARCHAR(20) NOT NULL, model VARCHAR(20) NOT NULL, system_version VARCHAR(10) NOT NULL, \
     sdk_version VARCHAR(10) NOT NULL, brand_push_id VARCHAR(255) NOT NULL, connect_ip VARCHAR(20) NOT NULL, \
     client_addr VARCHAR(25) NOT NULL) ENGINE = InnoDB",
    "CREATE TABLE device_ack (device_id BIGINT UNSIGNED NOT NULL PRIMARY KEY, created_at DATETIME NOT NULL, \
     updated_at DATETIME NOT NULL, user_id BIGINT UNSIGNED NOT NULL, ack BIGINT UNSIGNED NOT NULL) ENGINE = InnoDB",
    "CREATE TABLE friend (user_id BIGINT UNSIGNED NOT NULL, friend_id BIGINT UNSIGNED NOT NULL, \
     created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL, remarks VARCHAR(20) NOT NULL, \
     extra VARCHAR(1024) NOT NULL, status TINYINT NOT NULL, PRIMARY KEY (user_id, friend_id)) ENGINE = InnoDB",
    "CREATE TABLE `group` (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, created_at DATETIME NOT NULL, \
     updated_at DATETIME NOT NULL, name VARCHAR(50) NOT NULL, avatar_url VARCHAR(255) NOT NULL, \
     introduction VARCHAR(255) NOT NULL, extra VARCHAR(1024) NOT NULL) ENGINE = InnoDB",
    "CREATE TABLE group_member (group_id BIGINT UNSIGNED NOT NULL, user_id BIGINT UNSIGNED NOT NULL, \
     created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL, nickname VARCHAR(255) NOT NULL, type TINYINT NOT NULL, \
     status TINYINT NOT NULL, extra VARCHAR(1024) NOT NULL, PRIMARY KEY (group_id, user_id)) ENGINE = InnoDB",
    "CREATE TABLE message (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, created_at DATETIME NOT NULL, \
     updated_at DATETIME NOT NULL, request_id VARCHAR(36) NOT NULL, command INT NOT NULL, content BLOB NOT NULL) \
     ENGINE = InnoDB PARTITION BY HASH (id) PARTITIONS 8",
    "CREATE TABLE user_message (user_id BIGINT UNSIGNED NOT NULL, seq BIGINT UNSIGNED NOT NULL, \
     created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL, message_id BIGINT UNSIGNED NOT NULL, \
     PRIMARY KEY (user_id, seq)) ENGINE = InnoDB",
    "CREATE TABLE seq (object_type TINYINT NOT NULL, object_id BIGINT UNSIGNED NOT NULL, seq BIGINT UNSIGNED NOT NULL, \
     UNIQUE KEY (object_type, object_id)) ENGINE = InnoDB",
];

const NOW: &str = "'2025-12-01 08:00:00','2025-12-01 08:00:01'";

async fn run(connection: &mut MySqlConnection, sql: &str) {
    connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap_or_else(|error| panic!("{error}: {sql:.200}"));
}

fn text(value: &str) -> String {
    format!("CONVERT(0x{} USING utf8mb4)", hex(value.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

async fn people(connection: &mut MySqlConnection) {
    let odd = text(ODD);
    for user_id in FIRST_USER..FIRST_USER + USERS {
        let phone_number = phone_number(user_id);
        run(
            connection,
            &format!("INSERT INTO `user` VALUES ({user_id}, {NOW}, '{phone_number}', {odd}, 1, 'avatar', {odd})"),
        )
        .await;
        let device_id = device_of(user_id);
        run(
            connection,
            &format!(
                "INSERT INTO device VALUES ({device_id}, {NOW}, {user_id}, 2, 'b', {odd}, '1', '2', 'push', '', '')"
            ),
        )
        .await;
    }
    run(connection, &format!("INSERT INTO device VALUES (29999, {NOW}, 0, 1, 'b', 'm', '1', '2', '', '', '')")).await;
    for (user_id, friend_id, status) in
        [(10_000, 10_001, 2), (10_001, 10_000, 2), (10_002, 10_003, 1), (10_004, 10_005, 2)]
    {
        run(connection, &format!("INSERT INTO friend VALUES ({user_id}, {friend_id}, {NOW}, {odd}, 'e', {status})"))
            .await;
    }
    run(connection, &format!("INSERT INTO `group` VALUES ({GROUP}, {NOW}, {odd}, 'a', 'i', 'e')")).await;
    for (user_id, member_type) in [(10_000, 1), (10_001, 2), (10_002, 2)] {
        run(
            connection,
            &format!("INSERT INTO group_member VALUES ({GROUP}, {user_id}, {NOW}, {odd}, {member_type}, 3, 'e')"),
        )
        .await;
    }
}

/// Rows that are inserted many at once.
struct Rows {
    table: &'static str,
    rows: Vec<String>,
}

impl Rows {
    async fn add(&mut self, connection: &mut MySqlConnection, row: String) {
        self.rows.push(row);
        if self.rows.len() >= ROWS {
            self.flush(connection).await;
        }
    }

    async fn flush(&mut self, connection: &mut MySqlConnection) {
        if !self.rows.is_empty() {
            run(connection, &format!("INSERT INTO {} VALUES {}", self.table, self.rows.join(","))).await;
            self.rows.clear();
        }
    }
}

async fn messages(connection: &mut MySqlConnection) -> BTreeMap<u64, BTreeMap<u64, InboxEntry>> {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut inboxes: BTreeMap<u64, BTreeMap<u64, InboxEntry>> = BTreeMap::new();
    let mut seqs: BTreeMap<u64, u64> = BTreeMap::from([(FIRST_USER + 3, 2)]);
    let (mut messages, mut places) =
        (Rows { table: "message", rows: Vec::new() }, Rows { table: "user_message", rows: Vec::new() });
    for number in 0..MESSAGES {
        let (id, created_at_s) = (FIRST_MESSAGE + number, BEGAN_S + number / 40);
        let (command, content, receivers) = message(&mut random, number);
        let at = format!("'1970-01-01 00:00:00' + INTERVAL {} SECOND", created_at_s + ZONE_S);
        messages.add(connection, format!("({id},{at},{at},'r',{command},0x{})", hex(&content))).await;
        for user_id in receivers {
            let seq = seqs.entry(user_id).or_default();
            *seq += if random.random_range(0..50) == 0 { 2 } else { 1 };
            places.add(connection, format!("({user_id},{seq},{at},{at},{id})")).await;
            let place = InboxEntry::Message { created_at_s: created_at_s as i64, command, content: content.clone() };
            inboxes.entry(user_id).or_default().insert(*seq, place);
        }
    }
    messages.flush(connection).await;
    places.flush(connection).await;
    *seqs.get_mut(&(FIRST_USER + 4)).unwrap() += 2;
    for (user_id, seq) in &seqs {
        run(connection, &format!("INSERT INTO seq VALUES (1, {user_id}, {seq})")).await;
        let inbox = inboxes.get_mut(user_id).unwrap();
        for seq in 1..=*seq {
            inbox.entry(seq).or_insert(InboxEntry::Nothing);
        }
    }
    // An inbox of which gim's owner deleted everything, long ago: what comes next comes after what its clients have.
    run(connection, &format!("INSERT INTO seq VALUES (1, {PRUNED_USER}, 5000)")).await;
    inboxes.insert(PRUNED_USER, BTreeMap::from([(5_000, InboxEntry::Nothing)]));
    run(connection, &format!("INSERT INTO seq VALUES (2, {GROUP}, 5)")).await;
    // A place whose message is gone.
    let last = seqs[&FIRST_USER] + 1;
    run(connection, &format!("INSERT INTO user_message VALUES ({FIRST_USER}, {last}, {NOW}, 999999999)")).await;
    run(connection, &format!("UPDATE seq SET seq = {last} WHERE object_type = 1 AND object_id = {FIRST_USER}")).await;
    inboxes.get_mut(&FIRST_USER).unwrap().insert(last, InboxEntry::Nothing);
    inboxes
}

/// Its command, its content, and who gets it.
fn message(random: &mut StdRng, number: u64) -> (i32, Vec<u8>, Vec<u64>) {
    let from = FIRST_USER + random.random_range(0..USERS);
    let from_user = Some(User { user_id: from, nickname: ODD.into(), ..User::default() });
    let said = format!("{number} {ODD}").into_bytes();
    if number.is_multiple_of(97) {
        let push = GroupMessagePush { from_user, group_id: GROUP, content: said.into() };
        return (2, push.encode_to_vec(), (FIRST_USER..FIRST_USER + 3).collect());
    }
    let to = FIRST_USER + (from - FIRST_USER + random.random_range(1..USERS)) % USERS;
    let push = UserMessagePush { from_user, to_user_id: to, content: said.into() };
    (1, push.encode_to_vec(), vec![from, to])
}

async fn acks(
    connection: &mut MySqlConnection,
    inboxes: &BTreeMap<u64, BTreeMap<u64, InboxEntry>>,
) -> BTreeMap<u64, u64> {
    let mut acks = BTreeMap::new();
    for (&user_id, inbox) in inboxes {
        let ack = inbox.len() as u64 / 2;
        let device_id = device_of(user_id);
        run(connection, &format!("INSERT INTO device_ack VALUES ({device_id}, {NOW}, {user_id}, {ack})")).await;
        acks.insert(user_id, ack);
    }
    acks
}

async fn tokens(redis: &str) {
    let mut connection = redis::Client::open(redis).unwrap().get_multiplexed_async_connection().await.unwrap();
    let far = 4_000_000_000_i64;
    for user_id in FIRST_USER..FIRST_USER + USERS {
        let expire = if user_id == FIRST_USER + 9 { 1_764_547_200 } else { far };
        let token = serde_json::json!({ "Type": 1, "Token": token(user_id), "Expire": expire }).to_string();
        let mut set = redis::cmd("HSET");
        set.arg(format!("auth:{user_id}")).arg(device_of(user_id)).arg(token);
        let _: i64 = set.query_async(&mut connection).await.unwrap();
    }
    let mut set = redis::cmd("HSET");
    set.arg("auth:10008").arg(777).arg("nonsense");
    let _: i64 = set.query_async(&mut connection).await.unwrap();
    // Of others who use this Redis.
    let _: () = redis::cmd("SET").arg("auth:session:abc").arg("x").query_async(&mut connection).await.unwrap();
    let mut set = redis::cmd("HSET");
    set.arg(b"auth:\xff\xfe").arg(1).arg(serde_json::json!({ "Token": "t", "Expire": far }).to_string());
    let _: i64 = set.query_async(&mut connection).await.unwrap();
}
