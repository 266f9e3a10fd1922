-- Who may not write to user_id. It stands beside friendships: one that is there stays.
CREATE TABLE blocked (
    user_id       BIGINT NOT NULL,
    blocked_id    BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, blocked_id)
) WITHOUT ROWID;

-- Who asked a user.
CREATE INDEX friend_asked ON friend (friend_id, status);
