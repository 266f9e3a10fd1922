//! The least and the most of every number in the settings of logic.
//!
//! Read once at start. Always holds: a value out of its range is refused by its key.

use super::LogicSettings;

const MIB: u64 = 1 << 20;

/// The key, its value, the least and the most.
type Range = (&'static str, u64, u64, u64);

/// Names the first key whose value is out of its range.
pub(super) fn validate(settings: &LogicSettings) -> Result<(), String> {
    let ranges = [users(settings), messages(settings), nodes(settings), offline_pushes(settings)];
    match ranges.into_iter().flatten().find(|&(_, value, least, most)| value < least || value > most) {
        Some((key, _, least, most)) => Err(format!("{key}: must be between {least} and {most}")),
        None => Ok(()),
    }
}

/// What users, and calls about them, may take.
fn users(settings: &LogicSettings) -> Vec<Range> {
    vec![
        ("business.call_timeout_ms", settings.business.call_timeout_ms, 1, 60_000),
        ("business.auth_in_flight_max", settings.business.auth_in_flight_max as u64, 1, 65_536),
        ("business.calls_in_flight_max", settings.business.calls_in_flight_max as u64, 1, 65_536),
        ("business.commands_in_flight_max", settings.business.commands_in_flight_max as u64, 1, 65_536),
        ("business.commands_per_user_max", settings.business.commands_per_user_max as u64, 1, 65_536),
        ("business.auth_cache_ms", settings.business.auth_cache_ms, 0, 3_600_000),
        ("business.auth_cache_entries_max", settings.business.auth_cache_entries_max as u64, 1, 10_000_000),
        ("business.user_cache_ms", settings.business.user_cache_ms, 0, 86_400_000),
        ("business.user_cache_entries_max", settings.business.user_cache_entries_max as u64, 1, 10_000_000),
        ("business.may_write_cache_ms", settings.business.may_write_cache_ms, 0, 3_600_000),
        ("business.may_write_cache_entries_max", settings.business.may_write_cache_entries_max as u64, 1, 10_000_000),
        ("business.while_away_kept_ms", settings.business.while_away_kept_ms, 1, 30 * 86_400_000),
        ("jwt.leeway_s", settings.jwt.leeway_s.into(), 0, 3_600),
        ("jwt.lifetime_max_s", settings.jwt.lifetime_max_s.into(), 1, 10 * 366 * 86_400),
        ("limits.content_bytes_max", settings.limits.content_bytes_max as u64, 1, MIB),
        ("limits.push_users_max", settings.limits.push_users_max as u64, 1, 100_000),
        ("limits.user_connections_max", settings.limits.user_connections_max as u64, 1, 100_000),
        ("limits.push_all_max", settings.limits.push_all_max as u64, 1, 1_000),
        ("limits.sync_packet_bytes_max", settings.limits.sync_packet_bytes_max as u64, 1, 3 * MIB),
        ("limits.token_bytes_max", settings.limits.token_bytes_max as u64, 64, 65_536),
        // The largest TEXT of MySQL.
        ("limits.device_text_bytes_max", settings.limits.device_text_bytes_max as u64, 1, 65_535),
        ("limits.user_requests_per_s", settings.limits.user_requests_per_s.into(), 0, 1_000_000),
        ("limits.user_requests_burst", settings.limits.user_requests_burst.into(), 1, 10_000_000),
        ("limits.registrations_per_address_max", settings.limits.registrations_per_address_max.into(), 1, 10_000_000),
        (
            "limits.user_registrations_per_hour_max",
            settings.limits.user_registrations_per_hour_max.into(),
            1,
            10_000_000,
        ),
    ]
}

/// What those take who are away.
fn offline_pushes(settings: &LogicSettings) -> Vec<Range> {
    let settings = &settings.offline_push;
    vec![
        ("offline_push.timeout_ms", settings.timeout_ms, 1, 60_000),
        ("offline_push.coalesce_ms", settings.coalesce_ms, 10, 60_000),
        ("offline_push.unacknowledged_s", settings.unacknowledged_s, 0, 3_600),
        ("offline_push.awaited_max", settings.awaited_max as u64, 1, 10_000_000),
        ("offline_push.group_members_max", settings.group_members_max.into(), 0, 100_000),
        ("offline_push.queue_max", settings.queue_max as u64, 1, 10_000_000),
    ]
}

/// How messages, groups and rooms are stored and kept.
fn messages(settings: &LogicSettings) -> Vec<Range> {
    vec![
        ("message.recall_window_s", settings.message.recall_window_s, 0, 30 * 86_400),
        ("message.history_page_max", settings.message.history_page_max.into(), 1, 1_000),
        ("word_filter.words_max", settings.word_filter.words_max as u64, 0, 2_000_000),
        ("word_filter.refresh_ms", settings.word_filter.refresh_ms, 100, 3_600_000),
        ("word_filter.file_bytes_max", settings.word_filter.file_bytes_max, 0, 256 * MIB),
        ("conversation.page_max", settings.conversation.page_max.into(), 1, 100),
        ("conversation.pinned_max", settings.conversation.pinned_max.into(), 0, 100),
        ("conversation.read_delay_ms", settings.conversation.read_delay_ms, 0, 60_000),
        ("conversation.reads_waiting_max", settings.conversation.reads_waiting_max as u64, 1, 10_000_000),
        (
            "conversation.reads_waiting_per_user_max",
            settings.conversation.reads_waiting_per_user_max as u64,
            1,
            10_000_000,
        ),
        ("conversation.read_told_members_max", settings.conversation.read_told_members_max.into(), 0, 10_000),
        ("inbox.batch_rows_max", settings.inbox.batch_rows_max as u64, 1, 1_000_000),
        ("inbox.transactions_max", u64::from(settings.inbox.transactions_max), 1, 64),
        ("inbox.transaction_rows_min", settings.inbox.transaction_rows_min as u64, 1, 65_536),
        ("inbox.transaction_interval_ms_max", settings.inbox.transaction_interval_ms_max, 0, 20),
        ("inbox.queue_jobs_max", settings.inbox.queue_jobs_max as u64, 1, 10_000_000),
        ("inbox.queue_bytes_max", settings.inbox.queue_bytes_max as u64, MIB, 64 << 30),
        ("inbox.batch_user_rows_max", settings.inbox.batch_user_rows_max as u64, 1, 1_000_000),
        ("inbox.queue_user_rows_max", settings.inbox.queue_user_rows_max as u64, 1, 10_000_000),
        ("inbox.queue_user_bytes_max", settings.inbox.queue_user_bytes_max as u64, 65_536, 64 << 30),
        ("inbox.user_bytes_per_hour_max", settings.inbox.user_bytes_per_hour_max, 0, 1 << 50),
        ("room.retained_bytes_max", settings.room.retained_bytes_max as u64, 0, 2 * MIB),
        ("room.user_replay_bytes_max", settings.room.user_replay_bytes_max as u64, 1024, 1 << 30),
        ("room.user_replay_refill_ms", settings.room.user_replay_refill_ms, 1, 3_600_000),
        ("room.user_retained_bytes_max", settings.room.user_retained_bytes_max as u64, 1024, 1 << 30),
        ("room.rooms_retained_bytes_max", settings.room.rooms_retained_bytes_max as u64, MIB, 64 << 30),
        ("group.normal_members_max", settings.group.normal_members_max as u64, 1, 10_000),
        ("group.large_members_max", settings.group.large_members_max as u64, 1, 100_000_000),
        ("group.members_per_request_max", settings.group.members_per_request_max as u64, 1, 100_000),
        ("group.user_groups_max", settings.group.user_groups_max.into(), 1, 100_000),
        ("group.additions_per_hour_max", settings.group.additions_per_hour_max.into(), 1, 10_000_000),
        ("group.additions_of_one_per_day_max", settings.group.additions_of_one_per_day_max.into(), 1, 1_000_000),
        ("retention.interval_s", settings.retention.interval_s, 1, 86_400),
        ("retention.step_rows", settings.retention.step_rows.into(), 1, 100_000),
        ("retention.step_pause_ms", settings.retention.step_pause_ms, 0, 60_000),
        ("retention.held_s", settings.retention.held_s, 0, 366 * 86_400),
        // Whoever holds a walk has to show it every few seconds.
        ("events.webhook_timeout_ms", settings.events.webhook_timeout_ms, 1, 5_000),
        ("events.batch_events_max", settings.events.batch_events_max.into(), 1, 10_000),
        ("events.batch_bytes_max", settings.events.batch_bytes_max as u64, 1, 64 * MIB),
        ("events.live_queue_max", settings.events.live_queue_max as u64, 1, 1_000_000),
        ("events.backoff_first_ms", settings.events.backoff_first_ms, 1, 60_000),
        ("events.backoff_max_ms", settings.events.backoff_max_ms, 1, 3_600_000),
        ("events.dead_letter_after_s", settings.events.dead_letter_after_s, 0, 366 * 86_400),
        ("events.streams_max", settings.events.streams_max as u64, 0, 1_000),
        ("events.stream_patience_ms", settings.events.stream_patience_ms, 100, 3_600_000),
        ("events.dead_letter_bytes_max", settings.events.dead_letter_bytes_max, 0, 1 << 40),
        ("room.idempotency_ms", settings.room.idempotency_ms, 0, 86_400_000),
        ("room.idempotency_sends_max", settings.room.idempotency_sends_max as u64, 1, 10_000_000),
        ("room.rooms_max", settings.room.rooms_max as u64, 1, 100_000_000),
    ]
}

/// What is shared with other nodes.
fn nodes(settings: &LogicSettings) -> Vec<Range> {
    vec![
        ("shared_state.command_timeout_ms", settings.shared_state.command_timeout_ms, 1, 60_000),
        ("shared_state.calls_in_flight_max", settings.shared_state.calls_in_flight_max as u64, 1, 1_000_000),
        ("link.lease_ms", settings.link.lease_ms, 100, 600_000),
        ("link.in_flight_max", settings.link.in_flight_max as u64, 1, 1_000_000),
        ("link.down_pushes_max", settings.link.down_pushes_max as u64, 1, 10_000_000),
        ("link.down_bytes_max", settings.link.down_bytes_max as u64, 1024, 64 << 30),
        ("link.down_user_bytes_max", settings.link.down_user_bytes_max as u64, 1024, 64 << 30),
        ("link.batch_items_max", settings.link.batch_items_max as u64, 1, 65_536),
        ("link.leave_timeout_ms", settings.link.leave_timeout_ms, 0, 60_000),
        ("call.in_flight_max", settings.call.in_flight_max as u64, 1, 1_000_000),
        ("call.in_flight_per_user_max", settings.call.in_flight_per_user_max as u64, 1, 1_000_000),
        ("call.timeout_ms", settings.call.timeout_ms, 1, 600_000),
        ("call.reply_bytes_max", settings.call.reply_bytes_max as u64, 1024, 16 << 20),
        ("gateway.nodes_max", settings.gateway.nodes_max as u64, 1, 1_000),
        ("gateway.full_permille", settings.gateway.full_permille.into(), 1, 1_000),
        ("gateway.room_full_permille", settings.gateway.room_full_permille.into(), 1, 1_000),
        ("gateway.heartbeat_s", settings.gateway.heartbeat_s.into(), 1, 86_400),
        ("gateway.backoff_first_ms", settings.gateway.backoff_first_ms.into(), 1, 3_600_000),
        ("gateway.backoff_max_ms", settings.gateway.backoff_max_ms.into(), 1, 3_600_000),
    ]
}
