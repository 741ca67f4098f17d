-- The style that a list follows in what it does not set itself; '' is the default one.

-- +goose Up
ALTER TABLE lists ADD COLUMN style TEXT NOT NULL DEFAULT '';
CREATE INDEX lists_with_style ON lists (style) WHERE style <> '';

-- +goose Down
DROP INDEX lists_with_style;
ALTER TABLE lists DROP COLUMN style;
