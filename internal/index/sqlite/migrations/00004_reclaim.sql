-- +goose Up
-- Giving room in the blob store back (internal/reclaim). Distribution key: blob id, incarnation; none is needed in one
-- transaction with an account or a queue id.

-- Who refers to a frame: one look per segment, since ids sort like places. Ids grow, so that rows are added at the end.
CREATE INDEX email_blob ON email (blob_id);
CREATE INDEX message_blob ON message (blob_id);
CREATE INDEX withheld_blob ON withheld (blob_id);
CREATE INDEX tombstone_time ON tombstone (expunged_ns);

-- location tells where frames lie that were moved; blob_id is the first ID, which rows refer to for ever.
CREATE TABLE location (
  blob_id BLOB NOT NULL PRIMARY KEY,
  place   BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX location_place ON location (place);

-- shared names frames that have another frame's body: that one stays as long as they are referred to.
CREATE TABLE shared (
  owner BLOB NOT NULL,
  child BLOB NOT NULL,
  PRIMARY KEY (owner, child)
) WITHOUT ROWID;
CREATE INDEX shared_child ON shared (child);

-- apart names the places of frames whose body lies apart.
CREATE TABLE apart (
  place BLOB    NOT NULL PRIMARY KEY,
  bytes INTEGER NOT NULL
) WITHOUT ROWID;

-- unnoted are incarnations with frames that recovery passed before shared and apart were kept. Nothing is given back
-- while there is one.
CREATE TABLE unnoted (
  incarnation INTEGER NOT NULL PRIMARY KEY
);
INSERT INTO unnoted (incarnation) SELECT incarnation FROM checkpoint;

-- reclaiming holds the segments in hand; steps are internal/reclaim's.
CREATE TABLE reclaiming (
  incarnation INTEGER NOT NULL,
  segment     INTEGER NOT NULL,
  step        INTEGER NOT NULL,
  since_ns    INTEGER NOT NULL,
  PRIMARY KEY (incarnation, segment)
) WITHOUT ROWID;

-- One row: what the worker keeps of its rounds, and when somebody asked for one.
CREATE TABLE reclaim_state (
  id       INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  state    BLOB    NOT NULL,
  asked_ns INTEGER NOT NULL
);
INSERT INTO reclaim_state (id, state, asked_ns) VALUES (1, x'', 0);
