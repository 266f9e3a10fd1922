-- Whose a device is: found when somebody else signs in on it.
CREATE INDEX token_device ON token (device_id);
