//! The names of this service's metrics; nothing else names one. (`grpc_calls_total` and `grpc_call_seconds` count every
//! method already.)

/// Sign-ins by `result`: `new_user`, `known_user`, `wrong_code`, `too_many_attempts`.
pub const SIGN_INS_TOTAL: &str = "business_sign_ins_total";
/// Phone numbers whose wrong codes were forgotten early, because the table of attempts was full.
pub const ATTEMPTS_EVICTED_TOTAL: &str = "business_sign_in_attempts_evicted_total";
/// Token checks by `result`: `ok`, `refused`.
pub const TOKEN_CHECKS_TOTAL: &str = "business_token_checks_total";
/// Reads of users that were refused, because too much of one user waited, or nothing could be read in time.
pub const READS_REFUSED_TOTAL: &str = "business_reads_refused_total";
/// Calls of users beyond their share.
pub const REQUESTS_BEYOND_SHARE_TOTAL: &str = "business_requests_beyond_share_total";
/// Calls to logic that failed, by `result`: `refused`, `away`, `failed`.
pub const LOGIC_FAILURES_TOTAL: &str = "business_logic_failures_total";
/// How many of our limits allow more than logic takes.
pub const LIMITS_BEYOND_LOGICS: &str = "business_limits_beyond_logics";
/// Calls that revoked tokens.
pub const REVOCATIONS_TOTAL: &str = "business_revocations_total";
