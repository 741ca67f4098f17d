-- What is ready, by key, for owners whose part of it is small; and when the post of a chunk came in, for who counts.

-- +goose Up
CREATE INDEX spool_chunks_ready ON spool_chunks (key, post) WHERE due = 0;
ALTER TABLE spool_chunks ADD COLUMN came BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE spool_chunks DROP COLUMN came;
DROP INDEX spool_chunks_ready;
