-- +goose Up
-- When an entry was made (RFC 8514), packed beside received. Chunks of before have none: their entries count as made when the
-- message was received, until the chunk is written again.
ALTER TABLE chunk ADD COLUMN saved BLOB;
