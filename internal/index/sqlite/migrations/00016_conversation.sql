-- +goose Up
-- conversation tells which thread messages belong to that name a message id (RFC 8474 §5.2): its own, or one it answers.
-- A row stays as long as its account: an answer may come after what it answers is gone.
CREATE TABLE conversation (
  account INTEGER NOT NULL,
  id_hash INTEGER NOT NULL, -- of the message id, 64 bits of SHA-256
  thread  INTEGER NOT NULL,
  PRIMARY KEY (account, id_hash)
) WITHOUT ROWID;
