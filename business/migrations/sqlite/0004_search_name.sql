-- The nickname as searches compare it, computed by the service. NULL: not yet, which the next start of a service makes good.
ALTER TABLE user ADD COLUMN search_name TEXT;
