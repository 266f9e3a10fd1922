-- Ids are 63-bit and unsigned to us, so BIGINT holds each of them. Times are Unix milliseconds.

CREATE TABLE device (
    id             BIGINT NOT NULL PRIMARY KEY,
    type           BIGINT NOT NULL,
    brand          TEXT   NOT NULL,
    model          TEXT   NOT NULL,
    system_version TEXT   NOT NULL,
    sdk_version    TEXT   NOT NULL,
    branch_push_id TEXT   NOT NULL,
    created_at_ms  BIGINT NOT NULL,
    updated_at_ms  BIGINT NOT NULL
) WITHOUT ROWID;

-- The newest seq of each user: the one row that a transaction holds while it numbers messages for that user.
CREATE TABLE inbox (
    user_id BIGINT NOT NULL PRIMARY KEY,
    seq     BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE message (
    id            INTEGER NOT NULL PRIMARY KEY,
    command       BIGINT  NOT NULL,
    content       BLOB    NOT NULL,
    sender_id     BIGINT  NOT NULL,
    created_at_ms BIGINT  NOT NULL,
    status        BIGINT  NOT NULL
);

CREATE TABLE user_message (
    user_id    BIGINT NOT NULL,
    seq        BIGINT NOT NULL,
    message_id BIGINT NOT NULL,
    PRIMARY KEY (user_id, seq)
) WITHOUT ROWID;

-- What a repeated send is answered from, until the retention time is over.
CREATE TABLE sent (
    sender_id     BIGINT NOT NULL,
    client_msg_id TEXT   NOT NULL,
    message_id    BIGINT NOT NULL,
    seq           BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (sender_id, client_msg_id)
) WITHOUT ROWID;

CREATE INDEX sent_by_time ON sent (created_at_ms);

CREATE TABLE device_ack (
    user_id   BIGINT NOT NULL,
    device_id BIGINT NOT NULL,
    seq       BIGINT NOT NULL,
    PRIMARY KEY (user_id, device_id)
) WITHOUT ROWID;

-- Room seqs up to here were handed out, or may have been before a crash.
CREATE TABLE room_seq (
    room_id        BIGINT NOT NULL PRIMARY KEY,
    reserved_until BIGINT NOT NULL
) WITHOUT ROWID;
