-- Until when delivery to a member is off, who wished so; and what requests may change beside.

-- +goose Up
ALTER TABLE members ADD COLUMN until INTEGER NOT NULL DEFAULT 0;
CREATE INDEX members_until ON members (until) WHERE until > 0;

ALTER TABLE requests ADD COLUMN more TEXT NOT NULL DEFAULT ''; -- JSON

-- +goose Down
ALTER TABLE requests DROP COLUMN more;
DROP INDEX members_until;
ALTER TABLE members DROP COLUMN until;
