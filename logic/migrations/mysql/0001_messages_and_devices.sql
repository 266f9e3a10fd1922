-- Ids are 63-bit and unsigned to us, so BIGINT holds each of them. Times are Unix milliseconds. Texts that are keys are
-- VARBINARY: collations of MySQL take trailing blanks for nothing.

CREATE TABLE device (
    id             BIGINT       NOT NULL PRIMARY KEY,
    type           BIGINT       NOT NULL,
    brand          VARCHAR(256) NOT NULL,
    model          VARCHAR(256) NOT NULL,
    system_version VARCHAR(256) NOT NULL,
    sdk_version    VARCHAR(256) NOT NULL,
    branch_push_id VARCHAR(256) NOT NULL,
    created_at_ms  BIGINT       NOT NULL,
    updated_at_ms  BIGINT       NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The newest seq of each user: the one row that a transaction holds while it numbers messages for that user.
CREATE TABLE inbox (
    user_id BIGINT NOT NULL PRIMARY KEY,
    seq     BIGINT NOT NULL
) ENGINE = InnoDB;

CREATE TABLE message (
    id            BIGINT     NOT NULL PRIMARY KEY,
    command       INT        NOT NULL,
    content       MEDIUMBLOB NOT NULL,
    sender_id     BIGINT     NOT NULL,
    created_at_ms BIGINT     NOT NULL,
    status        INT        NOT NULL
) ENGINE = InnoDB;

CREATE TABLE user_message (
    user_id    BIGINT NOT NULL,
    seq        BIGINT NOT NULL,
    message_id BIGINT NOT NULL,
    PRIMARY KEY (user_id, seq)
) ENGINE = InnoDB;

-- What a repeated send is answered from, until the retention time is over.
CREATE TABLE sent (
    sender_id     BIGINT        NOT NULL,
    client_msg_id VARBINARY(64) NOT NULL,
    message_id    BIGINT        NOT NULL,
    seq           BIGINT        NOT NULL,
    created_at_ms BIGINT        NOT NULL,
    PRIMARY KEY (sender_id, client_msg_id),
    KEY sent_by_time (created_at_ms)
) ENGINE = InnoDB;

CREATE TABLE device_ack (
    user_id   BIGINT NOT NULL,
    device_id BIGINT NOT NULL,
    seq       BIGINT NOT NULL,
    PRIMARY KEY (user_id, device_id)
) ENGINE = InnoDB;

-- Room seqs up to here were handed out, or may have been before a crash.
CREATE TABLE room_seq (
    room_id        BIGINT NOT NULL PRIMARY KEY,
    reserved_until BIGINT NOT NULL
) ENGINE = InnoDB;
