-- +goose Up
-- The ledger: what became of every accepted message. Distribution key: queue id (outbox: owner; checkpoint: incarnation).
-- Times are nanoseconds since 1970 UTC; states, kinds and destinations are the numbers of mailfarm.store.v1. Texts compare
-- octet by octet, whatever the database's locale is, and lower() of them changes ASCII alone.

-- One row per message, narrow, so that a search by sender or message-id passes a million of them quickly. It is never
-- updated.
CREATE TABLE message (
    queue_id     bytea   NOT NULL PRIMARY KEY,
    blob_id      bytea   NOT NULL,
    kind         integer NOT NULL,
    -- parent is the queue id of the message that gave rise to this one.
    parent       bytea,
    accepted_ns  bigint  NOT NULL,
    recorded_ns  bigint  NOT NULL,
    reverse_path text    COLLATE "C" NOT NULL,
    message_id   text    COLLATE "C" NOT NULL,
    -- recipients is how many the envelope has; rows with higher numbers were added by aliases.
    recipients   integer NOT NULL
);

-- Children go with their parent.
CREATE INDEX message_parent ON message (parent) WHERE parent IS NOT NULL;

-- Envelope, verdict and overlay of a message: an encoded mailfarm.mail.v1.Accepted without ids and part index.
CREATE TABLE payload (
    queue_id bytea NOT NULL PRIMARY KEY,
    data     bytea NOT NULL
);

-- One row per recipient. Every change of its state changes its due time too, which is indexed, so that no update stays
-- within its page (HOT); the room left in pages keeps the new version beside the old one nevertheless. What updates leave
-- behind is cleared away before the index of due times, which a sweep begins at its low end, is full of it.
CREATE TABLE recipient (
    queue_id       bytea   NOT NULL,
    number         bigint  NOT NULL,
    forward_path   text    COLLATE "C" NOT NULL,
    original       text    COLLATE "C" NOT NULL,
    notify         bigint  NOT NULL,
    orcpt          text    COLLATE "C" NOT NULL,
    detail         text    COLLATE "C" NOT NULL,
    state          integer NOT NULL,
    destination    integer NOT NULL,
    account        bigint  NOT NULL,
    grp            text    COLLATE "C" NOT NULL,
    generation     bigint  NOT NULL,
    attempts       bigint  NOT NULL,
    last_reply     text    COLLATE "C" NOT NULL,
    relay          text    COLLATE "C" NOT NULL,
    -- due_ns is when the sweep looks at the row: NULL for a final state, the largest number for one that waits for people.
    due_ns         bigint,
    expiry_ns      bigint  NOT NULL,
    changed_ns     bigint  NOT NULL,
    delay_notified boolean NOT NULL,
    -- claim_owner holds the row until claim_ns; empty is nobody.
    claim_owner    text    COLLATE "C" NOT NULL DEFAULT '',
    claim_ns       bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (queue_id, number)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

-- What is not final: for the sweep in the order of its due times, for lists of the queue altogether.
CREATE INDEX recipient_due ON recipient (due_ns) WHERE due_ns IS NOT NULL;

-- Messages that a transaction gave rise to, until the ledger has their own row. The table is small and all of it changes:
-- it is cleared by the number of changes, not by their share.
CREATE TABLE outbox (
    -- owner is the key of that transaction: the parent's queue id, or an account id of 8 octets.
    owner   bytea  NOT NULL,
    child   bytea  NOT NULL,
    -- payload is an encoded mailfarm.mail.v1.Accepted.
    payload bytea  NOT NULL,
    due_ns  bigint NOT NULL,
    tries   bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (owner, child)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 2000);

CREATE INDEX outbox_due ON outbox (due_ns);
CREATE INDEX outbox_child ON outbox (child);

-- How far recovery has accounted for an incarnation's frames. done: it is dead and wholly accounted.
CREATE TABLE checkpoint (
    incarnation bigint  NOT NULL PRIMARY KEY,
    segment     bigint  NOT NULL,
    position    bigint  NOT NULL,
    done        boolean NOT NULL,
    saved_ns    bigint  NOT NULL
) WITH (fillfactor = 50);

-- Frames that recovery found beyond its horizon: they wait for an operator. decision: 1 none, 2 release, 3 discard.
CREATE TABLE withheld (
    queue_id   bytea   NOT NULL PRIMARY KEY,
    blob_id    bytea   NOT NULL,
    found_ns   bigint  NOT NULL,
    decision   integer NOT NULL,
    changed_ns bigint  NOT NULL
);

CREATE INDEX withheld_decision ON withheld (decision, queue_id);

-- One row: messages accepted before before_ns may have lost their rows to pruning.
CREATE TABLE pruned (
    id        integer NOT NULL PRIMARY KEY CHECK (id = 1),
    before_ns bigint  NOT NULL
);

-- What messages are found by: rows of internal/ledger/search, one for each batch that was recorded or reported. The key is
-- in the order of time; nonce tells rows of one moment apart. Rows stay in the table's own pages and as they are: a search
-- passes all of them, and hashes do not shrink.
CREATE TABLE search (
    at_ns bigint NOT NULL,
    nonce bigint NOT NULL,
    data  bytea  NOT NULL,
    PRIMARY KEY (at_ns, nonce)
) WITH (toast_tuple_target = 8160);
ALTER TABLE search ALTER data SET STORAGE EXTERNAL;
