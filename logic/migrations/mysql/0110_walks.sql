-- How far the message ids of each logic node are settled: none below is going to be committed. `beat` rises with each telling; who is
-- `is_strict` commits nothing when it could not tell for a while.
CREATE TABLE id_floor (
    node_number BIGINT NOT NULL PRIMARY KEY,
    floor_id    BIGINT NOT NULL,
    is_strict   BIGINT NOT NULL,
    beat        BIGINT NOT NULL
) ENGINE = InnoDB;

-- Who walks over what is stored, in the order of ids, and how far: `holder` is the process that does it now, as long as `beat` rises.
-- cursor_id is 0 where it is kept elsewhere.
CREATE TABLE message_walk (
    name      VARCHAR(64) NOT NULL PRIMARY KEY,
    cursor_id BIGINT NOT NULL,
    holder    BIGINT NOT NULL,
    is_paused BIGINT NOT NULL,
    beat      BIGINT NOT NULL
) ENGINE = InnoDB;

-- When a message was recalled, by an id among those of messages.
CREATE TABLE message_recall (
    id         BIGINT NOT NULL PRIMARY KEY,
    message_id BIGINT NOT NULL
) ENGINE = InnoDB;

-- The same for how far a user has read. 0 where that was before there were such ids.
ALTER TABLE read_position ADD COLUMN moved_id BIGINT NOT NULL DEFAULT 0;
CREATE INDEX read_position_by_move ON read_position (moved_id);
