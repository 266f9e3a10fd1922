//! The SQL that differs between dialects, and nothing else.

use gim_config::sql::Dialect;

use super::statement::MultiRow;

/// How the newest places of several conversations are found in one statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnreadBy {
    /// By a subquery for each, whatever is in it.
    Subqueries,
    /// All of them, joined with their messages at once: no subquery of MySQL sees what stands around it where it is read from, and one
    /// that is written out for each conversation took three times as long.
    Union,
}

/// The statements of one dialect.
#[derive(Debug)]
pub(super) struct Sql {
    /// What stands around a SELECT with a LIMIT of its own in a UNION.
    limited: (&'static str, &'static str),
    /// How what is unread is counted.
    pub unread_by: UnreadBy,
    /// Whether the inbox writer's statements are sent as texts, many at once.
    pub sends_text: bool,
    /// Adds to the counters of users (`user_id, count` per row).
    pub bump_inboxes: MultiRow,
    /// Whether that statement returns `user_id, seq`; if not, they are read after it, in its transaction.
    pub bump_returns: bool,
    /// Finds the types of devices (`user_id, id` per row), as rows `kind, id, value, extra` of a sign-in's reads.
    pub device_types: MultiRow,
    /// Saves devices (all columns per row); of one that is there, what it says of itself.
    pub save_devices: MultiRow,
    /// The same; of one that is there, its push id and versions alone.
    pub update_devices: MultiRow,
    /// Raises counters of users (`user_id, seq` per row).
    pub raise_inboxes: MultiRow,
    /// Raises acks (`user_id, device_id, seq` per row).
    pub raise_acks: MultiRow,
    /// Finds acks (`user_id, device_id` per row).
    pub find_acks: MultiRow,
    /// Finds how far devices have acknowledged large groups (`user_id, group_id, device_id` per row).
    pub find_group_acks: MultiRow,
    /// Finds conversations that are muted (`user_id, is_group, peer_id` per row).
    pub find_muted: MultiRow,
    /// What makes one text of the rows `kind, id, value, extra` of a statement, around it; none where rows cost nothing.
    pub in_one_text: Option<(&'static str, &'static str)>,
    /// Raises cursors of users in large groups (`user_id, group_id, seq` per row).
    pub raise_group_cursors: MultiRow,
    /// The same of devices (`user_id, group_id, device_id, seq` per row).
    pub raise_group_acks: MultiRow,
    /// Raises how far users have read, and takes marks away (`user_id, is_group, peer_id, seq, message_id, peer_seq, peer_message_id,
    /// moved_id` per row).
    pub raise_read_positions: MultiRow,
    /// Reads groups and holds their rows until the end of the transaction (`id` per row), in the order of their ids. Last, the newest
    /// version of which the receivers are listed.
    pub hold_groups: MultiRow,
    /// Adds the row of a conversation that has none (`user_id, is_group, peer_id`), with nothing set.
    pub add_conversation_setting: &'static str,
    /// The same with nothing read.
    pub add_read_position: &'static str,
    /// Takes a node in among those that tell their floors (`node_number, epoch`).
    pub join_floors: &'static str,
    /// What makes a SELECT wait for what is not committed yet of the rows that it reads: where one that writes keeps others from writing,
    /// there is nothing to wait for.
    pub waits_for_commits: &'static str,
    /// Hands out the next seqs of a room (`room_id, count`).
    pub reserve_room_seqs: &'static str,
    /// Raises the moment before which tokens are worthless (`user_id, device_id, not_before_ms`).
    pub raise_revocation: &'static str,
    /// Deletes some revocations (`not_before_ms` before, how many at most).
    pub purge_revocations: &'static str,
    /// Notes that a logic node is up (`number, name`).
    pub say_logic_node: &'static str,
    /// Finds the others (`number`) that did within so many milliseconds before and, for the same once more, after now.
    pub other_logic_nodes: &'static str,
}

impl Sql {
    /// The rows of `count` times the same SELECT, each with its LIMIT.
    pub(super) fn union_of_limited(&self, select: &str, count: usize) -> String {
        let (before, after) = self.limited;
        vec![format!("{before}{select}{after}"); count].join(" UNION ALL ")
    }
}

/// The statements of `dialect`.
pub(super) fn sql(dialect: Dialect) -> &'static Sql {
    match dialect {
        Dialect::Sqlite => &SQLITE,
        Dialect::Mysql => &MYSQL,
    }
}

const INSERT_DEVICES: &str = "INSERT INTO device (user_id, id, type, brand, model, system_version, sdk_version, \
                              branch_push_id, created_at_ms, updated_at_ms) VALUES ";
