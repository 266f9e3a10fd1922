ALTER TABLE file_content
    -- Who brought a content first: users have turns. What was brought before is looked up where it still waits.
    ADD COLUMN user_id BIGINT NOT NULL DEFAULT 0,
    -- When somebody is asked whether it is good: 0 as long as nobody was. While a node asks, when others may. Nodes of older versions write
    -- asked_at_ms, which nothing else reads.
    ADD COLUMN ask_at_ms BIGINT NOT NULL DEFAULT 0,
    -- How often nobody answered.
    ADD COLUMN failed_checks BIGINT NOT NULL DEFAULT 0,
    ADD KEY file_content_new (state, ask_at_ms, user_id, created_at_ms),
    ADD KEY file_content_waiting (state, user_id, ask_at_ms, created_at_ms),
    DROP KEY file_content_unchecked;
UPDATE file_content SET ask_at_ms = asked_at_ms,
    user_id = COALESCE((SELECT MIN(file.user_id) FROM file WHERE file.sha256 = file_content.sha256), 0) WHERE state = 0;
