-- One row: what tells this database from others that share a Redis by mistake.
CREATE TABLE deployment (
    id BIGINT NOT NULL PRIMARY KEY
);
INSERT INTO deployment (id) VALUES (1 + (random() & 9007199254740990));
