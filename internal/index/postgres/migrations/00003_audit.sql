-- +goose Up
-- What audits leave for later ones. Units are encoded mailfarm.store.v1.AuditUnit. Distribution key: hour; incarnation.

-- One row per hour of the ledger, by the time in the queue id. changed counts late comers and what was pruned; each takes the
-- unit away.
CREATE TABLE audit_hour (
    hour    bigint NOT NULL PRIMARY KEY,
    changed bigint NOT NULL,
    unit    bytea
) WITH (fillfactor = 50);

-- Frames of an incarnation from a place up to another.
CREATE TABLE audit_stretch (
    incarnation    bigint NOT NULL,
    first_segment  bigint NOT NULL,
    first_position bigint NOT NULL,
    end_segment    bigint NOT NULL,
    end_position   bigint NOT NULL,
    unit           bytea  NOT NULL,
    PRIMARY KEY (incarnation, first_segment, first_position)
);

-- One row: the latest audit of everything. result is an encoded mailfarm.store.v1.AuditResponse.
CREATE TABLE audit_report (
    id      integer NOT NULL PRIMARY KEY CHECK (id = 1),
    auditor text    NOT NULL,
    at_ns   bigint  NOT NULL,
    full_ns bigint  NOT NULL,
    result  bytea   NOT NULL
);
