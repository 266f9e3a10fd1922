-- Times are Unix milliseconds. Names are found whatever their case, as in SQLite; numbers and the rest are exact.

CREATE TABLE user (
    user_id       BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    phone_number  VARCHAR(255) NOT NULL UNIQUE,
    nickname      TEXT         CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL,
    sex           BIGINT       NOT NULL,
    avatar_url    TEXT         NOT NULL,
    extra         TEXT         NOT NULL,
    created_at_ms BIGINT       NOT NULL,
    updated_at_ms BIGINT       NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- One token per device of a user. Only its SHA-256 is kept.
CREATE TABLE token (
    user_id       BIGINT        NOT NULL,
    device_id     BIGINT        NOT NULL,
    hash          VARBINARY(32) NOT NULL,
    created_at_ms BIGINT        NOT NULL,
    expires_at_ms BIGINT        NOT NULL,
    PRIMARY KEY (user_id, device_id),
    KEY token_device (device_id)
) ENGINE = InnoDB;

-- How user_id sees friend_id. status 1: has asked, not agreed yet; 2: friends, and then both directions have their row.
CREATE TABLE friend (
    user_id       BIGINT NOT NULL,
    friend_id     BIGINT NOT NULL,
    status        BIGINT NOT NULL,
    remarks       TEXT   NOT NULL,
    extra         TEXT   NOT NULL,
    description   TEXT   NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, friend_id),
    KEY friend_asked (friend_id, status)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Who may not write to user_id. It stands beside friendships: one that is there stays.
CREATE TABLE blocked (
    user_id       BIGINT NOT NULL,
    blocked_id    BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, blocked_id)
) ENGINE = InnoDB;
