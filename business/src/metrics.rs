//! The names of this service's metrics; nothing else names one. (`grpc_calls_total` and `grpc_call_seconds` count every
//! method already.)

gim_config::metric_names! {
    /// Sign-ins by `result`: `new_user`, `known_user`, `wrong_code`, `too_many_attempts`, and `other_device`, where somebody else is signed in
    /// on the device.
    Counter SIGN_INS_TOTAL = "business_sign_ins_total" by result
        ["new_user", "known_user", "wrong_code", "too_many_attempts", "other_device"];
    /// Sign-in codes that were asked for, by `result`: `sent`, `too_many`, `refused`, `failed`.
    Counter SIGN_IN_CODES_TOTAL = "business_sign_in_codes_total" by result ["sent", "too_many", "refused", "failed"];
    /// Phone numbers and addresses whose codes were forgotten early, because the table of attempts was full.
    Counter ATTEMPTS_EVICTED_TOTAL = "business_sign_in_attempts_evicted_total";
    /// Token checks by `result`: `ok`, `refused`.
    Counter TOKEN_CHECKS_TOTAL = "business_token_checks_total" by result ["ok", "refused"];
    /// Reads of users that were refused, because too much of one user waited, or nothing could be read in time.
    Counter READS_REFUSED_TOTAL = "business_reads_refused_total";
    /// Calls of users beyond their share.
    Counter REQUESTS_BEYOND_SHARE_TOTAL = "business_requests_beyond_share_total";
    /// Calls to logic that failed, by `result`: `refused`, `away`, `failed`.
    Counter LOGIC_FAILURES_TOTAL = "business_logic_failures_total" by result ["refused", "away", "failed"];
    /// How many of our limits allow more than logic takes.
    Gauge LIMITS_BEYOND_LOGICS = "business_limits_beyond_logics";
    /// Calls that revoked tokens.
    Counter REVOCATIONS_TOTAL = "business_revocations_total";
    /// Uploads by `result`: `stored`, `refused` (before their bytes were taken), `failed`.
    Counter FILE_UPLOADS_TOTAL = "business_file_uploads_total" by result ["stored", "refused", "failed"];
    /// Reads of files by `result`: `answered`, `refused`.
    Counter FILE_DOWNLOADS_TOTAL = "business_file_downloads_total" by result ["answered", "refused"];
    /// Bytes of files by `direction`: `up`, `down`.
    Counter FILE_BYTES_TOTAL = "business_file_bytes_total" by direction ["up", "down"];
    /// Transfers that are under way, by `direction`: `up`, `down`.
    Gauge FILE_TRANSFERS = "business_file_transfers" by direction ["up", "down"];
    /// Uploads that were not whole in time and were removed.
    Counter FILE_UPLOADS_EXPIRED_TOTAL = "business_file_uploads_expired_total";
    /// Answers of the webhook that checks files, by `result`: `good`, `refused`, `failed` (it is asked again).
    Counter FILE_CHECKS_TOTAL = "business_file_checks_total" by result ["good", "refused", "failed"];
    /// Contents that wait until that webhook says that they are good.
    Gauge FILE_CHECKS_WAITING = "business_file_checks_waiting";
    /// For how long the oldest of them has waited.
    Gauge FILE_CHECK_OLDEST_SECONDS = "business_file_check_oldest_seconds";
    /// Connections for files that were ended, by `why`: `silent`, `slow`, `evicted` (for a new one), `full` (there was no place for it).
    Counter FILE_CONNECTIONS_ENDED_TOTAL = "business_file_connections_ended_total" by why ["silent", "slow", "evicted", "full"];
}
