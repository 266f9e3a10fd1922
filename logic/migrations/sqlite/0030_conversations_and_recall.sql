-- What two users said to each other, as each of them finds it in the own inbox: a row per side, under the other one's id.
CREATE TABLE direct_message (
    user_id    BIGINT NOT NULL,
    peer_id    BIGINT NOT NULL,
    seq        BIGINT NOT NULL,
    message_id BIGINT NOT NULL,
    PRIMARY KEY (user_id, peer_id, seq)
) WITHOUT ROWID;

-- So far a message with a sender went from one user to another, or to its sender alone.
INSERT INTO direct_message (user_id, peer_id, seq, message_id)
SELECT mine.user_id, COALESCE(theirs.user_id, mine.user_id), mine.seq, mine.message_id
FROM user_message mine
JOIN message ON message.id = mine.message_id AND message.sender_id <> 0
LEFT JOIN user_message theirs ON theirs.message_id = mine.message_id AND theirs.user_id <> mine.user_id;

-- The ids of those whose inboxes hold the message, as varints: whom a recall has to reach. NULL where nobody can recall it.
ALTER TABLE message ADD COLUMN receivers BLOB;