const DEVICE: &str = "(?,?,?,?,?,?,?,?,?,?)";

static SQLITE: Sql = Sql {
    // SQLite takes no SELECT in brackets.
    limited: ("SELECT * FROM (", ") part"),
    unread_by: UnreadBy::Subqueries,
    sends_text: false,
    bump_inboxes: MultiRow {
        head: "INSERT INTO inbox (user_id, seq) VALUES ",
        row: "(?,?)",
        tail: " ON CONFLICT (user_id) DO UPDATE SET seq = seq + excluded.seq RETURNING user_id, seq",
    },
    bump_returns: true,
    device_types: MultiRow {
        head: "SELECT 0 AS kind, id AS id, type AS value, user_id AS extra FROM device \
               WHERE (user_id, id) IN (SELECT * FROM (VALUES ",
        row: "(?,?)",
        tail: "))",
    },
    save_devices: MultiRow {
        head: INSERT_DEVICES,
        row: DEVICE,
        tail: " ON CONFLICT (user_id, id) DO UPDATE SET type = excluded.type, brand = excluded.brand, \
               model = excluded.model, system_version = excluded.system_version, sdk_version = excluded.sdk_version, \
               branch_push_id = excluded.branch_push_id, updated_at_ms = excluded.updated_at_ms",
    },
    update_devices: MultiRow {
        head: INSERT_DEVICES,
        row: DEVICE,
        tail: " ON CONFLICT (user_id, id) DO UPDATE SET system_version = excluded.system_version, \
               sdk_version = excluded.sdk_version, branch_push_id = excluded.branch_push_id, \
               updated_at_ms = excluded.updated_at_ms",
    },
    raise_inboxes: MultiRow {
        head: "INSERT INTO inbox (user_id, seq) VALUES ",
        row: "(?,?)",
        tail: " ON CONFLICT (user_id) DO UPDATE SET seq = MAX(seq, excluded.seq)",
    },
    raise_acks: MultiRow {
        head: "INSERT INTO device_ack (user_id, device_id, seq) VALUES ",
        row: "(?,?,?)",
        tail: " ON CONFLICT (user_id, device_id) DO UPDATE SET seq = MAX(seq, excluded.seq)",
    },
    raise_group_cursors: MultiRow {
        head: "INSERT INTO group_cursor (user_id, group_id, seq) VALUES ",
        row: "(?,?,?)",
        tail: " ON CONFLICT (user_id, group_id) DO UPDATE SET seq = MAX(seq, excluded.seq)",
    },
    raise_group_acks: MultiRow {
        head: "INSERT INTO group_device_cursor (user_id, group_id, device_id, seq) VALUES ",
        row: "(?,?,?,?)",
        tail: " ON CONFLICT (user_id, group_id, device_id) DO UPDATE SET seq = MAX(seq, excluded.seq)",
    },
    raise_read_positions: MultiRow {
        head: "INSERT INTO read_position \
               (user_id, is_group, peer_id, seq, message_id, peer_seq, peer_message_id, moved_id, is_marked_unread) VALUES ",
        row: "(?,?,?,?,?,?,?,?,0)",
        tail: " ON CONFLICT (user_id, is_group, peer_id) DO UPDATE SET \
               moved_id = CASE WHEN excluded.seq > seq THEN excluded.moved_id ELSE moved_id END, \
               message_id = CASE WHEN excluded.seq > seq THEN excluded.message_id ELSE message_id END, \
               peer_message_id = \
               CASE WHEN excluded.peer_seq > peer_seq THEN excluded.peer_message_id ELSE peer_message_id END, \
               seq = MAX(seq, excluded.seq), peer_seq = MAX(peer_seq, excluded.peer_seq), is_marked_unread = 0",
    },
    // A transaction that is going to write has the whole database to itself.
    hold_groups: MultiRow {
        head: "SELECT id, kind, name, avatar_url, introduction, extra, member_count, admin_count, version, seq, \
               large_after_seq, (SELECT MAX(version) FROM group_receivers WHERE group_id = chat_group.id) FROM chat_group WHERE id IN (",
        row: "?",
        tail: ") ORDER BY id",
    },
    find_acks: MultiRow {
        head: "SELECT user_id, device_id, seq FROM device_ack WHERE (user_id, device_id) IN (SELECT * FROM (VALUES ",
        row: "(?,?)",
        tail: "))",
    },
    find_group_acks: MultiRow {
        head: "SELECT user_id, group_id, device_id, seq FROM group_device_cursor \
               WHERE (user_id, group_id, device_id) IN (SELECT * FROM (VALUES ",
        row: "(?,?,?)",
        tail: "))",
    },
    find_muted: MultiRow {
        head: "SELECT user_id, is_group, peer_id FROM conversation_setting \
               WHERE is_muted = 1 AND (user_id, is_group, peer_id) IN (SELECT * FROM (VALUES ",
        row: "(?,?,?)",
        tail: "))",
    },
    // Each row would be handed from thread to thread by itself.
    in_one_text: Some(("SELECT group_concat(kind || ' ' || id || ' ' || value || ' ' || extra) FROM (", ")")),
    add_conversation_setting: "INSERT INTO conversation_setting \
                               (user_id, is_group, peer_id, pinned_at_ms, is_muted, hidden_before_seq, cleared_seq) \
                               VALUES (?, ?, ?, 0, 0, 0, 0) ON CONFLICT DO NOTHING",
    add_read_position: "INSERT INTO read_position \
                        (user_id, is_group, peer_id, seq, message_id, peer_seq, is_marked_unread) \
                        VALUES (?, ?, ?, 0, 0, 0, 0) ON CONFLICT DO NOTHING",
    join_floors: "INSERT INTO id_floor (node_number, floor_id, is_strict, beat, epoch) VALUES (?, 0, 1, 1, ?) \
                  ON CONFLICT (node_number) DO UPDATE SET floor_id = 0, is_strict = 1, beat = 1, epoch = excluded.epoch",
    waits_for_commits: "",
    reserve_room_seqs: "INSERT INTO room_seq (room_id, reserved_until) VALUES (?, ?) \
                        ON CONFLICT (room_id) DO UPDATE SET reserved_until = reserved_until + excluded.reserved_until",
    raise_revocation: "INSERT INTO token_revocation (user_id, device_id, not_before_ms, revoked_at_ms) VALUES (?, ?, ?, ?) \
                       ON CONFLICT (user_id, device_id) \
                       DO UPDATE SET not_before_ms = MAX(not_before_ms, excluded.not_before_ms), \
                       revoked_at_ms = MAX(revoked_at_ms, excluded.revoked_at_ms)",
    purge_revocations: "DELETE FROM token_revocation WHERE (user_id, device_id) IN \
                        (SELECT user_id, device_id FROM token_revocation WHERE not_before_ms < ? LIMIT ?)",
    say_logic_node: "REPLACE INTO logic_node (number, name, said_at_ms) \
                     VALUES (?, ?, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))",
    other_logic_nodes: "SELECT number, name FROM logic_node WHERE number <> ? \
                        AND said_at_ms > CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) - ? \
                        AND said_at_ms < CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) + ? ORDER BY number",
};

