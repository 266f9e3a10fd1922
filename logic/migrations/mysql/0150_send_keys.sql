-- By what a repeated send is recognised, for as long as the message is kept, and the sender's seq, which answers it. What the table
-- `sent` holds is put here by the service, which then drops that table.
ALTER TABLE message ADD COLUMN send_key VARBINARY(16), ADD COLUMN sender_seq BIGINT NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX message_by_send_key ON message (send_key);
