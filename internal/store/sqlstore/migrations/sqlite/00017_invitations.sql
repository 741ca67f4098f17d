-- Who was asked to join a list, by whom, and what they said.

-- +goose Up
CREATE TABLE invitations (
	token        TEXT    PRIMARY KEY,
	list_id      INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	address_key  TEXT    NOT NULL,
	local        TEXT    NOT NULL, -- as in members
	display_name TEXT    NOT NULL,
	mode         INTEGER NOT NULL,
	language     TEXT    NOT NULL,
	invited_by   TEXT    NOT NULL,
	words        TEXT    NOT NULL, -- of who invites
	invited      INTEGER NOT NULL,
	sent         INTEGER NOT NULL, -- 0: never
	times        INTEGER NOT NULL,
	expires      INTEGER NOT NULL,
	answer       TEXT    NOT NULL, -- '' is none yet
	answered     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX invitations_of_address ON invitations (list_id, address_key);
CREATE INDEX invitations_by_expiry ON invitations (expires);

-- When moderators were reminded of a request that waits for them.
ALTER TABLE requests ADD COLUMN reminded INTEGER NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE requests DROP COLUMN reminded;
DROP TABLE invitations;
