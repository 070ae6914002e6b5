-- +goose Up
CREATE TABLE state (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;
INSERT INTO state (name, value) VALUES ('version', 1);

-- position tells the order of adding: the first is the primary domain.
CREATE TABLE domain (
    position  INTEGER PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE,
    catch_all TEXT NOT NULL,
    created   INTEGER NOT NULL
);

-- address is canonical; domain repeats what follows its @. created is nanoseconds since 1970 UTC.
CREATE TABLE account (
    id         INTEGER PRIMARY KEY,
    address    TEXT NOT NULL UNIQUE,
    domain     TEXT NOT NULL,
    credential TEXT NOT NULL,
    version    INTEGER NOT NULL,
    created    INTEGER NOT NULL,
    disabled   INTEGER NOT NULL
);
CREATE INDEX account_by_domain ON account (domain, address);

-- domain is empty for an alias that holds in every domain. targets are canonical addresses, a line each.
CREATE TABLE alias (
    address TEXT PRIMARY KEY,
    domain  TEXT NOT NULL,
    targets TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX alias_by_domain ON alias (domain, address);

-- +goose Down
DROP TABLE alias;
DROP TABLE account;
DROP TABLE domain;
DROP TABLE state;
