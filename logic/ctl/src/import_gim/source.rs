//! gim's MySQL, as it is read: page by page along primary keys. Nothing is ever written there.
//!
//! Numbers are cast to the type that they are read as, because gim's own tables differ in whether they are signed; times become
//! Unix seconds on the server, in the time zone in which gim wrote them.

use std::str::FromStr as _;

use gim_business::{ImportedFriend, ImportedUser};
use gim_logic::{
    domain::group::Member,
    store::import::{ImportedDevice, Times},
};
use gim_proto::logic::{Device, MemberType};
use sqlx::{
    ConnectOptions as _, MySqlConnection, Row as _,
    mysql::{MySqlConnectOptions, MySqlRow},
};

/// Rows of a page.
pub const PAGE_ROWS: usize = 500;

/// The database, where the URL names none.
const DATABASE: &str = "gim";

const USERS: &str = "SELECT CAST(id AS UNSIGNED), COALESCE(phone_number, ''), COALESCE(nickname, ''), CAST(sex AS SIGNED), \
                     COALESCE(avatar_url, ''), COALESCE(extra, ''), \
                     CAST(COALESCE(UNIX_TIMESTAMP(created_at), 0) AS SIGNED), \
                     CAST(COALESCE(UNIX_TIMESTAMP(updated_at), 0) AS SIGNED) \
                     FROM `user` WHERE id > ? ORDER BY id LIMIT 500";
const DEVICES: &str = "SELECT CAST(id AS UNSIGNED), CAST(user_id AS UNSIGNED), CAST(type AS SIGNED), COALESCE(brand, ''), \
                       COALESCE(model, ''), COALESCE(system_version, ''), COALESCE(sdk_version, ''), \
                       COALESCE(brand_push_id, ''), CAST(COALESCE(UNIX_TIMESTAMP(created_at), 0) AS SIGNED), \
                       CAST(COALESCE(UNIX_TIMESTAMP(updated_at), 0) AS SIGNED) \
                       FROM device WHERE id > ? ORDER BY id LIMIT 500";
const FRIENDS: &str = "SELECT CAST(f.user_id AS UNSIGNED), CAST(f.friend_id AS UNSIGNED), CAST(f.status AS SIGNED), \
                       COALESCE(f.remarks, ''), COALESCE(f.extra, ''), \
                       CAST(COALESCE(UNIX_TIMESTAMP(f.created_at), 0) AS SIGNED), \
                       CAST(COALESCE(UNIX_TIMESTAMP(f.updated_at), 0) AS SIGNED), CAST(COALESCE(b.status, 0) AS SIGNED) \
                       FROM friend f LEFT JOIN friend b ON b.user_id = f.friend_id AND b.friend_id = f.user_id \
                       WHERE f.user_id > ? OR (f.user_id = ? AND f.friend_id > ?) \
                       ORDER BY f.user_id, f.friend_id LIMIT 500";
const GROUPS: &str = "SELECT CAST(id AS UNSIGNED), COALESCE(name, ''), COALESCE(avatar_url, ''), COALESCE(introduction, ''), \
                      COALESCE(extra, ''), CAST(COALESCE(UNIX_TIMESTAMP(created_at), 0) AS SIGNED), \
                      CAST(COALESCE(UNIX_TIMESTAMP(updated_at), 0) AS SIGNED) \
                      FROM `group` WHERE id > ? ORDER BY id LIMIT 500";
const MEMBERS: &str = "SELECT CAST(user_id AS UNSIGNED), COALESCE(nickname, ''), CAST(type AS SIGNED), CAST(status AS SIGNED), \
                       COALESCE(extra, ''), CAST(COALESCE(UNIX_TIMESTAMP(created_at), 0) AS SIGNED) \
                       FROM group_member WHERE group_id = ? ORDER BY user_id";
const MESSAGES: &str = "SELECT CAST(id AS UNSIGNED), CAST(command AS SIGNED), COALESCE(content, ''), \
                        CAST(COALESCE(UNIX_TIMESTAMP(created_at), 0) AS SIGNED) \
                        FROM message WHERE id > ? ORDER BY id LIMIT 500";
const INBOXES: &str = "SELECT CAST(user_id AS UNSIGNED), CAST(MAX(seq) AS UNSIGNED) FROM user_message WHERE user_id > ? \
                       GROUP BY user_id ORDER BY user_id LIMIT 500";
