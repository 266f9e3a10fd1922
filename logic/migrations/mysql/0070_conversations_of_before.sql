-- Messages between two users from before 0030, which can be told by having no receivers: a row per side, as there is for
-- all that came later. A message to oneself has one side.
INSERT INTO direct_message (user_id, peer_id, seq, message_id)
SELECT mine.user_id, IF(mine.user_id = sides.one, sides.other, sides.one), mine.seq, mine.message_id
FROM user_message mine
JOIN (
    SELECT um.message_id, MIN(um.user_id) AS one, MAX(um.user_id) AS other
    FROM user_message um
    JOIN message ON message.id = um.message_id
    WHERE message.sender_id <> 0 AND message.group_id = 0 AND message.status = 0 AND message.receivers IS NULL
    GROUP BY um.message_id
) AS sides ON sides.message_id = mine.message_id;
