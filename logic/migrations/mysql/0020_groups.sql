-- A message for a group says so wherever a copy of it is; 0 for others.
ALTER TABLE message ADD COLUMN group_id BIGINT NOT NULL DEFAULT 0;

-- Its row is held by every transaction that changes its members or sends to it: both see the same moment.
CREATE TABLE chat_group (
    id              BIGINT NOT NULL PRIMARY KEY,
    kind            BIGINT NOT NULL,
    name            TEXT   NOT NULL,
    avatar_url      TEXT   NOT NULL,
    introduction    TEXT   NOT NULL,
    extra           TEXT   NOT NULL,
    member_count    BIGINT NOT NULL,
    admin_count     BIGINT NOT NULL,
    -- Raised by every change of its members.
    version         BIGINT NOT NULL,
    -- The newest message of its timeline.
    seq             BIGINT NOT NULL,
    -- Of a large group: messages up to here are in the inboxes, those after it in the timeline only.
    large_after_seq BIGINT NOT NULL,
    created_at_ms   BIGINT NOT NULL,
    updated_at_ms   BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE group_member (
    group_id         BIGINT NOT NULL,
    user_id          BIGINT NOT NULL,
    type             BIGINT NOT NULL,
    status           BIGINT NOT NULL,
    nickname         TEXT   NOT NULL,
    extra            TEXT   NOT NULL,
    -- The member sees what came after it in the timeline.
    joined_after_seq BIGINT NOT NULL,
    joined_at_ms     BIGINT NOT NULL,
    PRIMARY KEY (group_id, user_id),
    KEY group_member_by_user (user_id, group_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The timeline: every message of a group, whichever its kind. A normal group's are in the inboxes of its members as well.
CREATE TABLE group_message (
    group_id   BIGINT NOT NULL,
    seq        BIGINT NOT NULL,
    message_id BIGINT NOT NULL,
    PRIMARY KEY (group_id, seq)
) ENGINE = InnoDB;

-- How far a user has read in a large group.
CREATE TABLE group_cursor (
    user_id  BIGINT NOT NULL,
    group_id BIGINT NOT NULL,
    seq      BIGINT NOT NULL,
    PRIMARY KEY (user_id, group_id)
) ENGINE = InnoDB;
