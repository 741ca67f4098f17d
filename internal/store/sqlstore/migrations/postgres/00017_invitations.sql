-- Who was asked to join a list; SQLite's migration of this number says what a column means.

-- +goose Up
CREATE TABLE invitations (
	token        TEXT COLLATE "C" PRIMARY KEY,
	list_id      BIGINT NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	address_key  TEXT COLLATE "C" NOT NULL,
	local        TEXT NOT NULL,
	display_name TEXT NOT NULL,
	mode         SMALLINT NOT NULL,
	language     TEXT NOT NULL,
	invited_by   TEXT NOT NULL,
	words        TEXT NOT NULL,
	invited      BIGINT NOT NULL,
	sent         BIGINT NOT NULL,
	times        BIGINT NOT NULL,
	expires      BIGINT NOT NULL,
	answer       TEXT NOT NULL,
	answered     BIGINT NOT NULL
);
CREATE UNIQUE INDEX invitations_of_address ON invitations (list_id, address_key);
CREATE INDEX invitations_by_expiry ON invitations (expires);

ALTER TABLE requests ADD COLUMN reminded SMALLINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE requests DROP COLUMN reminded;
DROP TABLE invitations;