// Only of what one user wrote to another the content matters, for it names the other one.
const INBOX: &str = "SELECT CAST(u.seq AS UNSIGNED), CAST(u.message_id AS UNSIGNED), m.id IS NOT NULL, \
                     CAST(COALESCE(UNIX_TIMESTAMP(COALESCE(m.created_at, u.created_at)), 0) AS SIGNED), \
                     CASE WHEN m.command = 1 THEN m.content END \
                     FROM user_message u LEFT JOIN message m ON m.id = u.message_id \
                     WHERE u.user_id = ? AND u.seq > ? ORDER BY u.seq LIMIT 500";
const SEQS: &str = "SELECT CAST(object_id AS UNSIGNED), CAST(seq AS UNSIGNED) FROM seq \
                    WHERE object_type = 1 AND object_id > ? ORDER BY object_id LIMIT 500";
const ACKS: &str = "SELECT CAST(device_id AS UNSIGNED), CAST(user_id AS UNSIGNED), CAST(ack AS UNSIGNED) FROM device_ack \
                    WHERE device_id > ? ORDER BY device_id LIMIT 500";

/// gim's MySQL.
#[derive(Debug)]
pub struct Source {
    connection: MySqlConnection,
}

/// A row of `friend`, and the status of the other direction (0: there is none).
#[derive(Debug, Clone)]
pub struct FriendRow {
    pub friend: ImportedFriend,
    pub status: i64,
    pub status_back: i64,
}

/// A row of `group`.
#[derive(Debug, Clone)]
pub struct GroupRow {
    pub id: u64,
    pub name: String,
    pub avatar_url: String,
    pub introduction: String,
    pub extra: String,
    pub times: Times,
}

/// A row of `message`.
#[derive(Debug, Clone)]
pub struct MessageRow {
    pub id: u64,
    pub command: i64,
    pub content: Vec<u8>,
    pub created_at_s: i64,
}

/// A row of `user_message`, with what matters of its message.
#[derive(Debug, Clone)]
pub struct InboxRow {
    pub seq: u64,
    pub message_id: u64,
    pub has_message: bool,
    pub created_at_s: i64,
    /// Of what a user wrote to another.
    pub content: Option<Vec<u8>>,
}

/// How far a device has read.
#[derive(Debug, Clone, Copy)]
pub struct AckRow {
    pub device_id: u64,
    pub user_id: u64,
    pub seq: u64,
}

impl Source {
    /// Connects; times are read in `time_zone`, or in the zone of the server.
    pub async fn connect(url: &str, time_zone: Option<&str>) -> Result<Self, sqlx::Error> {
        let options = MySqlConnectOptions::from_str(url)?.timezone(time_zone.map(str::to_owned));
        let options = match options.get_database() {
            None | Some("") => options.database(DATABASE),
            Some(_) => options,
        };
        Ok(Self { connection: options.connect().await? })
    }

    /// About how many rows a table has, for who watches.
    pub async fn about(&mut self, table: &str) -> u64 {
        let sql = "SELECT CAST(COALESCE(TABLE_ROWS, 0) AS UNSIGNED) FROM information_schema.TABLES \
                   WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?";
        let count = sqlx::query_scalar(sql).bind(table.to_owned()).fetch_optional(&mut self.connection).await;
        count.ok().flatten().unwrap_or(0)
    }

