-- +goose Up
-- What undelete brings back. Distribution key: the account (retention_rule of a domain: the domain).

-- removed holds entries that were taken out of a mailbox, packed like chunk, at most 256 in a row. kind: 1 expunged,
-- 2 moved to another mailbox, 3 gone with their mailbox. What it names keeps emails, and so their bodies.
CREATE TABLE removed (
  account    INTEGER NOT NULL,
  mailbox    INTEGER NOT NULL,
  mod_seq    INTEGER NOT NULL, -- of the removal
  part       INTEGER NOT NULL, -- from 0, where one removal has several rows
  kind       INTEGER NOT NULL,
  removed_ns INTEGER NOT NULL,
  name       TEXT    NOT NULL, -- the mailbox's then, like what follows
  special_use TEXT    NOT NULL,
  uid_next   INTEGER NOT NULL,
  keywords   TEXT    NOT NULL,
  entries    INTEGER NOT NULL,
  octets     INTEGER NOT NULL,
  uids       BLOB    NOT NULL,
  flags      BLOB    NOT NULL,
  mod_seqs   BLOB    NOT NULL,
  emails     BLOB    NOT NULL,
  sizes      BLOB    NOT NULL,
  received   BLOB    NOT NULL,
  PRIMARY KEY (account, mailbox, mod_seq, part)
) WITHOUT ROWID;
CREATE INDEX removed_by_mod_seq ON removed (account, mod_seq);

-- removed_mailbox is a mailbox that was deleted; its entries are in removed.
CREATE TABLE removed_mailbox (
  account         INTEGER NOT NULL,
  mailbox         INTEGER NOT NULL,
  name            TEXT    NOT NULL,
  special_use     TEXT    NOT NULL,
  uid_validity    INTEGER NOT NULL,
  uid_next        INTEGER NOT NULL,
  highest_mod_seq INTEGER NOT NULL,
  keywords        TEXT    NOT NULL,
  subscribed      INTEGER NOT NULL,
  removed_ns      INTEGER NOT NULL,
  PRIMARY KEY (account, mailbox)
) WITHOUT ROWID;

-- kept sums up an account's rows of removed; octets without those of what was moved, which lies elsewhere still. next_ns
-- is when somebody looks whether any of it may go.
CREATE TABLE kept (
  account INTEGER NOT NULL PRIMARY KEY,
  entries INTEGER NOT NULL,
  octets  INTEGER NOT NULL,
  next_ns INTEGER NOT NULL
);
CREATE INDEX kept_next ON kept (next_ns);

-- legal_hold: nothing of these accounts is purged.
CREATE TABLE legal_hold (
  account INTEGER NOT NULL PRIMARY KEY,
  set_ns  INTEGER NOT NULL,
  reason  TEXT    NOT NULL
);

-- retention_rule says how long removed messages are kept: of an account, or with account 0 of a domain; in all folders
-- with folder empty, or in one by its name or special use.
CREATE TABLE retention_rule (
  account INTEGER NOT NULL,
  domain  TEXT    NOT NULL,
  folder  TEXT    NOT NULL,
  keep_ns INTEGER NOT NULL,
  PRIMARY KEY (account, domain, folder)
) WITHOUT ROWID;

-- dropping are accounts that the directory has forgotten, or is about to, and whose rows go. removed_ns is the removal's.
CREATE TABLE dropping (
  account    INTEGER NOT NULL PRIMARY KEY,
  removed_ns INTEGER NOT NULL,
  forgotten  INTEGER NOT NULL
);

CREATE INDEX email_account ON email (account);
