-- +goose Up
-- A row of chunk has some 3 KiB. With a number of its own it lies in one page, which a change of flags writes where it is; in
-- the tree of the primary key most of it lies in pages apart, which each change gives back and takes anew.
CREATE TABLE chunk_rows (
  account     INTEGER NOT NULL,
  mailbox     INTEGER NOT NULL,
  first_uid   INTEGER NOT NULL,
  max_mod_seq INTEGER NOT NULL,
  uids        BLOB    NOT NULL,
  flags       BLOB    NOT NULL,
  mod_seqs    BLOB    NOT NULL,
  emails      BLOB    NOT NULL,
  sizes       BLOB    NOT NULL,
  received    BLOB    NOT NULL,
  saved       BLOB,
  PRIMARY KEY (account, mailbox, first_uid)
);
INSERT INTO chunk_rows (account, mailbox, first_uid, max_mod_seq, uids, flags, mod_seqs, emails, sizes, received, saved)
  SELECT account, mailbox, first_uid, max_mod_seq, uids, flags, mod_seqs, emails, sizes, received, saved
  FROM chunk ORDER BY account, mailbox, first_uid;
DROP TABLE chunk;
ALTER TABLE chunk_rows RENAME TO chunk;
CREATE INDEX chunk_by_mod_seq ON chunk (account, mailbox, max_mod_seq);
