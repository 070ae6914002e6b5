-- +goose Up
-- What a join has done so far, beside the site that it copies. Which rows were copied is kept where they were copied to, in
-- the same transaction; here is which frames were.

-- One row. bucket is where the frames went; source tells the state of the site that was planned for.
CREATE TABLE site (
    id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    site        BLOB    NOT NULL,
    bucket      TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    planned     INTEGER NOT NULL DEFAULT 0,
    finished_ns INTEGER NOT NULL DEFAULT 0
);

-- One row per frame that is to be copied; old is the first ID that rows of the site know it by.
CREATE TABLE frame (
    old    BLOB    NOT NULL PRIMARY KEY,
    -- queue_id is known for what recovery accounts for and for damage.
    queue_id BLOB,
    -- owner has the body where it is shared.
    owner  BLOB,
    -- need tells why it must be there: 0 it need not, 1 a row wants it, 2 recovery must publish it, 3 an operator must release it.
    need   INTEGER NOT NULL,
    -- state is 0 to be copied, 1 copied, 2 gone before, as nothing wanted it, 3 damaged.
    state  INTEGER NOT NULL DEFAULT 0,
    place  BLOB,
    size   INTEGER NOT NULL DEFAULT 0,
    digest BLOB,
    meta   BLOB
) WITHOUT ROWID;
CREATE INDEX frame_place ON frame (place) WHERE place IS NOT NULL;

-- Incarnations of the bucket: 0 was there before, 1 has frames that are accounted for, 2 has frames for recovery to find.
CREATE TABLE incarnation (
    incarnation INTEGER NOT NULL PRIMARY KEY,
    holds       INTEGER NOT NULL
);

-- Frames that an interrupted run wrote and had no time to note.
CREATE TABLE found (
    place BLOB NOT NULL PRIMARY KEY,
    meta  BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX found_meta ON found (meta);
