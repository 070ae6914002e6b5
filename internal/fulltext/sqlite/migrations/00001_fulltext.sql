-- +goose Up
-- The full-text index (internal/fulltext): derived data, in a file of its own. Times are nanoseconds since 1970 UTC.

-- fulltext_account is how far an account is indexed.
CREATE TABLE fulltext_account (
  account     INTEGER NOT NULL PRIMARY KEY,
  version     INTEGER NOT NULL, -- of the program that indexed it
  mod_seq     INTEGER NOT NULL, -- the account's, up to which its emails are indexed
  newest      INTEGER NOT NULL, -- the highest email then
  compared_ns INTEGER NOT NULL  -- when all of its emails were last compared
);

-- fulltext_segment is a set of emails; their columns are packed. dead are those that have left it, and changed counts that.
CREATE TABLE fulltext_segment (
  account INTEGER NOT NULL,
  segment INTEGER NOT NULL,
  version INTEGER NOT NULL,
  bits    INTEGER NOT NULL, -- of a token, which name its row of lists
  octets  INTEGER NOT NULL, -- of the lists
  docs    INTEGER NOT NULL,
  live    INTEGER NOT NULL,
  changed INTEGER NOT NULL,
  emails  BLOB    NOT NULL,
  always  BLOB    NOT NULL, -- bits: every search looks at them
  dead    BLOB    NOT NULL,
  PRIMARY KEY (account, segment)
) WITHOUT ROWID;

-- fulltext_lists has the lists of emails for each token, thousands of tokens in a row. place is segment << 16 | slice.
CREATE TABLE fulltext_lists (
  place   INTEGER NOT NULL PRIMARY KEY,
  account INTEGER NOT NULL,
  data    BLOB    NOT NULL
);
CREATE INDEX fulltext_lists_account ON fulltext_lists (account);
