-- The logic nodes that share one Redis and said so lately, by the clock of the database: one that uses another Redis finds them here.
CREATE TABLE logic_node (
    number BIGINT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    said_at_ms BIGINT NOT NULL
);
