-- What two users said to each other, as each of them finds it in the own inbox: a row per side, under the other one's id.
CREATE TABLE direct_message (
    user_id    BIGINT NOT NULL,
    peer_id    BIGINT NOT NULL,
    seq        BIGINT NOT NULL,
    message_id BIGINT NOT NULL,
    PRIMARY KEY (user_id, peer_id, seq)
) ENGINE = InnoDB;

-- The ids of those whose inboxes hold the message, as varints: whom a recall has to reach. NULL where nobody can recall it.
ALTER TABLE message ADD COLUMN receivers MEDIUMBLOB;
