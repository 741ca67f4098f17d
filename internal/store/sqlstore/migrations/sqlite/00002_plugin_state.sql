-- What handlers keep for a list; and what was there before a post changed it, for as long
-- as that post may be run again. A null value before is that there was none.

-- +goose Up
CREATE TABLE plugin_state (
	list_id INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	plugin  TEXT    NOT NULL,
	name    TEXT    NOT NULL,
	value   BLOB    NOT NULL,
	PRIMARY KEY (list_id, plugin, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE plugin_state_before (
	list_id INTEGER NOT NULL,
	entry   TEXT    NOT NULL,
	plugin  TEXT    NOT NULL,
	name    TEXT    NOT NULL,
	value   BLOB,
	PRIMARY KEY (list_id, entry, plugin, name),
	FOREIGN KEY (list_id, entry) REFERENCES posts (list_id, entry) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE plugin_state_before;
DROP TABLE plugin_state;
