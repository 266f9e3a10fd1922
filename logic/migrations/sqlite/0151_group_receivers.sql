-- Whose inboxes got the messages of a group, once for all messages between two changes of its members: `version` is the group's at the
-- time. Ids as varints, ascending. `first_message_id` is the first message that it is for.
CREATE TABLE group_receivers (
    group_id         BIGINT NOT NULL,
    version          BIGINT NOT NULL,
    first_message_id BIGINT NOT NULL,
    user_ids         BLOB   NOT NULL,
    PRIMARY KEY (group_id, version)
) WITHOUT ROWID;

-- Which of them is that of a message; NULL where the message has a list of its own, or none.
ALTER TABLE message ADD COLUMN receivers_version BIGINT;
