-- How far a device has acknowledged the timeline of a large group, by which it is seen whether it has to be woken. `group_cursor` has the
-- furthest of its user's devices.
CREATE TABLE group_device_cursor (
    user_id   BIGINT NOT NULL,
    group_id  BIGINT NOT NULL,
    device_id BIGINT NOT NULL,
    seq       BIGINT NOT NULL,
    PRIMARY KEY (user_id, group_id, device_id)
) WITHOUT ROWID;
