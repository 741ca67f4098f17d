-- How much each owner does, for those who look: recipients a second of late.

-- +goose Up
ALTER TABLE spool_owners ADD COLUMN flow DOUBLE PRECISION NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE spool_owners DROP COLUMN flow;
