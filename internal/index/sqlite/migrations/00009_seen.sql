-- +goose Up

-- seen are flags that are each reader's own, of readers who are not the owner (the account): \Seen, and what the store is
-- configured for. A row goes beside the chunk of the same first_uid and has those of its entries that the reader changed;
-- the reader's MODSEQ of an entry is the greater of this one and the chunk's.
CREATE TABLE seen (
  account     INTEGER NOT NULL,
  mailbox     INTEGER NOT NULL,
  reader      INTEGER NOT NULL,
  first_uid   INTEGER NOT NULL,
  max_mod_seq INTEGER NOT NULL,
  uids        BLOB    NOT NULL,
  flags       BLOB    NOT NULL,
  mod_seqs    BLOB    NOT NULL,
  PRIMARY KEY (account, mailbox, reader, first_uid)
) WITHOUT ROWID;
CREATE INDEX seen_by_mod_seq ON seen (account, mailbox, reader, max_mod_seq);

-- operation makes copies from other accounts happen once. A row goes a day later.
CREATE TABLE operation (
  account      INTEGER NOT NULL,
  operation    BLOB    NOT NULL,
  uid_validity INTEGER NOT NULL,
  source_uids  BLOB    NOT NULL,
  target_uids  BLOB    NOT NULL,
  done_ns      INTEGER NOT NULL,
  PRIMARY KEY (account, operation)
) WITHOUT ROWID;
