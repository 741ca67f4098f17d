-- What bounces do to members: scores, what people are to be told of it, and the history.

-- +goose Up
ALTER TABLE bounce_events ADD COLUMN class TEXT NOT NULL DEFAULT '';
ALTER TABLE bounce_events ADD COLUMN post TEXT NOT NULL DEFAULT '';
ALTER TABLE bounce_events ADD COLUMN blameless INTEGER NOT NULL DEFAULT 0;
ALTER TABLE bounce_events ADD COLUMN proven INTEGER NOT NULL DEFAULT 0;
ALTER TABLE bounce_events ADD COLUMN points REAL NOT NULL DEFAULT 0; -- that it counted
CREATE INDEX bounce_events_by_post ON bounce_events (list_id, post) WHERE post <> '';
CREATE INDEX bounce_events_by_member ON bounce_events (list_id, address_key, at);
CREATE INDEX bounce_events_by_age ON bounce_events (at);

-- phase: 0 counting, 1 a probe is on its way, 2 delivery is disabled.
CREATE TABLE bounce_scores (
	list_id     INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	address_key TEXT    NOT NULL,
	score       REAL    NOT NULL,
	last        INTEGER NOT NULL, -- the last bounce that counted
	unproven    INTEGER NOT NULL,
	phase       INTEGER NOT NULL,
	warnings    INTEGER NOT NULL,
	token       TEXT    NOT NULL, -- '' for none
	due         INTEGER, -- null: nothing is to come
	PRIMARY KEY (list_id, address_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX bounce_scores_by_due ON bounce_scores (due) WHERE due IS NOT NULL;
CREATE UNIQUE INDEX bounce_scores_by_token ON bounce_scores (token) WHERE token <> '';

-- Posts that were refused by so many that they count against nobody.
CREATE TABLE blamed_posts (
	list_id INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	post    TEXT    NOT NULL,
	at      INTEGER NOT NULL,
	PRIMARY KEY (list_id, post)
) STRICT, WITHOUT ROWID;
CREATE INDEX blamed_posts_by_age ON blamed_posts (at);

CREATE TABLE bounce_tasks (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	list_id     INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	kind        TEXT    NOT NULL,
	address_key TEXT    NOT NULL,
	local       TEXT    NOT NULL, -- as in members
	at          INTEGER NOT NULL,
	token       TEXT    NOT NULL,
	reason      TEXT    NOT NULL,
	score       REAL    NOT NULL,
	number      INTEGER NOT NULL
) STRICT;
CREATE INDEX bounce_tasks_by_list ON bounce_tasks (list_id);

CREATE TABLE member_history (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	list_id     INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	address_key TEXT    NOT NULL,
	at          INTEGER NOT NULL,
	what        TEXT    NOT NULL,
	who         TEXT    NOT NULL,
	why         TEXT    NOT NULL
) STRICT;
CREATE INDEX member_history_by_member ON member_history (list_id, address_key, id);
CREATE INDEX member_history_by_time ON member_history (at);

-- +goose Down
DROP TABLE member_history;
DROP TABLE bounce_tasks;
DROP TABLE blamed_posts;
DROP TABLE bounce_scores;
DROP INDEX bounce_events_by_age;
DROP INDEX bounce_events_by_member;
DROP INDEX bounce_events_by_post;
ALTER TABLE bounce_events DROP COLUMN points;
ALTER TABLE bounce_events DROP COLUMN proven;
ALTER TABLE bounce_events DROP COLUMN blameless;
ALTER TABLE bounce_events DROP COLUMN post;
ALTER TABLE bounce_events DROP COLUMN class;
