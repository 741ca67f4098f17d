-- What is ready, by key, for owners whose part of it is small.

-- +goose Up
CREATE INDEX spool_chunks_ready ON spool_chunks (key, post) WHERE due = 0;

-- +goose Down
DROP INDEX spool_chunks_ready;
