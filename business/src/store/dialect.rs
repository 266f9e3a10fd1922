//! The SQL in which databases differ. All else is common.

use gim_config::sql::Dialect;

/// Inserts a user unless the phone number has one.
pub fn insert_new_user(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "INSERT INTO user (phone_number, nickname, search_name, sex, avatar_url, extra, created_at_ms, updated_at_ms) \
             VALUES (?, '', '', 0, '', '', ?, ?) ON CONFLICT (phone_number) DO NOTHING"
        }
        Dialect::Mysql => {
            "INSERT IGNORE INTO user (phone_number, nickname, search_name, sex, avatar_url, extra, created_at_ms, updated_at_ms) \
             VALUES (?, '', '', 0, '', '', ?, ?)"
        }
    }
}

/// Reads the tokens of `count` devices (`user_id, device_id` each) by primary key.
pub fn select_tokens(dialect: Dialect, count: usize) -> String {
    let devices = pairs(dialect, count);
    format!(
        "SELECT user_id, device_id, hash, created_at_ms, expires_at_ms FROM token \
         WHERE (user_id, device_id) IN ({devices})"
    )
}

/// Reads how `count` users stand to another one each (`user_id, other_id`, all of them twice), by primary key: a row per friend
/// with `status`, and one per block without.
pub fn select_standings(dialect: Dialect, count: usize) -> String {
    let users = pairs(dialect, count);
    format!(
        "SELECT user_id, friend_id, status FROM friend WHERE (user_id, friend_id) IN ({users}) \
         UNION ALL SELECT user_id, blocked_id, NULL FROM blocked WHERE (user_id, blocked_id) IN ({users})"
    )
}

/// So many pairs of ids as values, for an `IN` that goes by primary key.
fn pairs(dialect: Dialect, count: usize) -> String {
    let pairs = vec!["(?, ?)"; count].join(", ");
    match dialect {
        // A bare list of VALUES would make SQLite read the whole table.
        Dialect::Sqlite => format!("SELECT * FROM (VALUES {pairs})"),
        Dialect::Mysql => pairs,
    }
}

/// Notes a block unless it is there.
pub fn insert_blocked(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "INSERT INTO blocked (user_id, blocked_id, created_at_ms) VALUES (?, ?, ?) \
             ON CONFLICT (user_id, blocked_id) DO NOTHING"
        }
        Dialect::Mysql => "INSERT IGNORE INTO blocked (user_id, blocked_id, created_at_ms) VALUES (?, ?, ?)",
    }
}

/// Has all codes of a phone number end at a time at the latest.
pub fn end_codes(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "UPDATE sign_in_code SET expires_at_ms = MIN(expires_at_ms, ?) WHERE phone_number = ?",
        Dialect::Mysql => "UPDATE sign_in_code SET expires_at_ms = LEAST(expires_at_ms, ?) WHERE phone_number = ?",
    }
}

/// Adds how a user sees another one, unless that is there.
pub fn insert_friend(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "INSERT INTO friend (user_id, friend_id, status, remarks, extra, description, created_at_ms, updated_at_ms) \
             VALUES (?, ?, ?, ?, '', ?, ?, ?) ON CONFLICT (user_id, friend_id) DO NOTHING"
        }
        Dialect::Mysql => {
            "INSERT IGNORE INTO friend \
             (user_id, friend_id, status, remarks, extra, description, created_at_ms, updated_at_ms) \
             VALUES (?, ?, ?, ?, '', ?, ?, ?)"
        }
    }
}

/// Replaces what a user allows others.
pub fn put_contact_rules(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "INSERT INTO contact_rules (user_id, added_by, updated_at_ms) VALUES (?, ?, ?) ON CONFLICT (user_id) \
             DO UPDATE SET added_by = excluded.added_by, updated_at_ms = excluded.updated_at_ms"
        }
        Dialect::Mysql => {
            "INSERT INTO contact_rules (user_id, added_by, updated_at_ms) VALUES (?, ?, ?) ON DUPLICATE KEY UPDATE \
             added_by = VALUES(added_by), updated_at_ms = VALUES(updated_at_ms)"
        }
    }
}

/// Notes that something was told, unless it was before.
pub fn insert_told(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "INSERT INTO told (user_id, friend_id, what, told_at_ms) VALUES (?, ?, ?, ?) \
             ON CONFLICT (user_id, friend_id, what) DO NOTHING"
        }
        Dialect::Mysql => "INSERT IGNORE INTO told (user_id, friend_id, what, told_at_ms) VALUES (?, ?, ?, ?)",
    }
}

/// Adds a content unless there is one of the same bytes; the last value is the file that brings it.
pub fn insert_file_content(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "INSERT INTO file_content \
             (sha256, content_id, size_bytes, kind, state, width, height, thumbnail_bytes, created_at_ms, user_id) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT user_id FROM file WHERE file_id = ?)) ON CONFLICT (sha256) DO NOTHING"
        }
        Dialect::Mysql => {
            "INSERT IGNORE INTO file_content \
             (sha256, content_id, size_bytes, kind, state, width, height, thumbnail_bytes, created_at_ms, user_id) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT user_id FROM file WHERE file_id = ?))"
        }
    }
}

/// Counts bytes, together with those that were counted under the same id.
pub fn count_bytes(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "INSERT INTO file (file_id, user_id, name, size_bytes, sha256, created_at_ms, expires_at_ms) \
             VALUES (?, ?, '', ?, ?, ?, ?) ON CONFLICT (file_id) DO UPDATE SET size_bytes = size_bytes + excluded.size_bytes"
        }
        Dialect::Mysql => {
            "INSERT INTO file (file_id, user_id, name, size_bytes, sha256, created_at_ms, expires_at_ms) \
             VALUES (?, ?, '', ?, ?, ?, ?) ON DUPLICATE KEY UPDATE size_bytes = size_bytes + VALUES(size_bytes)"
        }
    }
}

/// Deletes so many of the uploads that were given up until then.
pub fn delete_given_up(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "DELETE FROM file WHERE file_id IN \
             (SELECT file_id FROM file WHERE expires_at_ms < 0 AND created_at_ms <= ? LIMIT ?)"
        }
        Dialect::Mysql => "DELETE FROM file WHERE expires_at_ms < 0 AND created_at_ms <= ? LIMIT ?",
    }
}

/// Keeps a secret unless one is kept.
pub fn insert_file_secret(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "INSERT INTO file_secret (id, secret) VALUES (?, ?) ON CONFLICT (id) DO NOTHING",
        Dialect::Mysql => "INSERT IGNORE INTO file_secret (id, secret) VALUES (?, ?)",
    }
}
