-- +goose Up
-- Giving room in the blob store back (internal/reclaim). Distribution key: blob id, incarnation; none is needed in one
-- transaction with an account or a queue id. Who refers to a segment's frames is asked of all shards at once, by a worker.

-- Ids sort like places and grow, so that entries are added at the end.
CREATE INDEX email_blob ON email (blob_id);
CREATE INDEX message_blob ON message (blob_id);
CREATE INDEX withheld_blob ON withheld (blob_id);
CREATE INDEX tombstone_time ON tombstone (expunged_ns);

-- location tells where frames lie that were moved; blob_id is the first ID, which rows refer to for ever.
CREATE TABLE location (
  blob_id BYTEA NOT NULL PRIMARY KEY,
  place   BYTEA NOT NULL
);
CREATE INDEX location_place ON location (place);

-- shared names frames that have another frame's body: that one stays as long as they are referred to.
CREATE TABLE shared (
  owner BYTEA NOT NULL,
  child BYTEA NOT NULL,
  PRIMARY KEY (owner, child)
);
CREATE INDEX shared_child ON shared (child);

-- apart names the places of frames whose body lies apart.
CREATE TABLE apart (
  place BYTEA  NOT NULL PRIMARY KEY,
  bytes BIGINT NOT NULL
);

-- unnoted are incarnations with frames that recovery passed before shared and apart were kept. Nothing is given back
-- while there is one.
CREATE TABLE unnoted (
  incarnation BIGINT NOT NULL PRIMARY KEY
);
INSERT INTO unnoted (incarnation) SELECT incarnation FROM checkpoint;

-- reclaiming holds the segments in hand; steps are internal/reclaim's.
CREATE TABLE reclaiming (
  incarnation BIGINT  NOT NULL,
  segment     BIGINT  NOT NULL,
  step        INTEGER NOT NULL,
  since_ns    BIGINT  NOT NULL,
  PRIMARY KEY (incarnation, segment)
);

-- One row: what the worker keeps of its rounds, and when somebody asked for one.
CREATE TABLE reclaim_state (
  id       INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  state    BYTEA   NOT NULL,
  asked_ns BIGINT  NOT NULL
);
INSERT INTO reclaim_state (id, state, asked_ns) VALUES (1, '', 0);
