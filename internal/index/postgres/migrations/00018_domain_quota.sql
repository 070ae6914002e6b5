-- +goose Up
-- domain_quota has the limits of domains: size and messages for the sum over all accounts, 0 is none; each_size and
-- each_messages for accounts without limits of their own, 0 is the farm's default, -1 is none. level is the highest share of
-- its limits, percent, that was told.
CREATE TABLE domain_quota (
  domain        TEXT    NOT NULL PRIMARY KEY,
  size          BIGINT  NOT NULL,
  messages      BIGINT  NOT NULL,
  each_size     BIGINT  NOT NULL,
  each_messages BIGINT  NOT NULL,
  level         INTEGER NOT NULL DEFAULT 0
);

-- domain is that of the account's address, as the directory told; '' where it was not asked. A domain's use is the sum over its
-- accounts' rows.
ALTER TABLE account ADD COLUMN domain TEXT NOT NULL DEFAULT '';
CREATE INDEX account_domain ON account (domain) WHERE domain <> '';
