-- +goose Up
-- What audits leave for later ones. Units are encoded mailfarm.store.v1.AuditUnit.

-- One row per hour of the ledger, by the time in the queue id. changed counts late comers and what was pruned; each takes the unit away.
CREATE TABLE audit_hour (
    hour    INTEGER NOT NULL PRIMARY KEY,
    changed INTEGER NOT NULL,
    unit    BLOB
);

-- Frames of an incarnation from a place up to another.
CREATE TABLE audit_stretch (
    incarnation    INTEGER NOT NULL,
    first_segment  INTEGER NOT NULL,
    first_position INTEGER NOT NULL,
    end_segment    INTEGER NOT NULL,
    end_position   INTEGER NOT NULL,
    unit           BLOB    NOT NULL,
    PRIMARY KEY (incarnation, first_segment, first_position)
) WITHOUT ROWID;

-- One row: the latest audit of everything. result is an encoded mailfarm.store.v1.AuditResponse.
CREATE TABLE audit_report (
    id      INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    auditor TEXT    NOT NULL,
    at_ns   INTEGER NOT NULL,
    full_ns INTEGER NOT NULL,
    result  BLOB    NOT NULL
);
