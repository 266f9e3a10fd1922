//! Every metric of logic by name; nothing else names one.

/// Requests that wait for the inbox writer.
pub const INBOX_QUEUE_JOBS: &str = "logic_inbox_queue_jobs";
/// Requests that the full queue of the inbox writer refused.
pub const INBOX_QUEUE_FULL: &str = "logic_inbox_queue_full_total";
/// Requests that were refused because much of the same user waits for the inbox writer.
pub const INBOX_SHARE_FULL: &str = "logic_inbox_share_full_total";
/// Requests of users who had as much stored as anybody may within an hour.
pub const BUDGET_SPENT: &str = "logic_budget_spent_total";
/// Requests of users beyond their share.
pub const REQUESTS_BEYOND_SHARE: &str = "logic_requests_beyond_share_total";
/// Inbox rows that were committed.
pub const INBOX_ROWS: &str = "logic_inbox_rows_total";
/// Seconds that one transaction of the inbox writer took.
pub const INBOX_COMMIT_SECONDS: &str = "logic_inbox_commit_seconds";
/// Transactions of the inbox writer that failed.
pub const INBOX_COMMIT_FAILED: &str = "logic_inbox_commit_failed_total";
/// Transactions of the inbox writer that met one of another node and were tried again.
pub const INBOX_COMMIT_RETRIED: &str = "logic_inbox_commit_retried_total";
/// Sends that were answered from an earlier one.
pub const SEND_DUPLICATES: &str = "logic_send_duplicates_total";
/// Deliveries that could not be routed, because the shared state did not answer.
pub const FANOUT_FAILED: &str = "logic_fanout_failed_total";
/// Reads of users that were refused, because too much of one user waited, or nothing could be read in time.
pub const READS_REFUSED: &str = "logic_reads_refused_total";
/// Conn nodes that are attached.
pub const LINK_NODES: &str = "logic_link_nodes";
/// Items that came up the streams.
pub const LINK_UP_ITEMS: &str = "logic_link_up_items_total";
/// Calls over long connections that were answered, by result code.
pub const CALLS: &str = "logic_calls_total";
/// Those that were refused at once, by bound: because too many were under way (`all`), or too many of one user (`user`).
pub const CALLS_REFUSED: &str = "logic_calls_refused_total";
/// Items that went down the streams.
pub const LINK_DOWN_ITEMS: &str = "logic_link_down_items_total";
/// Pushes towards a conn node that were dropped, by bound: the queue's (`all`), the share of the user who caused them (`user`), or
/// because the node was not attached (`away`).
pub const LINK_PUSHES_DROPPED: &str = "logic_link_pushes_dropped_total";
/// Connections that were told their newest seq in place of pushes.
pub const LINK_HINTS: &str = "logic_link_hints_total";
/// Connections of dropped pushes that could not even be remembered for a hint.
pub const LINK_HINTS_LOST: &str = "logic_link_hints_lost_total";
/// Connections that were heard of, and of which the shared state had forgotten something.
pub const CONNECTIONS_FORGOTTEN: &str = "logic_connections_forgotten_total";
/// Connections that were closed because their user had too many.
pub const CONNECTIONS_CROWDED_OUT: &str = "logic_connections_crowded_out_total";
/// Sign-ins on the long connection, by result code.
pub const SIGN_INS: &str = "logic_sign_ins_total";
/// Pushes to rooms.
pub const ROOM_PUSHES: &str = "logic_room_pushes_total";
/// Messages to everybody who is live in a large group.
pub const GROUP_PUSHES: &str = "logic_group_pushes_total";
/// Packets of clients about rooms that were put off, because too many waited, of all or of their user.
pub const ROOM_QUEUE_FULL: &str = "logic_room_queue_full_total";
/// Requests of clients beyond their share of what rooms retain, by what they asked for: to `replay` it, or to `retain` more.
pub const ROOM_SHARES_USED: &str = "logic_room_shares_used_total";
/// Times that rooms retained too many bytes, so that one that nobody was in went, or nothing more was retained.
pub const ROOMS_RETAINED_FULL: &str = "logic_rooms_retained_full_total";
/// Requests that would have put a user into too many groups.
pub const GROUPS_CROWDED: &str = "logic_groups_crowded_total";
/// Rooms that could not be opened, because there are too many.
pub const ROOMS_FULL: &str = "logic_rooms_full_total";
/// Calls of the business service that did not succeed, by call.
pub const BUSINESS_FAILED: &str = "logic_business_failed_total";
/// Tokens that were checked here, by result: `ok`, `refused`, `revoked`.
pub const JWT_CHECKS: &str = "logic_jwt_checks_total";
/// Revocations that were stored.
pub const REVOCATIONS: &str = "logic_revocations_total";
