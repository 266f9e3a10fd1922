-- Another number with each joining of a node: what was under way when its row was deleted is not committed with the next one.
ALTER TABLE id_floor ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0;
