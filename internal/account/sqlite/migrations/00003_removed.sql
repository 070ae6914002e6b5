-- +goose Up
-- Accounts that were removed and can be brought back, until their mail is dropped. Times are nanoseconds since 1970 UTC.
CREATE TABLE removed_account (
    id         INTEGER PRIMARY KEY,
    address    TEXT NOT NULL,
    credential TEXT NOT NULL,
    created    INTEGER NOT NULL,
    disabled   INTEGER NOT NULL,
    removed    INTEGER NOT NULL
);

-- +goose Down
DROP TABLE removed_account;