    async fn page<T>(
        &mut self,
        sql: &'static str,
        keys: &[u64],
        read: fn(&MySqlRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, sqlx::Error> {
        let query = keys.iter().fold(sqlx::query(sql), |query, key| query.bind(*key));
        query.fetch_all(&mut self.connection).await?.iter().map(read).collect()
    }

    /// Users after an id.
    pub async fn users(&mut self, after: u64) -> Result<Vec<ImportedUser>, sqlx::Error> {
        self.page(USERS, &[after], |row| {
            let times = times(row, 6)?;
            Ok(ImportedUser {
                user_id: row.try_get(0)?,
                phone_number: row.try_get(1)?,
                nickname: row.try_get(2)?,
                sex: small(row, 3)?,
                avatar_url: row.try_get(4)?,
                extra: row.try_get(5)?,
                created_at_ms: times.created_at_ms,
                updated_at_ms: times.updated_at_ms,
            })
        })
        .await
    }

    /// Devices after an id.
    pub async fn devices(&mut self, after: u64) -> Result<Vec<ImportedDevice>, sqlx::Error> {
        self.page(DEVICES, &[after], |row| {
            let device = Device {
                id: row.try_get(0)?,
                r#type: small(row, 2)?,
                brand: row.try_get(3)?,
                model: row.try_get(4)?,
                system_version: row.try_get(5)?,
                sdk_version: row.try_get(6)?,
                branch_push_id: row.try_get(7)?,
            };
            Ok(ImportedDevice { user_id: row.try_get(1)?, device, times: times(row, 8)? })
        })
        .await
    }

    /// How users see others, after a pair of ids.
    pub async fn friends(&mut self, (user_id, friend_id): (u64, u64)) -> Result<Vec<FriendRow>, sqlx::Error> {
        self.page(FRIENDS, &[user_id, user_id, friend_id], |row| {
            let (status, times) = (row.try_get(2)?, times(row, 5)?);
            let friend = ImportedFriend {
                user_id: row.try_get(0)?,
                friend_id: row.try_get(1)?,
                is_agreed: status == FriendRow::AGREED,
                remarks: row.try_get(3)?,
                extra: row.try_get(4)?,
                created_at_ms: times.created_at_ms,
                updated_at_ms: times.updated_at_ms,
            };
            Ok(FriendRow { friend, status, status_back: row.try_get(7)? })
        })
        .await
    }

    /// Groups after an id.
    pub async fn groups(&mut self, after: u64) -> Result<Vec<GroupRow>, sqlx::Error> {
        self.page(GROUPS, &[after], |row| {
            Ok(GroupRow {
                id: row.try_get(0)?,
                name: row.try_get(1)?,
                avatar_url: row.try_get(2)?,
                introduction: row.try_get(3)?,
                extra: row.try_get(4)?,
                times: times(row, 5)?,
            })
        })
        .await
    }

    /// The members of a group, each with when he joined, Unix milliseconds.
    pub async fn members(&mut self, group_id: u64) -> Result<Vec<(Member, i64)>, sqlx::Error> {
        self.page(MEMBERS, &[group_id], |row| {
            let member = Member {
                user_id: row.try_get(0)?,
                nickname: row.try_get(1)?,
                is_admin: row.try_get::<i64, _>(2)? == i64::from(MemberType::MtAdmin as i32),
                status: small(row, 3)?,
                extra: row.try_get(4)?,
            };
            Ok((member, milliseconds(row.try_get(5)?)))
        })
        .await
    }

    /// Messages after an id.
    pub async fn messages(&mut self, after: u64) -> Result<Vec<MessageRow>, sqlx::Error> {
        self.page(MESSAGES, &[after], |row| {
            let (id, command) = (row.try_get(0)?, row.try_get(1)?);
            Ok(MessageRow { id, command, content: row.try_get(2)?, created_at_s: row.try_get(3)? })
        })
        .await
    }

    /// Users after an id who have messages, each with the largest seq.
    pub async fn inboxes(&mut self, after: u64) -> Result<Vec<(u64, u64)>, sqlx::Error> {
        self.page(INBOXES, &[after], pair).await
    }

    /// What is in a user's inbox after a seq.
    pub async fn inbox(&mut self, user_id: u64, seq: u64) -> Result<Vec<InboxRow>, sqlx::Error> {
        self.page(INBOX, &[user_id, seq], |row| {
            Ok(InboxRow {
                seq: row.try_get(0)?,
                message_id: row.try_get(1)?,
                has_message: row.try_get::<i64, _>(2)? != 0,
                created_at_s: row.try_get(3)?,
                content: row.try_get(4)?,
            })
        })
        .await
    }

    /// Users after an id, each with the newest seq that was given out.
    pub async fn seqs(&mut self, after: u64) -> Result<Vec<(u64, u64)>, sqlx::Error> {
        self.page(SEQS, &[after], pair).await
    }

    /// How far devices after an id have read.
    pub async fn acks(&mut self, after: u64) -> Result<Vec<AckRow>, sqlx::Error> {
        self.page(ACKS, &[after], |row| {
            Ok(AckRow { device_id: row.try_get(0)?, user_id: row.try_get(1)?, seq: row.try_get(2)? })
        })
        .await
    }
}

impl FriendRow {
    /// Asked to be a friend.
    pub const ASKED: i64 = 1;
    /// Friends.
    pub const AGREED: i64 = 2;
}

fn pair(row: &MySqlRow) -> Result<(u64, u64), sqlx::Error> {
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// The columns `created_at`, `updated_at`.
fn times(row: &MySqlRow, index: usize) -> Result<Times, sqlx::Error> {
    let (created_at_s, updated_at_s) = (row.try_get(index)?, row.try_get(index + 1)?);
    Ok(Times { created_at_ms: milliseconds(created_at_s), updated_at_ms: milliseconds(updated_at_s) })
}

fn milliseconds(seconds: i64) -> i64 {
    seconds.saturating_mul(1_000)
}

/// A small number; one that is none of ours stands for nothing.
fn small(row: &MySqlRow, index: usize) -> Result<i32, sqlx::Error> {
    Ok(i32::try_from(row.try_get::<i64, _>(index)?).unwrap_or(0))
}
