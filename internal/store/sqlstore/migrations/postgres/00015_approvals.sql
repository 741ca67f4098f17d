-- One-time passwords; SQLite's migration of this number says what a column means.

-- +goose Up
CREATE TABLE approvals (
	list_id BIGINT NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	hash    TEXT   COLLATE "C" NOT NULL,
	note    TEXT   NOT NULL,
	added   BIGINT NOT NULL,
	expires BIGINT NOT NULL,
	used    BIGINT,
	entry   TEXT   COLLATE "C",
	PRIMARY KEY (list_id, hash)
);
CREATE INDEX approvals_by_end ON approvals (expires);

-- +goose Down
DROP TABLE approvals;
