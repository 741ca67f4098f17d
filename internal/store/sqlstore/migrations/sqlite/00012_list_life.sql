-- Whether a list takes posts, the other addresses under which it is found, and until when a
-- deleted list can be had back.

-- +goose Up
-- state: 0 open, 1 frozen, 2 closed; why is what people are told, since is when it changed.
ALTER TABLE lists ADD COLUMN state INTEGER NOT NULL DEFAULT 0;
ALTER TABLE lists ADD COLUMN state_why TEXT NOT NULL DEFAULT '';
ALTER TABLE lists ADD COLUMN state_since INTEGER NOT NULL DEFAULT 0;
-- Of a deleted list: when its rows go.
ALTER TABLE lists ADD COLUMN purge_at INTEGER NOT NULL DEFAULT 0;

CREATE TABLE list_aliases (
	address_key TEXT PRIMARY KEY,
	local       TEXT    NOT NULL, -- as it is spelled
	list_id     INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	added       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX list_aliases_of ON list_aliases (list_id);

-- +goose Down
DROP TABLE list_aliases;
ALTER TABLE lists DROP COLUMN purge_at;
ALTER TABLE lists DROP COLUMN state_since;
ALTER TABLE lists DROP COLUMN state_why;
ALTER TABLE lists DROP COLUMN state;
