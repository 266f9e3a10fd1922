//! The sections about messages, where they are kept and for how long: `[limits]`, `[message]`, `[word_filter]`, `[conversation]`, `[inbox]`, `[room]`, `[group]` and
//! `[retention]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::{group::MemberLimits, message::ClientCommands};

/// The section `[retention]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionSettings {
    /// How long messages are kept; 0 for ever.
    pub keep_s: u64,
    /// Between two sweeps.
    pub interval_s: u64,
    /// Rows that one transaction deletes.
    pub step_rows: u32,
    /// Between two transactions.
    pub step_pause_ms: u64,
    /// How much longer is kept, at most, what a walk has not passed.
    pub held_s: u64,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self { keep_s: 0, interval_s: 3_600, step_rows: 500, step_pause_ms: 20, held_s: 604_800 }
    }
}

/// The section `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Longest content of one message. 60 KiB leave room for the envelope in a frame of 64 KiB.
    pub content_bytes_max: usize,
    /// Most receivers of one PushToUsers, and most users of one ListOnline.
    pub push_users_max: usize,
    /// Connections of one user at the same time; one more closes the oldest.
    pub user_connections_max: usize,
    /// Pushes to all that a conn node may be busy with; one more is refused.
    pub push_all_max: usize,
    /// A page that is synced over a long connection ends before it is longer than this (but holds at least one message).
    pub sync_packet_bytes_max: usize,
    /// Longest token.
    pub token_bytes_max: usize,
    /// Longest text that describes a device: brand, model, push id, …
    pub device_text_bytes_max: usize,
    /// Requests of one user per second, in the long run; 0 for no bound.
    pub user_requests_per_s: u32,
    /// Requests of one user at once.
    pub user_requests_burst: u32,
    /// Devices that those at one address may register without a token in ten seconds.
    pub registrations_per_address_max: u32,
    /// Devices that a user who is signed in may register within an hour.
    pub user_registrations_per_hour_max: u32,
}

/// The section `[message]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MessageSettings {
    /// How long after sending a message its sender may recall it; 0 for never.
    pub recall_window_s: u64,
    /// Messages in a page of history where the client does not say, or asks for more.
    pub history_page_max: u32,
    /// The commands that clients may send, of messages and of packets for the business.
    pub client_commands: ClientCommands,
}

/// The section `[word_filter]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WordFilterSettings {
    /// Files of words with which a message is refused.
    pub refuse: Vec<PathBuf>,
    /// Files of words that are covered by asterisks.
    pub mask: Vec<PathBuf>,
    /// Files of words of which the business is told.
    pub flag: Vec<PathBuf>,
    /// Words of all files together.
    pub words_max: usize,
    /// Bytes of a file, and of a list that a call puts.
    pub file_bytes_max: u64,
    /// How often it is looked whether a list was put on another node.
    pub refresh_ms: u64,
}

impl Default for WordFilterSettings {
    fn default() -> Self {
        Self {
            refuse: Vec::new(),
            mask: Vec::new(),
            flag: Vec::new(),
            words_max: 200_000,
            file_bytes_max: 16 * 1024 * 1024,
            refresh_ms: 5_000,
        }
    }
}

/// The section `[conversation]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConversationSettings {
    /// Conversations in a page of a list where the client does not say, or asks for more.
    pub page_max: u32,
    /// Conversations that a user may pin.
    pub pinned_max: u32,
    /// How long it is waited, after something was read, for what is read next in the same conversation.
    pub read_delay_ms: u64,
    /// Conversations that wait so, of all users.
    pub reads_waiting_max: usize,
    /// Those of one user.
    pub reads_waiting_per_user_max: usize,
    /// Members of a group up to which all of them are told who has read.
    pub read_told_members_max: u32,
}

impl Default for ConversationSettings {
    fn default() -> Self {
        Self {
            page_max: 50,
            pinned_max: 20,
            read_delay_ms: 200,
            reads_waiting_max: 100_000,
            reads_waiting_per_user_max: 64,
            read_told_members_max: 100,
        }
    }
}

