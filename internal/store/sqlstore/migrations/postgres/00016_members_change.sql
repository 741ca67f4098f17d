-- Until when delivery is off, and what requests may change beside; SQLite's migration of this
-- number says what a column means.

-- +goose Up
ALTER TABLE members ADD COLUMN until BIGINT NOT NULL DEFAULT 0;
CREATE INDEX members_until ON members (until) WHERE until > 0;

ALTER TABLE requests ADD COLUMN more TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE requests DROP COLUMN more;
DROP INDEX members_until;
ALTER TABLE members DROP COLUMN until;
