-- 0030 took messages of groups for messages between two users.
DELETE FROM direct_message WHERE message_id IN (SELECT id FROM message WHERE group_id <> 0);
