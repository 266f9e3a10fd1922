-- The nickname as searches compare it, computed by the service. NULL: not yet, which the next start of a service makes good.
ALTER TABLE user ADD COLUMN search_name TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
