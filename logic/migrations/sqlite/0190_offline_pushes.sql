-- Pushes that are being handed over, or were: the newest message of a conversation, for a device (0 for the user as a whole). Written
-- before the call by whoever holds the walk `offline_push`, so that nobody else makes that call; what the walk has passed goes.
CREATE TABLE offline_push (
    message_id BIGINT NOT NULL,
    user_id    BIGINT NOT NULL,
    device_id  BIGINT NOT NULL,
    is_group   BIGINT NOT NULL,
    -- 0 for what a service sent to users.
    peer_id    BIGINT NOT NULL,
    PRIMARY KEY (message_id, user_id, device_id)
) WITHOUT ROWID;
