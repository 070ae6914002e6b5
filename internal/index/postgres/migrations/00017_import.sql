-- +goose Up
-- imported is by what importers know the messages that they brought, so that a repeat brings nothing twice. A row stays when
-- its message is removed, and goes with the mailbox.
CREATE TABLE imported (
  account BIGINT NOT NULL,
  mailbox BIGINT NOT NULL,
  key     BYTEA  NOT NULL, -- 128 bits of SHA-256 of what the importer gave
  uid     BIGINT NOT NULL, -- the last one that the message got
  uidl    TEXT   NOT NULL COLLATE "C", -- what POP3 calls it, or empty
  PRIMARY KEY (account, mailbox, key)
);
CREATE INDEX imported_uidl ON imported (account, mailbox, uid) WHERE uidl <> '';

-- spent_validity are UIDVALIDITYs of mailboxes that are gone, or have another one: an import must not keep one of them.
CREATE TABLE spent_validity (
  account      BIGINT NOT NULL,
  uid_validity BIGINT NOT NULL,
  PRIMARY KEY (account, uid_validity)
);
