-- +goose Up
-- The ledger: what became of every accepted message. Distribution key: queue id (outbox: owner; checkpoint: incarnation).
-- Times are nanoseconds since 1970 UTC; states, kinds and destinations are the numbers of mailfarm.store.v1.

-- One row per message, narrow, so that a search by sender or message-id passes a million of them quickly.
CREATE TABLE message (
    queue_id     BLOB    NOT NULL PRIMARY KEY,
    blob_id      BLOB    NOT NULL,
    kind         INTEGER NOT NULL,
    -- parent is the queue id of the message that gave rise to this one.
    parent       BLOB,
    accepted_ns  INTEGER NOT NULL,
    recorded_ns  INTEGER NOT NULL,
    reverse_path TEXT    NOT NULL,
    message_id   TEXT    NOT NULL,
    -- recipients is how many the envelope has; rows with higher numbers were added by aliases.
    recipients   INTEGER NOT NULL
) WITHOUT ROWID;

-- Children go with their parent.
CREATE INDEX message_parent ON message (parent) WHERE parent IS NOT NULL;

-- Envelope, verdict and overlay of a message: an encoded mailfarm.mail.v1.Accepted without ids and part index.
CREATE TABLE payload (
    queue_id BLOB NOT NULL PRIMARY KEY,
    data     BLOB NOT NULL
) WITHOUT ROWID;

-- One row per recipient.
CREATE TABLE recipient (
    queue_id       BLOB    NOT NULL,
    number         INTEGER NOT NULL,
    forward_path   TEXT    NOT NULL,
    original       TEXT    NOT NULL,
    notify         INTEGER NOT NULL,
    orcpt          TEXT    NOT NULL,
    detail         TEXT    NOT NULL,
    state          INTEGER NOT NULL,
    destination    INTEGER NOT NULL,
    account        INTEGER NOT NULL,
    grp            TEXT    NOT NULL,
    generation     INTEGER NOT NULL,
    attempts       INTEGER NOT NULL,
    last_reply     TEXT    NOT NULL,
    relay          TEXT    NOT NULL,
    -- due_ns is when the sweep looks at the row: NULL for a final state, the largest number for one that waits for people.
    due_ns         INTEGER,
    expiry_ns      INTEGER NOT NULL,
    changed_ns     INTEGER NOT NULL,
    delay_notified INTEGER NOT NULL,
    -- claim_owner holds the row until claim_ns; empty is nobody.
    claim_owner    TEXT    NOT NULL DEFAULT '',
    claim_ns       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (queue_id, number)
) WITHOUT ROWID;

-- What is not final: for the sweep in the order of its due times, for lists of the queue altogether.
CREATE INDEX recipient_due ON recipient (due_ns) WHERE due_ns IS NOT NULL;

-- Messages that a transaction gave rise to, until the ledger has their own row.
CREATE TABLE outbox (
    -- owner is the key of that transaction: the parent's queue id, or an account id of 8 octets.
    owner   BLOB    NOT NULL,
    child   BLOB    NOT NULL,
    -- payload is an encoded mailfarm.mail.v1.Accepted.
    payload BLOB    NOT NULL,
    due_ns  INTEGER NOT NULL,
    tries   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (owner, child)
) WITHOUT ROWID;

CREATE INDEX outbox_due ON outbox (due_ns);

-- How far recovery has accounted for an incarnation's frames. done: it is dead and wholly accounted.
CREATE TABLE checkpoint (
    incarnation INTEGER NOT NULL PRIMARY KEY,
    segment     INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    done        INTEGER NOT NULL,
    saved_ns    INTEGER NOT NULL
);

-- Frames that recovery found beyond its horizon: they wait for an operator. decision: 1 none, 2 release, 3 discard.
CREATE TABLE withheld (
    queue_id   BLOB    NOT NULL PRIMARY KEY,
    blob_id    BLOB    NOT NULL,
    found_ns   INTEGER NOT NULL,
    decision   INTEGER NOT NULL,
    changed_ns INTEGER NOT NULL
) WITHOUT ROWID;

-- One row: messages accepted before before_ns may have lost their rows to pruning.
CREATE TABLE pruned (
    id        INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    before_ns INTEGER NOT NULL
);
