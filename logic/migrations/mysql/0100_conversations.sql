-- How far a user has read in a conversation: with another user (peer_id) up to a seq of the own inbox, in a group up to one of its
-- timeline. Written when the user reads, by hand and never by a message.
CREATE TABLE read_position (
    user_id          BIGINT NOT NULL,
    is_group         BIGINT NOT NULL,
    peer_id          BIGINT NOT NULL,
    seq              BIGINT NOT NULL,
    message_id       BIGINT NOT NULL,
    -- The same message in the other user's inbox; 0 in groups, and where it is not there.
    peer_seq         BIGINT NOT NULL,
    is_marked_unread BIGINT NOT NULL,
    PRIMARY KEY (user_id, is_group, peer_id)
) ENGINE = InnoDB;

-- What a user wants of a conversation. A row for those alone that the user ever touched.
CREATE TABLE conversation_setting (
    user_id           BIGINT NOT NULL,
    is_group          BIGINT NOT NULL,
    peer_id           BIGINT NOT NULL,
    -- 0 where it is not pinned.
    pinned_at_ms      BIGINT NOT NULL,
    is_muted          BIGINT NOT NULL,
    -- Out of the list as long as no message has this number or a greater one.
    hidden_before_seq BIGINT NOT NULL,
    -- Deleted up to here, for this user.
    cleared_seq       BIGINT NOT NULL,
    PRIMARY KEY (user_id, is_group, peer_id),
    KEY conversation_setting_by_pin (user_id, pinned_at_ms)
) ENGINE = InnoDB;
