-- +goose Up
-- uid_mark is a mailbox's UIDNEXT at a time: entries with lower UIDs have been in it since then at the latest.
CREATE TABLE uid_mark (
  account  INTEGER NOT NULL,
  mailbox  INTEGER NOT NULL,
  uid_next INTEGER NOT NULL,
  at_ns    INTEGER NOT NULL, -- when it was first seen so
  PRIMARY KEY (account, mailbox, uid_next)
) WITHOUT ROWID;