// No RETURNING, which only MariaDB has; VALUES(), which all of them still take.
static MYSQL: Sql = Sql {
    // A subquery would be a table of its own.
    limited: ("(", ")"),
    unread_by: UnreadBy::Union,
    sends_text: true,
    bump_inboxes: MultiRow {
        head: "INSERT INTO inbox (user_id, seq) VALUES ",
        row: "(?,?)",
        tail: " ON DUPLICATE KEY UPDATE seq = seq + VALUES(seq)",
    },
    bump_returns: false,
    device_types: MultiRow {
        head: "SELECT 0 AS kind, id AS id, type AS value, user_id AS extra FROM device WHERE (user_id, id) IN (",
        row: "(?,?)",
        tail: ")",
    },
    save_devices: MultiRow {
        head: INSERT_DEVICES,
        row: DEVICE,
        tail: " ON DUPLICATE KEY UPDATE type = VALUES(type), brand = VALUES(brand), model = VALUES(model), \
               system_version = VALUES(system_version), sdk_version = VALUES(sdk_version), \
               branch_push_id = VALUES(branch_push_id), updated_at_ms = VALUES(updated_at_ms)",
    },
    update_devices: MultiRow {
        head: INSERT_DEVICES,
        row: DEVICE,
        tail: " ON DUPLICATE KEY UPDATE system_version = VALUES(system_version), sdk_version = VALUES(sdk_version), \
               branch_push_id = VALUES(branch_push_id), updated_at_ms = VALUES(updated_at_ms)",
    },
    raise_inboxes: MultiRow {
        head: "INSERT INTO inbox (user_id, seq) VALUES ",
        row: "(?,?)",
        tail: " ON DUPLICATE KEY UPDATE seq = GREATEST(seq, VALUES(seq))",
    },
    raise_acks: MultiRow {
        head: "INSERT INTO device_ack (user_id, device_id, seq) VALUES ",
        row: "(?,?,?)",
        tail: " ON DUPLICATE KEY UPDATE seq = GREATEST(seq, VALUES(seq))",
    },
    raise_group_cursors: MultiRow {
        head: "INSERT INTO group_cursor (user_id, group_id, seq) VALUES ",
        row: "(?,?,?)",
        tail: " ON DUPLICATE KEY UPDATE seq = GREATEST(seq, VALUES(seq))",
    },
    raise_group_acks: MultiRow {
        head: "INSERT INTO group_device_cursor (user_id, group_id, device_id, seq) VALUES ",
        row: "(?,?,?,?)",
        tail: " ON DUPLICATE KEY UPDATE seq = GREATEST(seq, VALUES(seq))",
    },
    raise_read_positions: MultiRow {
        head: "INSERT INTO read_position \
               (user_id, is_group, peer_id, seq, message_id, peer_seq, peer_message_id, moved_id, is_marked_unread) VALUES ",
        row: "(?,?,?,?,?,?,?,?,0)",
        // One column after the other: the messages by the seqs as they were.
        tail: " ON DUPLICATE KEY UPDATE moved_id = IF(VALUES(seq) > seq, VALUES(moved_id), moved_id), \
               message_id = IF(VALUES(seq) > seq, VALUES(message_id), message_id), \
               peer_message_id = IF(VALUES(peer_seq) > peer_seq, VALUES(peer_message_id), peer_message_id), \
               seq = GREATEST(seq, VALUES(seq)), peer_seq = GREATEST(peer_seq, VALUES(peer_seq)), \
               is_marked_unread = 0",
    },
    // By the primary key, or a small table would be read, and held, as a whole.
    hold_groups: MultiRow {
        head: "SELECT id, kind, name, avatar_url, introduction, extra, member_count, admin_count, version, seq, \
               large_after_seq, (SELECT MAX(version) FROM group_receivers WHERE group_id = chat_group.id) FROM chat_group FORCE INDEX (PRIMARY) WHERE id IN (",
        row: "?",
        tail: ") ORDER BY id FOR UPDATE",
    },
    find_acks: MultiRow {
        head: "SELECT user_id, device_id, seq FROM device_ack WHERE (user_id, device_id) IN (",
        row: "(?,?)",
        tail: ")",
    },
    find_group_acks: MultiRow {
        head: "SELECT user_id, group_id, device_id, seq FROM group_device_cursor WHERE (user_id, group_id, device_id) IN (",
        row: "(?,?,?)",
        tail: ")",
    },
    find_muted: MultiRow {
        head: "SELECT user_id, is_group, peer_id FROM conversation_setting \
               WHERE is_muted = 1 AND (user_id, is_group, peer_id) IN (",
        row: "(?,?,?)",
        tail: ")",
    },
    in_one_text: None,
    add_conversation_setting: "INSERT INTO conversation_setting \
                               (user_id, is_group, peer_id, pinned_at_ms, is_muted, hidden_before_seq, cleared_seq) \
                               VALUES (?, ?, ?, 0, 0, 0, 0) ON DUPLICATE KEY UPDATE user_id = user_id",
    add_read_position: "INSERT INTO read_position \
                        (user_id, is_group, peer_id, seq, message_id, peer_seq, is_marked_unread) \
                        VALUES (?, ?, ?, 0, 0, 0, 0) ON DUPLICATE KEY UPDATE user_id = user_id",
    join_floors: "INSERT INTO id_floor (node_number, floor_id, is_strict, beat, epoch) VALUES (?, 0, 1, 1, ?) \
                  ON DUPLICATE KEY UPDATE floor_id = 0, is_strict = 1, beat = 1, epoch = VALUES(epoch)",
    waits_for_commits: " LOCK IN SHARE MODE",
    reserve_room_seqs: "INSERT INTO room_seq (room_id, reserved_until) VALUES (?, ?) \
                        ON DUPLICATE KEY UPDATE reserved_until = reserved_until + VALUES(reserved_until)",
    raise_revocation: "INSERT INTO token_revocation (user_id, device_id, not_before_ms, revoked_at_ms) VALUES (?, ?, ?, ?) \
                       ON DUPLICATE KEY UPDATE not_before_ms = GREATEST(not_before_ms, VALUES(not_before_ms)), \
                       revoked_at_ms = GREATEST(revoked_at_ms, VALUES(revoked_at_ms))",
    purge_revocations: "DELETE FROM token_revocation WHERE not_before_ms < ? LIMIT ?",
    say_logic_node: "REPLACE INTO logic_node (number, name, said_at_ms) \
                     VALUES (?, ?, CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED))",
    other_logic_nodes: "SELECT number, name FROM logic_node WHERE number <> ? \
                        AND said_at_ms > CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) - ? \
                        AND said_at_ms < CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) + ? ORDER BY number",
};
