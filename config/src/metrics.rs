//! The metrics that every service has. Nothing else here names one.

crate::metric_names! {
    /// 1, with the version and the commit that the program was built from.
    Gauge BUILD_INFO = "gim_build_info" of service, version, commit;
    /// Whole seconds of CPU that the process took.
    Counter PROCESS_CPU_SECONDS = "process_cpu_seconds_total";
    /// Memory of the process that is in RAM.
    Gauge PROCESS_RESIDENT_MEMORY_BYTES = "process_resident_memory_bytes";
    /// Files that the process has open, sockets among them, where the system tells it (Linux 6.2 and later).
    Gauge PROCESS_OPEN_FDS = "process_open_fds";
    /// How many it may have.
    Gauge PROCESS_MAX_FDS = "process_max_fds";
    /// How often settings and files were read again, by SIGHUP or `gim-ctl reload`: `ok`, or `refused`, where something stays as it was.
    Counter RELOADS = "gim_reloads_total" by result ["ok", "refused"];
    /// GRPC calls, by status code; 0 is success, 14 is "try again later". Those of older clients say their dialect.
    Counter GRPC_CALLS = "grpc_calls_total" of method, code, dialect;
    /// How long they took.
    Histogram GRPC_CALL_SECONDS = "grpc_call_seconds" of method, dialect;
    /// Calls of internal services by callers that showed no token (`absent`), a wrong one (`wrong`) or no certificate
    /// (`uncertified`).
    Counter GRPC_REFUSED = "grpc_refused_total" by why ["absent", "wrong", "uncertified"];
    /// GRPC connections of services and of strangers.
    Gauge GRPC_CONNECTIONS = "grpc_connections" of caller;
    /// Connections that were ended: `silent`, `idle`, `unfinished`, `untaken`, `resets`, `tokens`, `evicted`, `stopping`,
    /// `headers`.
    Counter GRPC_CONNECTIONS_ENDED = "grpc_connections_ended_total"
        by why ["silent", "idle", "unfinished", "untaken", "resets", "tokens", "evicted", "stopping", "headers"];
    /// Connects of addresses that are refused for a while.
    Counter GRPC_CONNECTIONS_REFUSED = "grpc_connections_refused_total";
    /// Pauses of accepting, because the process or the system was out of files or memory.
    Counter GRPC_ACCEPT_PAUSES = "grpc_accept_pauses_total";
    /// Tries to call a node of another service that found it away.
    Counter GRPC_NODES_PASSED_OVER = "grpc_nodes_passed_over_total";
    /// What strangers hold: `calls`, `request_bytes`, `answer_bytes`.
    Gauge GRPC_HELD = "grpc_held" of kind;
    /// Calls of strangers that were refused before they began, or with their answer: `calls`, `headers`, `unsigned`,
    /// `answers`.
    Counter GRPC_CALLS_REFUSED = "grpc_calls_refused_total"
        by why ["calls", "headers", "unsigned", "answers", "rate", "page", "internal", "wrong_port"];
    /// Answers that were let go because nobody took them.
    Counter GRPC_ANSWERS_LATE = "grpc_answers_late_total";
    /// Requests of strangers that were given up before they were whole: `late`, `full`, `large`.
    Counter GRPC_REQUESTS_NOT_RECEIVED = "grpc_requests_not_received_total" by why ["late", "full", "large"];
    /// Connections of the admin listener and of the chat page that were ended before they had an answer: `late`, or `evicted`
    /// for one of somebody else.
    Counter HTTP_CONNECTIONS_ENDED = "http_connections_ended_total" by why ["late", "evicted"];
    /// When a certificate that is shown to services, or at `[clients]` of logic, expires, as Unix time.
    Gauge GRPC_CERTIFICATE_EXPIRATION = "grpc_certificate_expiration_timestamp_seconds" of file;
    /// Spans of traces, by result: `sent` to the receiver, or `dropped`, because too many waited or it did not take them.
    Counter TRACE_SPANS = "gim_trace_spans_total" by result ["sent", "dropped"];
    /// Lines of the log that were lost because nobody read standard error.
    Counter LOG_LINES_DROPPED = "log_lines_dropped_total";
    /// 1 while what is written to the database is kept, otherwise 0; looked at every second.
    Gauge DATABASE_USABLE = "database_usable";
    /// What a SQLite uses of the log beside its file, in bytes.
    Gauge DATABASE_LOG_BYTES = "database_log_bytes";
    /// Connections to the database that there may be, by pool: `read`, `sign_in` (what sign-ins read) and `write`.
    Gauge DATABASE_POOL_PLACES = "database_pool_places" of pool;
    /// Connections of it that something runs on, or that the server refuses just now.
    Gauge DATABASE_POOL_IN_USE = "database_pool_in_use" of pool;
    /// What waits for a connection of it.
    Gauge DATABASE_POOL_WAITING = "database_pool_waiting" of pool;
}
