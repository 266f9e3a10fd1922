-- What is left of an upload that was given up counts for a day: its expires_at_ms is -1, and its size_bytes what had come of it. They are
-- found by the index of expires_at_ms.

-- When somebody was last asked whether a content is good, so that one about which nobody answers does not keep others waiting.
ALTER TABLE file_content
    ADD COLUMN asked_at_ms BIGINT NOT NULL DEFAULT 0,
    DROP KEY file_content_state,
    ADD KEY file_content_unchecked (state, asked_at_ms),
    -- By it bytes are found that belong to nothing.
    ADD KEY file_content_id (content_id);
