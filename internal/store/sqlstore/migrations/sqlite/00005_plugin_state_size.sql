-- How much each handler keeps for a list: a limit is held against it without reading all of it.

-- +goose Up
CREATE TABLE plugin_state_size (
	list_id INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	plugin  TEXT    NOT NULL,
	keys    INTEGER NOT NULL,
	bytes   INTEGER NOT NULL, -- of keys and values
	PRIMARY KEY (list_id, plugin)
) STRICT, WITHOUT ROWID;

INSERT INTO plugin_state_size (list_id, plugin, keys, bytes)
	SELECT list_id, plugin, count(*), sum(length(CAST(name AS BLOB)) + length(value)) FROM plugin_state GROUP BY list_id, plugin;

-- +goose Down
DROP TABLE plugin_state_size;
