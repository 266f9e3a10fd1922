-- How far the other user may know that was read: the message at `peer_seq`.
ALTER TABLE read_position ADD COLUMN peer_message_id BIGINT NOT NULL DEFAULT 0;

-- Who has read how far in a group.
CREATE INDEX read_position_of_members ON read_position (is_group, peer_id, seq, user_id);
