-- Lists of words that were put by calls, a line for each word: 1 refuse, 2 mask, 3 flag.
CREATE TABLE word_list (
    kind          INTEGER NOT NULL PRIMARY KEY,
    version       BIGINT  NOT NULL,
    changed_at_ms BIGINT  NOT NULL,
    words         BLOB    NOT NULL
);
INSERT INTO word_list (kind, version, changed_at_ms, words) VALUES (1, 0, 0, X''), (2, 0, 0, X''), (3, 0, 0, X'');
