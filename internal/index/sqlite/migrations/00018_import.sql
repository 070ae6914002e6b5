-- +goose Up
-- imported is by what importers know the messages that they brought, so that a repeat brings nothing twice. A row stays when
-- its message is removed, and goes with the mailbox.
CREATE TABLE imported (
  account INTEGER NOT NULL,
  mailbox INTEGER NOT NULL,
  key     BLOB    NOT NULL, -- 128 bits of SHA-256 of what the importer gave
  uid     INTEGER NOT NULL, -- the last one that the message got
  uidl    TEXT    NOT NULL, -- what POP3 calls it, or empty
  PRIMARY KEY (account, mailbox, key)
) WITHOUT ROWID;
CREATE INDEX imported_uidl ON imported (account, mailbox, uid) WHERE uidl <> '';

-- spent_validity are UIDVALIDITYs of mailboxes that are gone, or have another one: an import must not keep one of them.
CREATE TABLE spent_validity (
  account      INTEGER NOT NULL,
  uid_validity INTEGER NOT NULL,
  PRIMARY KEY (account, uid_validity)
) WITHOUT ROWID;
