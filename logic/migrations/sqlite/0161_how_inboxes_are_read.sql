-- What two users say to each other is to be found by `direct_inbox_by_peer`: without a word on how many rows there are of a user, and of
-- two of them, SQLite takes the primary key, which has the message as well, and reads all that others wrote to the user meanwhile.
-- Whoever runs ANALYZE puts what is counted in its place.
ANALYZE sqlite_schema;
DELETE FROM sqlite_stat1 WHERE tbl = 'direct_inbox';
INSERT INTO sqlite_stat1 (tbl, idx, stat)
VALUES ('direct_inbox', 'direct_inbox', '10000000 1000 1'), ('direct_inbox', 'direct_inbox_by_peer', '10000000 1000 50 1');
ANALYZE sqlite_schema;
