-- +goose Up
-- Remote work is swept by itself where local delivery stands still, past all that is due there.
CREATE INDEX recipient_due_remote ON recipient (due_ns) WHERE due_ns IS NOT NULL AND destination = 2;
