-- Devices are told apart for each user: a product may number those of every user 1, 2, 3. user_id 0: what was told about a device
-- since somebody last signed in on it; the next one who does takes it over.
ALTER TABLE device
    ADD COLUMN user_id BIGINT NOT NULL DEFAULT 0 FIRST,
    DROP PRIMARY KEY,
    ADD PRIMARY KEY (user_id, id);
