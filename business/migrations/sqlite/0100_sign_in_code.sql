-- Codes that were sent to phone numbers. Only their HMAC is kept. A number may have several that are good.
CREATE TABLE sign_in_code (
    phone_number  TEXT   NOT NULL,
    hash          BLOB   NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    PRIMARY KEY (phone_number, hash)
) WITHOUT ROWID;

CREATE INDEX sign_in_code_expires ON sign_in_code (expires_at_ms);
