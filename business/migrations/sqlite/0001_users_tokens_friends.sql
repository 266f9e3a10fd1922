-- Times are Unix milliseconds. Column types are only BIGINT, BLOB and TEXT (INTEGER where SQLite counts by itself), because
-- every dialect is read through the same driver.

CREATE TABLE user (
    -- AUTOINCREMENT: the id of a user who is gone is never given to another.
    user_id       INTEGER PRIMARY KEY AUTOINCREMENT,
    phone_number  TEXT NOT NULL UNIQUE,
    nickname      TEXT NOT NULL,
    sex           BIGINT NOT NULL,
    avatar_url    TEXT NOT NULL,
    extra         TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL
);

-- One token per device of a user. Only its SHA-256 is kept. WITHOUT ROWID: checking a token is one descent of one tree.
CREATE TABLE token (
    user_id       BIGINT NOT NULL,
    device_id     BIGINT NOT NULL,
    hash          BLOB NOT NULL,
    created_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, device_id)
) WITHOUT ROWID;

-- How user_id sees friend_id. status 1: has asked, not agreed yet; 2: friends, and then both directions have their row.
CREATE TABLE friend (
    user_id       BIGINT NOT NULL,
    friend_id     BIGINT NOT NULL,
    status        BIGINT NOT NULL,
    remarks       TEXT NOT NULL,
    extra         TEXT NOT NULL,
    description   TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, friend_id)
) WITHOUT ROWID;
