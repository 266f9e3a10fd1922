-- How far an import from another server is: a step and the last number that it took over.
CREATE TABLE import_place (
    step  TEXT   NOT NULL PRIMARY KEY,
    place BIGINT NOT NULL
) WITHOUT ROWID;
