-- +goose Up
-- expire_rule empties folders of what is old: of an account, or with account 0 of a domain, or with an empty domain of all. folder
-- is a name, a special use or *, and name tells rules of one folder apart. What is 0 or empty is not asked of a message; never
-- spares the folder from more general rules.
CREATE TABLE expire_rule (
  account  BIGINT  NOT NULL,
  domain   TEXT    NOT NULL,
  folder   TEXT    NOT NULL,
  name     TEXT    NOT NULL,
  older_ns BIGINT  NOT NULL, -- in the folder, or with received by INTERNALDATE
  received BIGINT  NOT NULL,
  larger   BIGINT  NOT NULL, -- octets
  flag     TEXT    NOT NULL,
  no_flag  TEXT    NOT NULL,
  keep     BIGINT  NOT NULL, -- so many of the latest stay
  never    BIGINT  NOT NULL,
  PRIMARY KEY (account, domain, folder, name)
);
