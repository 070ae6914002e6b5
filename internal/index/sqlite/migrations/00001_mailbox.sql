-- +goose Up

-- Times are nanoseconds since 1970 UTC unless a name says seconds; ids are below 2^63; every table of mailbox data leads
-- with the account, its distribution key on an engine that is distributed.
--
-- Places decided for what comes later, so that no key changes:
--   ACL            acl (account, mailbox, identifier) -> rights                          RFC 4314
--   quota          account.quota_size and quota_messages hold the root ""; other roots: quota (account, root, resource)   RFC 9208
--   annotations    metadata (account, mailbox or 0, entry) -> value, mod_seq              RFC 5464
--   SAVEDATE       chunk.saved, a column packed like received                             RFC 8514
--   \Seen per user seen (account, mailbox, user, first_uid) -> uids, max_mod_seq; account is the owner. Another user's
--                  \Seen takes its MODSEQ from the owner's counter, and the user sees the greater of its own and the entry's.
--   undelete       tombstone.emails names what was expunged; an email without entry stays until it is freed

-- timeline names the history that the rows belong to; a restored backup or a fail-over begins another. An account whose
-- row has an older one jumps ahead with MODSEQ, UIDVALIDITY and every UIDNEXT before anything new is written to it.
CREATE TABLE timeline (
  timeline   INTEGER NOT NULL PRIMARY KEY,
  started_ns INTEGER NOT NULL,
  reason     TEXT    NOT NULL
);
INSERT INTO timeline (timeline, started_ns, reason) VALUES (1, 0, 'first');

CREATE TABLE account (
  account        INTEGER NOT NULL PRIMARY KEY,
  timeline       INTEGER NOT NULL,
  mod_seq        INTEGER NOT NULL, -- of the last change
  uid_validity   INTEGER NOT NULL, -- the last one given
  messages       INTEGER NOT NULL, -- entries in all mailboxes
  size           INTEGER NOT NULL, -- their octets, overlays applied: what quota counts
  quota_size     INTEGER NOT NULL DEFAULT 0, -- 0: the farm's default
  quota_messages INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE mailbox (
  account         INTEGER NOT NULL,
  mailbox         INTEGER NOT NULL,
  name            TEXT    NOT NULL, -- UTF-8, NFC, "/" between levels
  special_use     TEXT    NOT NULL, -- "\Junk", or empty
  uid_validity    INTEGER NOT NULL,
  uid_next        INTEGER NOT NULL,
  highest_mod_seq INTEGER NOT NULL, -- never falls
  purged_mod_seq  INTEGER NOT NULL, -- tombstones up to this one are gone
  messages        INTEGER NOT NULL,
  unseen          INTEGER NOT NULL,
  deleted         INTEGER NOT NULL,
  size            INTEGER NOT NULL,
  recent_uid      INTEGER NOT NULL,
  keywords        TEXT    NOT NULL, -- atoms with a space between them, in the order of their bits
  PRIMARY KEY (account, mailbox)
) WITHOUT ROWID;
CREATE UNIQUE INDEX mailbox_by_name ON mailbox (account, name);

CREATE TABLE subscription (
  account INTEGER NOT NULL,
  name    TEXT    NOT NULL,
  PRIMARY KEY (account, name)
) WITHOUT ROWID;

-- chunk holds up to 256 entries as packed columns (internal/mailbox), those that change first. No row is without entries.
CREATE TABLE chunk (
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
  PRIMARY KEY (account, mailbox, first_uid)
) WITHOUT ROWID;
CREATE INDEX chunk_by_mod_seq ON chunk (account, mailbox, max_mod_seq);

-- tombstone is one expunge: which UIDs, and their emails in the same order.
CREATE TABLE tombstone (
  account     INTEGER NOT NULL,
  mailbox     INTEGER NOT NULL,
  mod_seq     INTEGER NOT NULL,
  uids        BLOB    NOT NULL,
  emails      BLOB    NOT NULL,
  expunged_ns INTEGER NOT NULL,
  PRIMARY KEY (account, mailbox, mod_seq)
) WITHOUT ROWID;

-- email is immutable. Its references are the entries themselves: there is no count to go wrong, and freeing compares
-- what tombstones name with what chunks still hold. Ids grow with time, so that rows are added at the end.
CREATE TABLE email (
  email              INTEGER NOT NULL PRIMARY KEY,
  account            INTEGER NOT NULL,
  thread             INTEGER NOT NULL,
  size               INTEGER NOT NULL,
  received_ns        INTEGER NOT NULL,
  blob_id            BLOB    NOT NULL,
  overlay            BLOB    NOT NULL, -- mailfarm.mail.v1.Overlay; empty: none
  part_index_version INTEGER NOT NULL,
  part_index         BLOB    NOT NULL
);

-- delivered makes Deliver happen once; a row goes with its message's ledger rows.
CREATE TABLE delivered (
  queue_id BLOB    NOT NULL,
  number   INTEGER NOT NULL,
  account  INTEGER NOT NULL,
  mailbox  INTEGER NOT NULL, -- of the first placement
  uid      INTEGER NOT NULL,
  email    INTEGER NOT NULL,
  PRIMARY KEY (queue_id, number, account)
) WITHOUT ROWID;

-- condemned bodies are about to be removed: nothing may refer to them any more.
CREATE TABLE condemned (
  blob_id      BLOB    NOT NULL PRIMARY KEY,
  condemned_ns INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE lease (
  name       TEXT    NOT NULL PRIMARY KEY,
  holder     TEXT    NOT NULL,
  expires_ns INTEGER NOT NULL
) WITHOUT ROWID;
