-- By it the uploads of a user are counted that are not whole, whatever their age.
CREATE INDEX file_under_way ON file (user_id, expires_at_ms);
