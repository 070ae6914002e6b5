-- +goose Up
-- The full-text index (internal/fulltext): derived data. Times are nanoseconds since 1970 UTC; the account is the
-- distribution key.

-- fulltext_account is how far an account is indexed.
CREATE TABLE fulltext_account (
  account     BIGINT NOT NULL PRIMARY KEY,
  version     BIGINT NOT NULL, -- of the program that indexed it
  mod_seq     BIGINT NOT NULL, -- the account's, up to which its emails are indexed
  newest      BIGINT NOT NULL, -- the highest email then
  compared_ns BIGINT NOT NULL  -- when all of its emails were last compared
);

-- fulltext_segment is a set of emails; their columns are packed. dead are those that have left it, and changed counts that.
CREATE TABLE fulltext_segment (
  account BIGINT NOT NULL,
  segment BIGINT NOT NULL,
  version BIGINT NOT NULL,
  bits    BIGINT NOT NULL, -- of a token, which name its row of lists
  octets  BIGINT NOT NULL, -- of the lists
  docs    BIGINT NOT NULL,
  live    BIGINT NOT NULL,
  changed BIGINT NOT NULL,
  emails  BYTEA  NOT NULL,
  always  BYTEA  NOT NULL, -- bits: every search looks at them
  dead    BYTEA  NOT NULL,
  PRIMARY KEY (account, segment)
);

-- fulltext_lists has the lists of emails for each token, thousands of tokens in a row. place is segment << 16 | slice.
CREATE TABLE fulltext_lists (
  account BIGINT NOT NULL,
  place   BIGINT NOT NULL,
  data    BYTEA  NOT NULL,
  PRIMARY KEY (account, place)
);
-- The lists are packed already.
ALTER TABLE fulltext_segment ALTER emails SET STORAGE EXTERNAL;
ALTER TABLE fulltext_lists ALTER data SET STORAGE EXTERNAL;
