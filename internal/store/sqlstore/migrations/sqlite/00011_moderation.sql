-- Posts that wait for a moderator: what is said of them, while their bytes are in the spool;
-- and what was decided about posts and requests, by whom and why.

-- +goose Up
CREATE TABLE held_posts (
	list_id     INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	entry       TEXT    NOT NULL,
	handle      TEXT    NOT NULL, -- names the post in moderators' tokens
	address_key TEXT    NOT NULL, -- of the sender; '' if there is none
	local       TEXT    NOT NULL, -- as in members
	author      TEXT    NOT NULL,
	subject     TEXT    NOT NULL,
	reason      TEXT    NOT NULL,
	code        TEXT    NOT NULL,
	size        INTEGER NOT NULL,
	held        INTEGER NOT NULL,
	told        INTEGER NOT NULL, -- when; 0: not yet
	reminded    INTEGER NOT NULL,
	verdict     TEXT    NOT NULL, -- '' while it waits
	why         TEXT    NOT NULL,
	decided     INTEGER NOT NULL,
	PRIMARY KEY (list_id, entry)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX held_posts_by_handle ON held_posts (list_id, handle);
CREATE INDEX held_posts_by_age ON held_posts (list_id, held);
CREATE INDEX held_posts_unsettled ON held_posts (decided) WHERE verdict <> '';
CREATE INDEX requests_by_phase ON requests (phase, list_id);

CREATE TABLE decisions (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	list_id     INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	at          INTEGER NOT NULL,
	kind        TEXT    NOT NULL,
	ref         TEXT    NOT NULL,
	entry       TEXT    NOT NULL,
	step        TEXT    NOT NULL,
	address_key TEXT    NOT NULL,
	local       TEXT    NOT NULL,
	subject     TEXT    NOT NULL,
	verdict     TEXT    NOT NULL,
	also        TEXT    NOT NULL,
	who         TEXT    NOT NULL,
	why         TEXT    NOT NULL
) STRICT;
CREATE INDEX decisions_by_kind ON decisions (list_id, kind, id);
CREATE INDEX decisions_by_ref ON decisions (list_id, ref, id);
CREATE INDEX decisions_by_entry ON decisions (list_id, entry, id) WHERE entry <> '';
CREATE INDEX decisions_by_step ON decisions (list_id, step) WHERE step <> '';
CREATE INDEX decisions_by_time ON decisions (at);

-- What moderators were told of lately.
CREATE TABLE tellings (
	list_id INTEGER PRIMARY KEY REFERENCES lists (id) ON DELETE CASCADE,
	summary INTEGER NOT NULL,
	hour    INTEGER NOT NULL,
	notices INTEGER NOT NULL
) STRICT;

-- +goose Down
DROP TABLE tellings;
DROP TABLE decisions;
DROP INDEX requests_by_phase;
DROP TABLE held_posts;
