-- +goose Up
-- What undelete brings back. Distribution key: the account (retention_rule of a domain: the domain).

-- removed holds entries that were taken out of a mailbox, packed like chunk, at most 256 in a row. kind: 1 expunged,
-- 2 moved to another mailbox, 3 gone with their mailbox. What it names keeps emails, and so their bodies.
CREATE TABLE removed (
  account BIGINT NOT NULL,
  mailbox BIGINT NOT NULL,
  mod_seq BIGINT NOT NULL, -- of the removal
  part BIGINT NOT NULL, -- from 0, where one removal has several rows
  kind BIGINT NOT NULL,
  removed_ns BIGINT NOT NULL,
  name TEXT COLLATE "C" NOT NULL, -- the mailbox's then, like what follows
  special_use TEXT COLLATE "C" NOT NULL,
  uid_next BIGINT NOT NULL,
  keywords TEXT COLLATE "C" NOT NULL,
  entries BIGINT NOT NULL,
  octets BIGINT NOT NULL,
  uids BYTEA NOT NULL,
  flags BYTEA NOT NULL,
  mod_seqs BYTEA NOT NULL,
  emails BYTEA NOT NULL,
  sizes BYTEA NOT NULL,
  received BYTEA NOT NULL,
  PRIMARY KEY (account, mailbox, mod_seq, part)
);
ALTER TABLE removed
  ALTER uids SET STORAGE EXTERNAL, ALTER flags SET STORAGE EXTERNAL, ALTER mod_seqs SET STORAGE EXTERNAL,
  ALTER emails SET STORAGE EXTERNAL, ALTER sizes SET STORAGE EXTERNAL, ALTER received SET STORAGE EXTERNAL;
CREATE INDEX removed_by_mod_seq ON removed (account, mod_seq);

-- removed_mailbox is a mailbox that was deleted; its entries are in removed.
CREATE TABLE removed_mailbox (
  account BIGINT NOT NULL,
  mailbox BIGINT NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  special_use TEXT COLLATE "C" NOT NULL,
  uid_validity BIGINT NOT NULL,
  uid_next BIGINT NOT NULL,
  highest_mod_seq BIGINT NOT NULL,
  keywords TEXT COLLATE "C" NOT NULL,
  subscribed BIGINT NOT NULL,
  removed_ns BIGINT NOT NULL,
  PRIMARY KEY (account, mailbox)
);

-- kept sums up an account's rows of removed; octets without those of what was moved, which lies elsewhere still. next_ns
-- is when somebody looks whether any of it may go.
CREATE TABLE kept (
  account BIGINT NOT NULL PRIMARY KEY,
  entries BIGINT NOT NULL,
  octets BIGINT NOT NULL,
  next_ns BIGINT NOT NULL
);
CREATE INDEX kept_next ON kept (next_ns);

-- legal_hold: nothing of these accounts is purged.
CREATE TABLE legal_hold (
  account BIGINT NOT NULL PRIMARY KEY,
  set_ns BIGINT NOT NULL,
  reason TEXT COLLATE "C" NOT NULL
);

-- retention_rule says how long removed messages are kept: of an account, or with account 0 of a domain; in all folders
-- with folder empty, or in one by its name or special use.
CREATE TABLE retention_rule (
  account BIGINT NOT NULL,
  domain TEXT COLLATE "C" NOT NULL,
  folder TEXT COLLATE "C" NOT NULL,
  keep_ns BIGINT NOT NULL,
  PRIMARY KEY (account, domain, folder)
);

-- dropping are accounts that the directory has forgotten, or is about to, and whose rows go. removed_ns is the removal's.
CREATE TABLE dropping (
  account BIGINT NOT NULL PRIMARY KEY,
  removed_ns BIGINT NOT NULL,
  forgotten BIGINT NOT NULL
);
