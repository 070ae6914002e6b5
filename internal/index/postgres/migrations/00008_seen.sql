-- +goose Up

-- seen are flags that are each reader's own, of readers who are not the owner (the account): \Seen, and what the store is
-- configured for. A row goes beside the chunk of the same first_uid and has those of its entries that the reader changed;
-- the reader's MODSEQ of an entry is the greater of this one and the chunk's.
CREATE TABLE seen (
  account     bigint NOT NULL,
  mailbox     bigint NOT NULL,
  reader      bigint NOT NULL,
  first_uid   bigint NOT NULL,
  max_mod_seq bigint NOT NULL,
  uids        bytea  NOT NULL,
  flags       bytea  NOT NULL,
  mod_seqs    bytea  NOT NULL,
  PRIMARY KEY (account, mailbox, reader, first_uid)
);
CREATE INDEX seen_by_mod_seq ON seen (account, mailbox, reader, max_mod_seq);

-- operation makes copies from other accounts happen once. A row goes a day later.
CREATE TABLE operation (
  account      bigint NOT NULL,
  operation    bytea  NOT NULL,
  uid_validity bigint NOT NULL,
  source_uids  bytea  NOT NULL,
  target_uids  bytea  NOT NULL,
  done_ns      bigint NOT NULL,
  PRIMARY KEY (account, operation)
);
