-- In which language a member is written to; and in which one wants to be.

-- +goose Up
ALTER TABLE members ADD COLUMN language TEXT NOT NULL DEFAULT '';
ALTER TABLE requests ADD COLUMN language TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE requests DROP COLUMN language;
ALTER TABLE members DROP COLUMN language;
