-- Places of inboxes that are part of what two users say to each other: here alone, and not in `user_message`, where all others are. By
-- the index each side finds what it and the other one said. What `direct_message` holds is put here by the service, a little at a time,
-- which then drops that table.
CREATE TABLE direct_inbox (
    user_id    BIGINT NOT NULL,
    seq        BIGINT NOT NULL,
    peer_id    BIGINT NOT NULL,
    message_id BIGINT NOT NULL,
    PRIMARY KEY (user_id, seq),
    KEY direct_inbox_by_peer (user_id, peer_id, seq)
) ENGINE = InnoDB;
