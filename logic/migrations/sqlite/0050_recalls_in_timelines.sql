-- 1 where the place in the timeline is that of a recall: it names the recalled message once more, for those who had it.
ALTER TABLE group_message ADD COLUMN is_recall BIGINT NOT NULL DEFAULT 0;
