-- Which topics a member chose: lines, or '' for every post.

-- +goose Up
ALTER TABLE members ADD COLUMN topics TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE members DROP COLUMN topics;
