-- Files that users uploaded, or are about to. sha256 is empty until the file is whole, and then names its content.
CREATE TABLE file (
    file_id       VARBINARY(16) NOT NULL PRIMARY KEY,
    user_id       BIGINT        NOT NULL,
    name          TEXT          NOT NULL,
    size_bytes    BIGINT        NOT NULL,
    sha256        VARBINARY(32) NOT NULL,
    created_at_ms BIGINT        NOT NULL,
    -- When an upload is given up that is not whole; 0 for a file that is.
    expires_at_ms BIGINT        NOT NULL,
    KEY file_user (user_id, created_at_ms),
    KEY file_expires (expires_at_ms),
    KEY file_sha256 (sha256)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- What stands in files, once for all that have the same bytes. state: 0 to be checked, 1 good, 2 refused.
CREATE TABLE file_content (
    sha256          VARBINARY(32) NOT NULL PRIMARY KEY,
    -- Under which name the bytes are stored: the file that brought them first.
    content_id      VARBINARY(16) NOT NULL,
    size_bytes      BIGINT        NOT NULL,
    kind            VARCHAR(127)  NOT NULL,
    state           BIGINT        NOT NULL,
    -- 0 where it is no picture.
    width           BIGINT        NOT NULL,
    height          BIGINT        NOT NULL,
    thumbnail_bytes BIGINT        NOT NULL,
    created_at_ms   BIGINT        NOT NULL,
    KEY file_content_state (state)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- What URLs of files are signed with, where the settings say nothing: one row.
CREATE TABLE file_secret (
    id     BIGINT        NOT NULL PRIMARY KEY,
    secret VARBINARY(64) NOT NULL
) ENGINE = InnoDB;
