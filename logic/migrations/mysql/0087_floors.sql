-- The rows of nobody, raised with all others where the database went back: inboxes and rooms that have no row yet begin after them.
INSERT INTO inbox (user_id, seq) VALUES (0, 0);
INSERT INTO room_seq (room_id, reserved_until) VALUES (0, 0);
