-- What is left of an upload that was given up counts for a day: its expires_at_ms is -1, and its size_bytes what had come of it.
CREATE INDEX file_given_up ON file (created_at_ms) WHERE expires_at_ms < 0;

-- When somebody was last asked whether a content is good, so that one about which nobody answers does not keep others waiting.
ALTER TABLE file_content ADD COLUMN asked_at_ms BIGINT NOT NULL DEFAULT 0;
DROP INDEX file_content_state;
CREATE INDEX file_content_unchecked ON file_content (asked_at_ms) WHERE state = 0;

-- By it bytes are found that belong to nothing.
CREATE INDEX file_content_id ON file_content (content_id);
