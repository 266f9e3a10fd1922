-- What a client said of an upload by tus when it began, as it said it.
ALTER TABLE file ADD COLUMN metadata TEXT;
