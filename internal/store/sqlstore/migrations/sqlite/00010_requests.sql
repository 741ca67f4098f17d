-- What people want of lists: requests that wait, and what became of those that an entry made.

-- +goose Up
-- phase: 1 the address is to confirm, 2 a moderator is to decide.
CREATE TABLE requests (
	token        TEXT    PRIMARY KEY,
	list_id      INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	want         TEXT    NOT NULL,
	address_key  TEXT    NOT NULL,
	local        TEXT    NOT NULL, -- as in members
	display_name TEXT    NOT NULL,
	mode         INTEGER NOT NULL,
	status       INTEGER NOT NULL,
	phase        INTEGER NOT NULL,
	moderate     INTEGER NOT NULL,
	told         INTEGER NOT NULL, -- how often the token was sent
	created      INTEGER NOT NULL,
	expires      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX requests_of_address ON requests (list_id, address_key, want);
CREATE INDEX requests_by_age ON requests (list_id, created);
CREATE INDEX requests_by_expiry ON requests (expires);

CREATE TABLE request_results (
	list_id INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	entry   TEXT    NOT NULL,
	step    INTEGER NOT NULL,
	at      INTEGER NOT NULL,
	result  TEXT    NOT NULL, -- JSON
	PRIMARY KEY (list_id, entry, step)
) STRICT, WITHOUT ROWID;
CREATE INDEX request_results_by_time ON request_results (at);

-- +goose Down
DROP TABLE request_results;
DROP TABLE requests;
