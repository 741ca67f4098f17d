-- Times are microseconds since 1970 UTC. An address_key is the domain, a space and the local
-- part in lower case: the domain comes first, so that an index keeps the addresses of one
-- domain together. Roles, modes, statuses and actions are numbers: see codes.go.

-- +goose Up
CREATE TABLE domains (
	name    TEXT PRIMARY KEY,
	created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: the number of a deleted list never comes back as another list's.
CREATE TABLE lists (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	address_key TEXT    NOT NULL UNIQUE,
	domain      TEXT    NOT NULL REFERENCES domains (name),
	local       TEXT    NOT NULL, -- as it was spelled when the list was created
	settings    TEXT    NOT NULL, -- JSON object of those that differ from the default
	posts       INTEGER NOT NULL, -- the number of the last post
	created     INTEGER NOT NULL
) STRICT;

CREATE TABLE members (
	list_id       INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	role          INTEGER NOT NULL,
	address_key   TEXT    NOT NULL,
	local         TEXT    NOT NULL, -- as the member spells it; '' if that is as in the key
	mode          INTEGER NOT NULL,
	status        INTEGER NOT NULL,
	action        INTEGER NOT NULL,
	no_own_posts  INTEGER NOT NULL,
	no_duplicates INTEGER NOT NULL,
	display_name  TEXT    NOT NULL,
	added         INTEGER NOT NULL,
	PRIMARY KEY (list_id, role, address_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE posts (
	list_id INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	entry   TEXT    NOT NULL,
	digest  BLOB    NOT NULL,
	number  INTEGER, -- null: filed without one
	at      INTEGER NOT NULL,
	PRIMARY KEY (list_id, entry)
) STRICT, WITHOUT ROWID;
-- With all that the look-up reads: else SQLite takes the primary key, and walks the list.
CREATE INDEX posts_by_digest ON posts (list_id, digest, at, number);
CREATE INDEX posts_by_time ON posts (at);

CREATE TABLE bounce_events (
	list_id     INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	entry       TEXT    NOT NULL,
	address_key TEXT    NOT NULL,
	local       TEXT    NOT NULL, -- as in members
	at          INTEGER NOT NULL,
	status      TEXT    NOT NULL,
	hard        INTEGER NOT NULL,
	text        TEXT    NOT NULL,
	PRIMARY KEY (list_id, entry, address_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX bounce_events_by_time ON bounce_events (list_id, at);

CREATE TABLE notices (
	address_key TEXT    NOT NULL,
	entry       TEXT    NOT NULL,
	at          INTEGER NOT NULL,
	allowed     INTEGER NOT NULL,
	PRIMARY KEY (address_key, entry)
) STRICT, WITHOUT ROWID;
CREATE INDEX notices_by_time ON notices (at);

-- +goose Down
DROP TABLE notices;
DROP TABLE bounce_events;
DROP TABLE posts;
DROP TABLE members;
DROP TABLE lists;
DROP TABLE domains;
