//! Every metric of logic by name; nothing else names one.

use gim_proto::ResultCode;
use metrics::counter;

gim_config::metric_names! {
    /// Requests that wait for the inbox writer.
    Gauge INBOX_QUEUE_JOBS = "logic_inbox_queue_jobs";
    /// For how long the oldest of them has been waiting; looked at every second.
    Gauge INBOX_QUEUE_OLDEST_SECONDS = "logic_inbox_queue_oldest_seconds";
    /// Requests that the full queue of the inbox writer refused.
    Counter INBOX_QUEUE_FULL = "logic_inbox_queue_full_total";
    /// Requests that were refused because much of the same user waits for the inbox writer.
    Counter INBOX_SHARE_FULL = "logic_inbox_share_full_total";
    /// Requests of users who had as much stored as anybody may within an hour.
    Counter BUDGET_SPENT = "logic_budget_spent_total";
    /// Requests of users beyond their share.
    Counter REQUESTS_BEYOND_SHARE = "logic_requests_beyond_share_total";
    /// Inbox rows that were committed.
    Counter INBOX_ROWS = "logic_inbox_rows_total";
    /// Seconds that one transaction of the inbox writer took.
    Histogram INBOX_COMMIT_SECONDS = "logic_inbox_commit_seconds";
    /// For how long the oldest transaction of the inbox writer has been under way; looked at every second.
    Gauge INBOX_COMMIT_OLDEST_SECONDS = "logic_inbox_commit_oldest_seconds";
    /// Transactions of the inbox writer that failed.
    Counter INBOX_COMMIT_FAILED = "logic_inbox_commit_failed_total";
    /// Transactions of the inbox writer that met one of another node and were tried again.
    Counter INBOX_COMMIT_RETRIED = "logic_inbox_commit_retried_total";
    /// Sends that were answered from an earlier one.
    Counter SEND_DUPLICATES = "logic_send_duplicates_total";
    /// Messages that had a word of a list, by the severest that became of them: `refuse`, `mask` or `flag`.
    Counter MESSAGES_FILTERED = "logic_messages_filtered_total" by action ["flag", "mask", "refuse"];
    /// 1 where the lists of words that were put by calls are of no use with the settings of this node, so that older ones hold.
    Gauge WORD_LISTS_UNUSABLE = "logic_word_lists_unusable";
    /// Pushes for devices that are away, by sender and what became of them: `taken`, `unregistered` (nobody is reached under its push
    /// id), `refused`, `unwanted` (the business wakes nobody), or `late` (too old by the time that the sender could be reached).
    Counter OFFLINE_PUSHES = "logic_offline_pushes_total" of sender, result;
    /// Those that wait for their sender.
    Gauge OFFLINE_PUSHES_QUEUED = "logic_offline_pushes_queued" of sender;
    /// Pushes for which there was no place, by bound: devices that are `awaited`, the `queue` of a sender, or the share of it that whoever
    /// caused them has; or no `sender` for such a push id.
    Counter OFFLINE_PUSHES_DROPPED = "logic_offline_pushes_dropped_total" by bound ["awaited", "queue", "sender"];
    /// Seconds from storing a message until its push was taken, or refused.
    Histogram OFFLINE_PUSH_SECONDS = "logic_offline_push_seconds";
    /// Devices with a push id for which a message was stored and nothing handed out, because they have `acknowledged` it, are `connected` and
    /// given time to, or because something `changed` before the push was handed out: acknowledged, muted, recalled, or signed out.
    Counter OFFLINE_PUSHES_SPARED = "logic_offline_pushes_spared_total" by why ["acknowledged", "changed", "connected"];
    /// Devices that are connected and have not acknowledged a message yet.
    Gauge OFFLINE_PUSHES_AWAITED = "logic_offline_pushes_awaited";
    /// Push ids that were forgotten, because nobody is reached under them.
    Counter PUSH_IDS_FORGOTTEN = "logic_push_ids_forgotten_total";
    /// Deliveries that could not be routed, because the shared state did not answer.
    Counter FANOUT_FAILED = "logic_fanout_failed_total";
    /// Reads of users that were refused, because too much of one user waited, or nothing could be read in time.
    Counter READS_REFUSED = "logic_reads_refused_total";
    /// Times that users said how far they have read a conversation.
    Counter READ_POSITIONS_ASKED = "logic_read_positions_asked_total";
    /// Read positions that were written, once for all that was read within a moment.
    Counter READ_POSITIONS_WRITTEN = "logic_read_positions_written_total";
    /// Those that were refused at once, by bound: because too many conversations waited (`all`), or too much of one user (`user`).
    Counter READ_POSITIONS_REFUSED = "logic_read_positions_refused_total" by bound ["all", "user"];
    /// Conn nodes that are attached.
    Gauge LINK_NODES = "logic_link_nodes";
    /// Items that came up the streams.
    Counter LINK_UP_ITEMS = "logic_link_up_items_total";
    /// Calls over long connections that were answered, by result code.
    Counter CALLS = "logic_calls_total" of code;
    /// Those that were refused at once, by bound: because too many were under way (`all`), or too many of one user (`user`).
    Counter CALLS_REFUSED = "logic_calls_refused_total" by bound ["all", "user"];
    /// Items that went down the streams.
    Counter LINK_DOWN_ITEMS = "logic_link_down_items_total";
    /// Pushes towards a conn node that were dropped, by bound: the queue's (`all`), the share of the user who caused them (`user`), or
    /// because the node was not attached (`away`).
    Counter LINK_PUSHES_DROPPED = "logic_link_pushes_dropped_total" by bound ["all", "user", "away"];
    /// Connections that were told their newest seq in place of pushes.
    Counter LINK_HINTS = "logic_link_hints_total";
    /// Connections of dropped pushes that could not even be remembered for a hint.
    Counter LINK_HINTS_LOST = "logic_link_hints_lost_total";
    /// Connections that were heard of, and of which the shared state had forgotten something.
    Counter CONNECTIONS_FORGOTTEN = "logic_connections_forgotten_total";
    /// Connections that were closed because their user had too many.
    Counter CONNECTIONS_CROWDED_OUT = "logic_connections_crowded_out_total";
    /// Sign-ins on the long connection, by result code.
    Counter SIGN_INS = "logic_sign_ins_total" of code;
    /// Pushes to rooms.
    Counter ROOM_PUSHES = "logic_room_pushes_total";
    /// Messages to everybody who is live in a large group.
    Counter GROUP_PUSHES = "logic_group_pushes_total";
    /// Messages and acknowledgements of long connections that were refused because too many waited, by bound: those of their `user`, or
    /// of `all`.
    Counter USER_QUEUES_FULL = "logic_user_queues_full_total" by bound ["user", "all"];
    /// Packets of clients about rooms that were put off, because too many waited, of all or of their user.
    Counter ROOM_QUEUE_FULL = "logic_room_queue_full_total";
    /// Requests of clients beyond their share of what rooms retain, by what they asked for: to `replay` it, or to `retain` more.
    Counter ROOM_SHARES_USED = "logic_room_shares_used_total" by asked ["replay", "retain"];
    /// Times that rooms retained too many bytes, so that one that nobody was in went, or nothing more was retained.
    Counter ROOMS_RETAINED_FULL = "logic_rooms_retained_full_total";
    /// Registrations of devices that were refused, by bound: because too many came from an `address`, or of a `user`.
    Counter REGISTRATIONS_REFUSED = "logic_registrations_refused_total" by bound ["address", "user"];
    /// Requests of users who put too many, or the same one too often, into groups.
    Counter GROUP_ADDITIONS_REFUSED = "logic_group_additions_refused_total";
    /// Requests that would have put a user into too many groups.
    Counter GROUPS_CROWDED = "logic_groups_crowded_total";
    /// Rooms that could not be opened, because there are too many.
    Counter ROOMS_FULL = "logic_rooms_full_total";
    /// Calls of the business service that did not succeed, by call.
    Counter BUSINESS_FAILED = "logic_business_failed_total"
        by call ["Auth", "GetBlockers", "GetUser", "GetUsers", "HandOut", "Handle", "MayAdd", "MayWrite", "MayWriteToRoom"];
    /// Questions of who may write that were answered by `business.while_away`.
    Counter MAY_WRITE_WHILE_AWAY = "logic_may_write_while_away_total";
    /// Round trips to Redis, by result: `ok`, or `failed`.
    Counter REDIS_CALLS = "logic_redis_calls_total" by result ["ok", "failed"];
    /// How long they took, waiting for a place and for a connection included.
    Histogram REDIS_CALL_SECONDS = "logic_redis_call_seconds";
    /// Those that are under way, or wait for a place.
    Gauge REDIS_CALLS_PENDING = "logic_redis_calls_pending";
    /// Connections to Redis that were opened.
    Counter REDIS_CONNECTIONS = "logic_redis_connections_total";
    /// Tokens that were checked here, by result: `ok`, `refused`, `revoked`.
    Counter JWT_CHECKS = "logic_jwt_checks_total" by result ["ok", "refused", "revoked"];
    /// Revocations that were stored.
    Counter REVOCATIONS = "logic_revocations_total";
    /// Transactions that were not committed, because the other nodes could not be told for too long what this one has under way, or went
    /// on without it.
    Counter INBOX_COMMITS_TOO_LATE = "logic_inbox_commits_too_late_total";
    /// How far behind a walk over what is stored is, in seconds, whichever node holds it.
    Gauge WALK_LAG_SECONDS = "logic_walk_lag_seconds" by walk ["events", "offline_push"];
    /// Events that the webhook took.
    Counter EVENTS_DELIVERED = "logic_events_delivered_total";
    /// Calls of the webhook that were not taken, and are made again.
    Counter EVENT_CALLS_FAILED = "logic_event_calls_failed_total";
    /// Events that nobody took, and that are in the dead-letter file.
    Counter EVENTS_DEAD_LETTERED = "logic_events_dead_lettered_total";
    /// Events that are told at most once and were not, by way: to the `webhook`, or to a `stream`; and by kind.
    Counter LIVE_EVENTS_DROPPED = "logic_live_events_dropped_total" of way, kind;
    /// Events that went to streams.
    Counter EVENTS_STREAMED = "logic_events_streamed_total";
    /// Streams of events that are open.
    Gauge EVENT_STREAMS = "logic_event_streams";
    /// Streams that were ended, because their subscriber took nothing for `events.stream_patience_ms`.
    Counter EVENT_STREAMS_TOO_SLOW = "logic_event_streams_too_slow_total";
    /// By how many seconds more is kept than `retention.keep_s` says, because a walk has not passed it.
    Gauge RETENTION_HELD_SECONDS = "logic_retention_held_seconds";
}

/// Begins to count what is counted by result code, for every code there is.
pub fn begin_codes() {
    let numbers = ResultCode::ALL.iter().map(|code| code.number()).chain([0]);
    for code in numbers.map(|number| number.to_string()) {
        for name in [SIGN_INS, CALLS] {
            counter!(name, "code" => code.clone()).increment(0);
        }
    }
}