/// The section `[inbox]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InboxSettings {
    /// Inbox rows that one transaction takes.
    pub batch_rows_max: usize,
    /// Transactions under way at the same time, on MySQL; no more than connections for writing.
    pub transactions_max: u32,
    /// Inbox rows that wait before another transaction begins beside one that is under way.
    pub transaction_rows_min: usize,
    /// How long a few requests wait for others, soon after a transaction that several shared; 0 for not at all.
    pub transaction_interval_ms_max: u64,
    /// Requests that wait for the writer; beyond it the answer is "try again later".
    pub queue_jobs_max: usize,
    /// Bytes that wait for the writer; beyond it the answer is "try again later".
    pub queue_bytes_max: usize,
    /// Rows of one user's requests in one transaction.
    pub batch_user_rows_max: usize,
    /// Rows of one user's requests that wait for the writer; beyond it the answer is "too many requests".
    pub queue_user_rows_max: usize,
    /// Bytes of one user's requests that wait for the writer; beyond it the answer is "too many requests".
    pub queue_user_bytes_max: usize,
    /// Bytes that one user has stored within an hour; 0 for no bound.
    pub user_bytes_per_hour_max: u64,
}

/// The section `[room]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoomSettings {
    /// Messages that a room keeps for those who subscribe later.
    pub retained_count_max: usize,
    /// For how long it keeps them.
    pub retained_ms: u64,
    /// Bytes of messages that a room keeps: a subscriber gets them at once, so they should fit its outbound queue in conn.
    pub retained_bytes_max: usize,
    /// Bytes of retained messages that one user may ask for at once.
    pub user_replay_bytes_max: usize,
    /// How long it takes until a user who did may do so again.
    pub user_replay_refill_ms: u64,
    /// Whether clients may have their messages retained; else those of services are.
    pub clients_retain: bool,
    /// Bytes of messages of one user that are retained within `retained_ms`.
    pub user_retained_bytes_max: usize,
    /// Bytes of messages that all rooms together keep, in the memory of this process.
    pub rooms_retained_bytes_max: usize,
    /// Rooms with subscribers or retained messages; in one more nobody can be, "try again later".
    pub rooms_max: usize,
    /// How long a send into a room that is repeated is recognised by its client_msg_id; 0 for not at all.
    pub idempotency_ms: u64,
    /// How many such sends are remembered, the newest ones.
    pub idempotency_sends_max: usize,
}

/// The section `[group]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupSettings {
    /// Most members of a normal group, each of whom gets a copy of every message.
    pub normal_members_max: usize,
    /// Most members of a large group, which has one timeline for all.
    pub large_members_max: usize,
    /// Most members in one request that makes a group, adds to it or removes from it.
    pub members_per_request_max: usize,
    /// Groups that users may put a user into.
    pub user_groups_max: u32,
    /// Members whom one user may put into groups within an hour.
    pub additions_per_hour_max: u32,
    /// How often one user may put the same other one into groups within a day.
    pub additions_of_one_per_day_max: u32,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            content_bytes_max: 60 * 1024,
            push_users_max: 10_000,
            user_connections_max: 64,
            push_all_max: 16,
            sync_packet_bytes_max: 60 * 1024,
            token_bytes_max: 12 * 1024,
            user_requests_per_s: 500,
            user_requests_burst: 5_000,
            device_text_bytes_max: 4 * 1024,
            registrations_per_address_max: 1_000,
            user_registrations_per_hour_max: 20,
        }
    }
}

impl Default for MessageSettings {
    fn default() -> Self {
        Self { recall_window_s: 120, history_page_max: 100, client_commands: ClientCommands::default() }
    }
}

impl Default for InboxSettings {
    fn default() -> Self {
        Self {
            batch_rows_max: 8_192,
            transactions_max: 2,
            transaction_rows_min: 1024,
            transaction_interval_ms_max: 5,
            queue_jobs_max: 65_536,
            queue_bytes_max: 64 << 20,
            batch_user_rows_max: 1_024,
            queue_user_rows_max: 4_096,
            queue_user_bytes_max: 16 << 20,
            user_bytes_per_hour_max: 512 << 20,
        }
    }
}

impl Default for RoomSettings {
    fn default() -> Self {
        Self {
            retained_count_max: 100,
            retained_ms: 600_000,
            retained_bytes_max: 192 * 1024,
            user_replay_bytes_max: 2 << 20,
            user_replay_refill_ms: 8_000,
            clients_retain: false,
            user_retained_bytes_max: 1 << 20,
            rooms_retained_bytes_max: 256 << 20,
            rooms_max: 100_000,
            idempotency_ms: 60_000,
            idempotency_sends_max: 100_000,
        }
    }
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            normal_members_max: 500,
            large_members_max: 1_000_000,
            members_per_request_max: 10_000,
            user_groups_max: 1_000,
            additions_per_hour_max: 50_000,
            additions_of_one_per_day_max: 100,
        }
    }
}

impl GroupSettings {
    /// How many members groups may have.
    pub fn limits(&self) -> MemberLimits {
        MemberLimits { normal: self.normal_members_max, large: self.large_members_max }
    }
}
