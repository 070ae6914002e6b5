-- +goose Up
-- annotation has what people note about mailboxes (RFC 5464); mailbox 0 is the account. reader is whose own entry it is, 0 where
-- it is shared. octets are those of value. Distribution key: the account.
CREATE TABLE annotation (
  account BIGINT NOT NULL,
  mailbox BIGINT NOT NULL,
  reader BIGINT NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  octets BIGINT NOT NULL,
  value BYTEA NOT NULL,
  PRIMARY KEY (account, mailbox, reader, name)
);
