-- Who brought a content first: users have turns. What was brought before is looked up where it still waits.
ALTER TABLE file_content ADD COLUMN user_id BIGINT NOT NULL DEFAULT 0;
-- When somebody is asked whether it is good: 0 as long as nobody was. While a node asks, when others may. Nodes of older versions write
-- asked_at_ms, which nothing else reads.
ALTER TABLE file_content ADD COLUMN ask_at_ms BIGINT NOT NULL DEFAULT 0;
-- How often nobody answered.
ALTER TABLE file_content ADD COLUMN failed_checks BIGINT NOT NULL DEFAULT 0;
UPDATE file_content SET ask_at_ms = asked_at_ms,
    user_id = COALESCE((SELECT MIN(file.user_id) FROM file WHERE file.sha256 = file_content.sha256), 0) WHERE state = 0;

DROP INDEX file_content_unchecked;
CREATE INDEX file_content_new ON file_content (user_id, created_at_ms) WHERE state = 0 AND ask_at_ms = 0;
CREATE INDEX file_content_waiting ON file_content (user_id, ask_at_ms, created_at_ms) WHERE state = 0;
