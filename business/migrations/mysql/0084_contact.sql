-- Whom a user lets put her into groups: 1 everybody, 2 friends, 3 nobody; 0, and who has no row, as the settings have it.
CREATE TABLE contact_rules (
    user_id       BIGINT NOT NULL PRIMARY KEY,
    added_by      BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL
) ENGINE = InnoDB;

-- What friend_id was told about user_id, and when. 1: asks to be a friend; 2: agreed to be one (the numbers of friend.status).
CREATE TABLE told (
    user_id    BIGINT NOT NULL,
    friend_id  BIGINT NOT NULL,
    what       BIGINT NOT NULL,
    told_at_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, friend_id, what)
) ENGINE = InnoDB;

-- So far everything was told.
INSERT INTO told (user_id, friend_id, what, told_at_ms) SELECT user_id, friend_id, status, updated_at_ms FROM friend;
