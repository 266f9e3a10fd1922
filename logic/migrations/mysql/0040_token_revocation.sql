-- Tokens of a user's device (device_id 0: of all her devices) that were issued before a moment are worthless.
CREATE TABLE token_revocation (
    user_id       BIGINT NOT NULL,
    device_id     BIGINT NOT NULL,
    not_before_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, device_id),
    -- What the purge goes by.
    KEY token_revocation_by_time (not_before_ms)
) ENGINE = InnoDB;
