-- +goose Up
-- The directory. Its tables may share a database with those of the index: their names begin with directory. Texts compare
-- octet by octet, whatever the database's locale is.

-- One row. version grows with every change; whoever changes something holds the row until its commit, so that changes are
-- seen in the order of their versions.
CREATE TABLE directory_state (
    id      integer NOT NULL PRIMARY KEY CHECK (id = 1),
    version bigint  NOT NULL,
    -- secret is made by the first process that asks for it.
    secret  bytea
) WITH (fillfactor = 10);
INSERT INTO directory_state (id, version) VALUES (1, 1);

-- position tells the order of adding: the first is the primary domain.
CREATE TABLE directory_domain (
    name      text   COLLATE "C" NOT NULL PRIMARY KEY,
    position  bigint NOT NULL UNIQUE,
    catch_all text   COLLATE "C" NOT NULL,
    created   bigint NOT NULL
);

-- address is canonical; domain repeats what follows its @. created is nanoseconds since 1970 UTC.
CREATE TABLE directory_account (
    id         bigint  NOT NULL PRIMARY KEY,
    address    text    COLLATE "C" NOT NULL UNIQUE,
    domain     text    COLLATE "C" NOT NULL,
    credential text    NOT NULL,
    version    bigint  NOT NULL,
    created    bigint  NOT NULL,
    disabled   boolean NOT NULL
);
CREATE INDEX directory_account_domain ON directory_account (domain, address);

-- domain is empty for an alias that holds in every domain. targets are canonical addresses, a line each.
CREATE TABLE directory_alias (
    address text COLLATE "C" NOT NULL PRIMARY KEY,
    domain  text COLLATE "C" NOT NULL,
    targets text NOT NULL
);
CREATE INDEX directory_alias_domain ON directory_alias (domain, address);
