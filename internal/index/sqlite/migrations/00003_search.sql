-- +goose Up
-- What messages are found by: rows of internal/ledger/search, one for each batch that was recorded or reported.
CREATE TABLE search (
    -- at_ns is when the row was written; of two of one nanosecond the later takes the next.
    at_ns INTEGER NOT NULL PRIMARY KEY,
    data  BLOB    NOT NULL
);

-- One row while messages that were recorded before this table was made have no search rows: up to which id they have.
CREATE TABLE search_old (
    id   INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    done BLOB    NOT NULL
);

INSERT INTO search_old (id, done) SELECT 1, zeroblob(16) WHERE EXISTS (SELECT 1 FROM message);
