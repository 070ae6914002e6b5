-- +goose Up

-- Times are nanoseconds since 1970 UTC unless a name says seconds; ids are below 2^63; every table of mailbox data leads
-- with the account, its distribution key on an engine that is distributed. Places decided for what comes later are listed
-- in the same migration of index/sqlite.

-- timeline names the history that the rows belong to; a fail-over or a restored backup begins another. An account whose
-- row has an older one jumps ahead with MODSEQ, UIDVALIDITY and every UIDNEXT before anything new is written to it.
-- wal and cluster are what the server said of itself then: its WAL timeline and its system identifier, or empty.
CREATE TABLE timeline (
  timeline   BIGINT NOT NULL PRIMARY KEY,
  started_ns BIGINT NOT NULL,
  reason     TEXT   NOT NULL,
  wal        TEXT   NOT NULL,
  cluster    TEXT   NOT NULL
);

CREATE TABLE account (
  account        BIGINT NOT NULL PRIMARY KEY,
  timeline       BIGINT NOT NULL,
  mod_seq        BIGINT NOT NULL, -- of the last change
  uid_validity   BIGINT NOT NULL, -- the last one given
  messages       BIGINT NOT NULL, -- entries in all mailboxes
  size           BIGINT NOT NULL, -- their octets, overlays applied: what quota counts
  quota_size     BIGINT NOT NULL DEFAULT 0, -- 0: the farm's default
  quota_messages BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE mailbox (
  account         BIGINT NOT NULL,
  mailbox         BIGINT NOT NULL,
  name            TEXT   NOT NULL COLLATE "C", -- UTF-8, NFC, "/" between levels
  special_use     TEXT   NOT NULL, -- "\Junk", or empty
  uid_validity    BIGINT NOT NULL,
  uid_next        BIGINT NOT NULL,
  highest_mod_seq BIGINT NOT NULL, -- never falls
  purged_mod_seq  BIGINT NOT NULL, -- tombstones up to this one are gone
  messages        BIGINT NOT NULL,
  unseen          BIGINT NOT NULL,
  deleted         BIGINT NOT NULL,
  size            BIGINT NOT NULL,
  recent_uid      BIGINT NOT NULL,
  keywords        TEXT   NOT NULL, -- atoms with a space between them, in the order of their bits
  PRIMARY KEY (account, mailbox)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX mailbox_by_name ON mailbox (account, name);

CREATE TABLE subscription (
  account BIGINT NOT NULL,
  name    TEXT   NOT NULL COLLATE "C",
  PRIMARY KEY (account, name)
);

-- chunk holds up to 256 entries as packed columns (internal/mailbox), those that change first. No row is without entries.
-- There is no index on max_mod_seq: it would have every change of flags write to the index as well, and the primary key
-- leads to the few hundred rows of a large mailbox.
CREATE TABLE chunk (
  account     BIGINT NOT NULL,
  mailbox     BIGINT NOT NULL,
  first_uid   BIGINT NOT NULL,
  max_mod_seq BIGINT NOT NULL,
  uids        BYTEA  NOT NULL,
  flags       BYTEA  NOT NULL,
  mod_seqs    BYTEA  NOT NULL,
  emails      BYTEA  NOT NULL,
  sizes       BYTEA  NOT NULL,
  received    BYTEA  NOT NULL,
  PRIMARY KEY (account, mailbox, first_uid)
) WITH (fillfactor = 50);
-- The columns are packed already.
ALTER TABLE chunk
  ALTER uids SET STORAGE EXTERNAL, ALTER flags SET STORAGE EXTERNAL, ALTER mod_seqs SET STORAGE EXTERNAL,
  ALTER emails SET STORAGE EXTERNAL, ALTER sizes SET STORAGE EXTERNAL, ALTER received SET STORAGE EXTERNAL;

-- tombstone is one expunge: which UIDs, and their emails in the same order.
CREATE TABLE tombstone (
  account     BIGINT NOT NULL,
  mailbox     BIGINT NOT NULL,
  mod_seq     BIGINT NOT NULL,
  uids        BYTEA  NOT NULL,
  emails      BYTEA  NOT NULL,
  expunged_ns BIGINT NOT NULL,
  PRIMARY KEY (account, mailbox, mod_seq)
);

-- email is immutable. Its references are the entries themselves: there is no count to go wrong, and freeing compares
-- what tombstones name with what chunks still hold.
CREATE TABLE email (
  account            BIGINT NOT NULL,
  email              BIGINT NOT NULL,
  thread             BIGINT NOT NULL,
  size               BIGINT NOT NULL,
  received_ns        BIGINT NOT NULL,
  blob_id            BYTEA  NOT NULL,
  overlay            BYTEA  NOT NULL, -- mailfarm.mail.v1.Overlay; empty: none
  part_index_version BIGINT NOT NULL,
  part_index         BYTEA  NOT NULL,
  PRIMARY KEY (account, email)
);

-- delivered makes Deliver happen once; a row goes with its message's ledger rows.
CREATE TABLE delivered (
  account  BIGINT NOT NULL,
  queue_id BYTEA  NOT NULL,
  number   BIGINT NOT NULL,
  mailbox  BIGINT NOT NULL, -- of the first placement
  uid      BIGINT NOT NULL,
  email    BIGINT NOT NULL,
  PRIMARY KEY (account, queue_id, number)
);
-- For whoever knows the message only: the end of its rows, and trace.
CREATE INDEX delivered_by_queue_id ON delivered (queue_id, number);

-- condemned bodies are about to be removed: nothing may refer to them any more.
CREATE TABLE condemned (
  blob_id      BYTEA  NOT NULL PRIMARY KEY,
  condemned_ns BIGINT NOT NULL
);

CREATE TABLE lease (
  name       TEXT   NOT NULL PRIMARY KEY,
  holder     TEXT   NOT NULL,
  expires_ns BIGINT NOT NULL
);
