-- Who left a group by himself. Other users do not put him into it again; who was removed by others is not here.
CREATE TABLE group_left (
    group_id   BIGINT NOT NULL,
    user_id    BIGINT NOT NULL,
    left_at_ms BIGINT NOT NULL,
    PRIMARY KEY (group_id, user_id)
) WITHOUT ROWID;
