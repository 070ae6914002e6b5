-- +goose Up
-- annotation has what people note about mailboxes (RFC 5464); mailbox 0 is the account. reader is whose own entry it is, 0 where
-- it is shared. octets are those of value.
CREATE TABLE annotation (
  account INTEGER NOT NULL,
  mailbox INTEGER NOT NULL,
  reader  INTEGER NOT NULL,
  name    TEXT    NOT NULL,
  octets  INTEGER NOT NULL,
  value   BLOB    NOT NULL,
  PRIMARY KEY (account, mailbox, reader, name)
) WITHOUT ROWID;
