-- One row: what tells this database from others that share a Redis by mistake.
CREATE TABLE deployment (
    id BIGINT NOT NULL PRIMARY KEY
) ENGINE = InnoDB;
INSERT INTO deployment (id) VALUES (FLOOR(1 + RAND() * 9007199254740990));
