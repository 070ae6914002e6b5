-- +goose Up
-- Quota (RFC 9208). account.quota_size and quota_messages hold the limits of the root "", which is the whole account: 0 is the
-- farm's default, -1 is none.

-- quota has the limits of folders: root is the id of a mailbox, and what lies in it and below counts together.
-- resource: 1 octets, 2 messages.
CREATE TABLE quota (
  account  BIGINT  NOT NULL,
  root     BIGINT  NOT NULL,
  resource INTEGER NOT NULL,
  maximum  BIGINT  NOT NULL,
  PRIMARY KEY (account, root, resource)
);

-- quota_level is the highest share of its limits, in percent of those that are told, that the account has passed; quota_roots
-- is how many folders of it have limits.
ALTER TABLE account ADD COLUMN quota_level INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN quota_roots INTEGER NOT NULL DEFAULT 0;

-- quota_notice are accounts whose owner is to be told that quota_level has changed. It is written with what changed it, and
-- goes with the message that tells it.
CREATE TABLE quota_notice (
  account  BIGINT  NOT NULL PRIMARY KEY,
  level    INTEGER NOT NULL, -- now
  previous INTEGER NOT NULL, -- as it was last told
  at_ns    BIGINT  NOT NULL
);
