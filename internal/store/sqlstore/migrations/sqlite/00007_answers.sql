-- Which members are told of each of their posts that it was received; and who was answered by
-- a list's automatic responses, of which kind, and about which entry.

-- +goose Up
ALTER TABLE members ADD COLUMN acknowledge_posts INTEGER NOT NULL DEFAULT 0;

CREATE TABLE responses (
	list_id     INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	kind        TEXT    NOT NULL,
	address_key TEXT    NOT NULL,
	entry       TEXT    NOT NULL,
	at          INTEGER NOT NULL,
	PRIMARY KEY (list_id, kind, address_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX responses_by_time ON responses (at);

-- +goose Down
DROP TABLE responses;
ALTER TABLE members DROP COLUMN acknowledge_posts;
