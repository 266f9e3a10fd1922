-- Devices are told apart for each user: a product may number those of every user 1, 2, 3. user_id 0: what was told about a device
-- since somebody last signed in on it; the next one who does takes it over.
ALTER TABLE device RENAME TO device_of_nobody;

CREATE TABLE device (
    user_id        BIGINT NOT NULL,
    id             BIGINT NOT NULL,
    type           BIGINT NOT NULL,
    brand          TEXT   NOT NULL,
    model          TEXT   NOT NULL,
    system_version TEXT   NOT NULL,
    sdk_version    TEXT   NOT NULL,
    branch_push_id TEXT   NOT NULL,
    created_at_ms  BIGINT NOT NULL,
    updated_at_ms  BIGINT NOT NULL,
    PRIMARY KEY (user_id, id)
) WITHOUT ROWID;

INSERT INTO device (user_id, id, type, brand, model, system_version, sdk_version, branch_push_id, created_at_ms, updated_at_ms)
SELECT 0, id, type, brand, model, system_version, sdk_version, branch_push_id, created_at_ms, updated_at_ms FROM device_of_nobody;

DROP TABLE device_of_nobody;
