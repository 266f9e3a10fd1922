-- By what a repeated send is recognised, for as long as the message is kept, and the sender's seq, which answers it. What the table
-- `sent` holds is put here by the service, which then drops that table: no SQL of SQLite makes such a key.
ALTER TABLE message ADD COLUMN send_key BLOB;
ALTER TABLE message ADD COLUMN sender_seq BIGINT NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX message_by_send_key ON message (send_key) WHERE send_key IS NOT NULL;
DROP INDEX sent_by_time;
