-- Codes that were sent to phone numbers. Only their HMAC is kept. A number may have several that are good.
CREATE TABLE sign_in_code (
    phone_number  VARCHAR(255)  NOT NULL,
    hash          VARBINARY(32) NOT NULL,
    expires_at_ms BIGINT        NOT NULL,
    PRIMARY KEY (phone_number, hash),
    KEY sign_in_code_expires (expires_at_ms)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
