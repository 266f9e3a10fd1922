-- How long these may be is a setting.
ALTER TABLE device
    MODIFY brand          TEXT NOT NULL,
    MODIFY model          TEXT NOT NULL,
    MODIFY system_version TEXT NOT NULL,
    MODIFY sdk_version    TEXT NOT NULL,
    MODIFY branch_push_id TEXT NOT NULL;
