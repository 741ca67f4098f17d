-- How long the lease of an owner is, in microseconds: no lease ends later than that from now, wherever the server's clock was.

-- +goose Up
ALTER TABLE spool_owners ADD COLUMN lease BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE spool_owners DROP COLUMN lease;
