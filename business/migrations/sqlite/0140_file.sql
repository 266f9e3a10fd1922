-- Files that users uploaded, or are about to. sha256 is empty until the file is whole, and then names its content.
CREATE TABLE file (
    file_id       BLOB   NOT NULL PRIMARY KEY,
    user_id       BIGINT NOT NULL,
    name          TEXT   NOT NULL,
    size_bytes    BIGINT NOT NULL,
    sha256        BLOB   NOT NULL,
    created_at_ms BIGINT NOT NULL,
    -- When an upload is given up that is not whole; 0 for a file that is.
    expires_at_ms BIGINT NOT NULL
) WITHOUT ROWID;

CREATE INDEX file_user ON file (user_id, created_at_ms);
CREATE INDEX file_expires ON file (expires_at_ms) WHERE expires_at_ms > 0;
CREATE INDEX file_sha256 ON file (sha256);

-- What stands in files, once for all that have the same bytes. state: 0 to be checked, 1 good, 2 refused.
CREATE TABLE file_content (
    sha256          BLOB   NOT NULL PRIMARY KEY,
    -- Under which name the bytes are stored: the file that brought them first.
    content_id      BLOB   NOT NULL,
    size_bytes      BIGINT NOT NULL,
    kind            TEXT   NOT NULL,
    state           BIGINT NOT NULL,
    -- 0 where it is no picture.
    width           BIGINT NOT NULL,
    height          BIGINT NOT NULL,
    thumbnail_bytes BIGINT NOT NULL,
    created_at_ms   BIGINT NOT NULL
) WITHOUT ROWID;

CREATE INDEX file_content_state ON file_content (state) WHERE state = 0;

-- What URLs of files are signed with, where the settings say nothing: one row.
CREATE TABLE file_secret (
    id     BIGINT NOT NULL PRIMARY KEY,
    secret BLOB   NOT NULL
);
