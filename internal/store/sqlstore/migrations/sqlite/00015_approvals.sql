-- One-time passwords with which a post of a list passes the checks. hash: what package
-- sdk/password makes of one. used and entry: when, and by which post; NULL until then.

-- +goose Up
CREATE TABLE approvals (
	list_id INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	hash    TEXT    NOT NULL,
	note    TEXT    NOT NULL,
	added   INTEGER NOT NULL,
	expires INTEGER NOT NULL,
	used    INTEGER,
	entry   TEXT,
	PRIMARY KEY (list_id, hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX approvals_by_end ON approvals (expires);

-- +goose Down
DROP TABLE approvals;
