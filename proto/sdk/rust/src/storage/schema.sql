-- How far everything is there: of the inbox (group_id 0), and of each large group.
CREATE TABLE IF NOT EXISTS cursor (
    group_id INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL
);
-- What is not answered yet, in the order in which it was sent.
CREATE TABLE IF NOT EXISTS outbox (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    client_msg_id TEXT NOT NULL UNIQUE,
    target_kind INTEGER NOT NULL,
    target_id INTEGER NOT NULL,
    command INTEGER NOT NULL,
    content BLOB NOT NULL,
    created_at_ms INTEGER NOT NULL
);
-- conversation_kind: 0 none, 1 with a user, 2 a group. number: its place in there.
CREATE TABLE IF NOT EXISTS message (
    message_id INTEGER NOT NULL UNIQUE,
    conversation_kind INTEGER NOT NULL,
    conversation_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    command INTEGER NOT NULL,
    content BLOB NOT NULL,
    status INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    group_seq INTEGER NOT NULL,
    group_id INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    from_user_id INTEGER NOT NULL,
    from_device_id INTEGER NOT NULL,
    nickname TEXT NOT NULL,
    avatar_url TEXT NOT NULL,
    extra TEXT NOT NULL,
    to_user_id INTEGER NOT NULL,
    is_own INTEGER NOT NULL,
    client_msg_id TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS message_of_conversation ON message (conversation_kind, conversation_id, number);
