-- A body of one part stands in its own row: most are small, and a row in another table that refers to it costs more than both.

-- +goose Up
ALTER TABLE spool_bodies ADD COLUMN bytes BYTEA NOT NULL DEFAULT '';

-- +goose Down
INSERT INTO spool_body_parts (body, part, bytes) SELECT id, 0, bytes FROM spool_bodies WHERE length(bytes) > 0;
ALTER TABLE spool_bodies DROP COLUMN bytes;
