-- When it was last revoked: connections that were let in before it and come back later have to go.
ALTER TABLE token_revocation ADD COLUMN revoked_at_ms BIGINT NOT NULL DEFAULT 0;
UPDATE token_revocation SET revoked_at_ms = not_before_ms;
