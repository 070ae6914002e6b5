-- +goose Up
-- Accounts that were removed and can be brought back, until their mail is dropped. Times are nanoseconds since 1970 UTC.
CREATE TABLE directory_removed (
    id         bigint  NOT NULL PRIMARY KEY,
    address    text    COLLATE "C" NOT NULL,
    credential text    NOT NULL,
    created    bigint  NOT NULL,
    disabled   boolean NOT NULL,
    removed    bigint  NOT NULL
);
