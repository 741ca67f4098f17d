-- The tables as SQLite's migrations up to this number leave them; what a column means stands
-- there. Text has the order of its octets, whatever the database's locale: keys are compared
-- by it, here and in the program. Flags are numbers in both.

-- +goose Up
CREATE TABLE domains (
	name    TEXT COLLATE "C" PRIMARY KEY,
	created BIGINT NOT NULL
);

CREATE TABLE lists (
	id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	address_key TEXT   COLLATE "C" NOT NULL UNIQUE,
	domain      TEXT   COLLATE "C" NOT NULL REFERENCES domains (name),
	local       TEXT   NOT NULL,
	settings    TEXT   NOT NULL,
	posts       BIGINT NOT NULL,
	created     BIGINT NOT NULL,
	state       SMALLINT NOT NULL DEFAULT 0,
	state_why   TEXT   NOT NULL DEFAULT '',
	state_since BIGINT NOT NULL DEFAULT 0,
	purge_at    BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE list_aliases (
	address_key TEXT   COLLATE "C" PRIMARY KEY,
	local       TEXT   NOT NULL,
	list_id     BIGINT NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	added       BIGINT NOT NULL
);
CREATE INDEX list_aliases_of ON list_aliases (list_id);

CREATE TABLE members (
	list_id           BIGINT   NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	role              SMALLINT NOT NULL,
	address_key       TEXT     COLLATE "C" NOT NULL,
	local             TEXT     NOT NULL,
	mode              SMALLINT NOT NULL,
	status            SMALLINT NOT NULL,
	action            SMALLINT NOT NULL,
	no_own_posts      SMALLINT NOT NULL,
	no_duplicates     SMALLINT NOT NULL,
	display_name      TEXT     NOT NULL,
	added             BIGINT   NOT NULL,
	acknowledge_posts SMALLINT NOT NULL DEFAULT 0,
	topics            TEXT     NOT NULL DEFAULT '',
	PRIMARY KEY (list_id, role, address_key)
);
CREATE INDEX members_in_digests ON members (list_id) WHERE mode > 1;

CREATE TABLE posts (
	list_id BIGINT NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	entry   TEXT   COLLATE "C" NOT NULL,
	digest  BYTEA  NOT NULL,
	number  BIGINT,
	at      BIGINT NOT NULL,
	PRIMARY KEY (list_id, entry)
);
CREATE INDEX posts_by_digest ON posts (list_id, digest, at, number);
CREATE INDEX posts_by_time ON posts (at);

CREATE TABLE bounce_events (
	list_id     BIGINT   NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	entry       TEXT     COLLATE "C" NOT NULL,
	address_key TEXT     COLLATE "C" NOT NULL,
	local       TEXT     NOT NULL,
	at          BIGINT   NOT NULL,
	status      TEXT     NOT NULL,
	hard        SMALLINT NOT NULL,
	text        TEXT     NOT NULL,
	class       TEXT     NOT NULL DEFAULT '',
	post        TEXT     NOT NULL DEFAULT '',
	blameless   SMALLINT NOT NULL DEFAULT 0,
	proven      SMALLINT NOT NULL DEFAULT 0,
	points      DOUBLE PRECISION NOT NULL DEFAULT 0,
	PRIMARY KEY (list_id, entry, address_key)
);
CREATE INDEX bounce_events_by_time ON bounce_events (list_id, at);
CREATE INDEX bounce_events_by_post ON bounce_events (list_id, post) WHERE post <> '';
CREATE INDEX bounce_events_by_member ON bounce_events (list_id, address_key, at);
CREATE INDEX bounce_events_by_age ON bounce_events (at);

CREATE TABLE bounce_scores (
	list_id     BIGINT   NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	address_key TEXT     COLLATE "C" NOT NULL,
	score       DOUBLE PRECISION NOT NULL,
	last        BIGINT   NOT NULL,
	unproven    SMALLINT NOT NULL,
	phase       SMALLINT NOT NULL,
	warnings    INTEGER  NOT NULL,
	token       TEXT     COLLATE "C" NOT NULL,
	due         BIGINT,
	PRIMARY KEY (list_id, address_key)
);
CREATE INDEX bounce_scores_by_due ON bounce_scores (due) WHERE due IS NOT NULL;
CREATE UNIQUE INDEX bounce_scores_by_token ON bounce_scores (token) WHERE token <> '';

CREATE TABLE blamed_posts (
	list_id BIGINT NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	post    TEXT   COLLATE "C" NOT NULL,
	at      BIGINT NOT NULL,
	PRIMARY KEY (list_id, post)
);
CREATE INDEX blamed_posts_by_age ON blamed_posts (at);

CREATE TABLE bounce_tasks (
	id          BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	list_id     BIGINT  NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	kind        TEXT    NOT NULL,
	address_key TEXT    COLLATE "C" NOT NULL,
	local       TEXT    NOT NULL,
	at          BIGINT  NOT NULL,
	token       TEXT    NOT NULL,
	reason      TEXT    NOT NULL,
	score       DOUBLE PRECISION NOT NULL,
	number      BIGINT  NOT NULL
);
CREATE INDEX bounce_tasks_by_list ON bounce_tasks (list_id);

CREATE TABLE member_history (
	id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	list_id     BIGINT NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	address_key TEXT   COLLATE "C" NOT NULL,
	at          BIGINT NOT NULL,
	what        TEXT   NOT NULL,
	who         TEXT   NOT NULL,
	why         TEXT   NOT NULL
);
CREATE INDEX member_history_by_member ON member_history (list_id, address_key, id);
CREATE INDEX member_history_by_time ON member_history (at);

CREATE TABLE notices (
	address_key TEXT     COLLATE "C" NOT NULL,
	entry       TEXT     COLLATE "C" NOT NULL,
	at          BIGINT   NOT NULL,
	allowed     SMALLINT NOT NULL,
	PRIMARY KEY (address_key, entry)
);
CREATE INDEX notices_by_time ON notices (at);

CREATE TABLE responses (
	list_id     BIGINT NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	kind        TEXT   COLLATE "C" NOT NULL,
	address_key TEXT   COLLATE "C" NOT NULL,
	entry       TEXT   NOT NULL,
	at          BIGINT NOT NULL,
	PRIMARY KEY (list_id, kind, address_key)
);
CREATE INDEX responses_by_time ON responses (at);

CREATE TABLE plugin_state (
	list_id BIGINT NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	plugin  TEXT   COLLATE "C" NOT NULL,
	name    TEXT   COLLATE "C" NOT NULL,
	value   BYTEA  NOT NULL,
	PRIMARY KEY (list_id, plugin, name)
);

CREATE TABLE plugin_state_before (
	list_id BIGINT NOT NULL,
	entry   TEXT   COLLATE "C" NOT NULL,
	plugin  TEXT   COLLATE "C" NOT NULL,
	name    TEXT   COLLATE "C" NOT NULL,
	value   BYTEA,
	PRIMARY KEY (list_id, entry, plugin, name),
	FOREIGN KEY (list_id, entry) REFERENCES posts (list_id, entry) ON DELETE CASCADE
);

CREATE TABLE plugin_state_size (
	list_id BIGINT NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	plugin  TEXT   COLLATE "C" NOT NULL,
	keys    BIGINT NOT NULL,
	bytes   BIGINT NOT NULL,
	PRIMARY KEY (list_id, plugin)
);

CREATE TABLE secrets (
	name  TEXT COLLATE "C" PRIMARY KEY,
	value BYTEA NOT NULL
);

CREATE TABLE archive (
	list_id      BIGINT   NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	number       BIGINT   NOT NULL,
	entry        TEXT     COLLATE "C" NOT NULL,
	message_id   TEXT     NOT NULL,
	hash         TEXT     COLLATE "C" NOT NULL,
	parent       TEXT     COLLATE "C" NOT NULL,
	refs         TEXT     NOT NULL,
	date         BIGINT   NOT NULL,
	received     BIGINT   NOT NULL,
	from_address TEXT     NOT NULL,
	from_name    TEXT     NOT NULL,
	subject      TEXT     NOT NULL,
	size         BIGINT   NOT NULL,
	sha256       BYTEA    NOT NULL,
	place        TEXT     NOT NULL,
	digest       SMALLINT NOT NULL,
	digest_place TEXT     NOT NULL,
	digest_size  BIGINT   NOT NULL,
	volume       BIGINT   NOT NULL,
	issue        BIGINT   NOT NULL,
	removed      BIGINT,
	PRIMARY KEY (list_id, number)
);
CREATE UNIQUE INDEX archive_by_entry ON archive (entry, list_id);
CREATE INDEX archive_by_hash ON archive (list_id, hash);
CREATE INDEX archive_by_parent ON archive (list_id, parent) WHERE parent <> '';
CREATE INDEX archive_by_date ON archive (list_id, date);
CREATE INDEX archive_waiting ON archive (list_id, number, digest_size, received) WHERE digest = 1;
CREATE INDEX archive_by_issue ON archive (list_id, volume, issue) WHERE digest = 2;

CREATE TABLE digests (
	list_id BIGINT NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	volume  BIGINT NOT NULL,
	issue   BIGINT NOT NULL,
	closed  BIGINT NOT NULL,
	posts   BIGINT NOT NULL,
	size    BIGINT NOT NULL,
	filed   BIGINT,
	PRIMARY KEY (list_id, volume, issue)
);
CREATE INDEX digests_unfiled ON digests (closed) WHERE filed IS NULL;

CREATE TABLE last_digest (
	list_id BIGINT PRIMARY KEY REFERENCES lists (id) ON DELETE CASCADE,
	volume  BIGINT NOT NULL,
	issue   BIGINT NOT NULL,
	closed  BIGINT NOT NULL
);

CREATE TABLE owed_digests (
	list_id     BIGINT   NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	volume      BIGINT   NOT NULL,
	issue       BIGINT   NOT NULL,
	mode        SMALLINT NOT NULL,
	address_key TEXT     COLLATE "C" NOT NULL,
	local       TEXT     NOT NULL,
	at          BIGINT   NOT NULL,
	PRIMARY KEY (list_id, volume, issue, mode, address_key)
);
CREATE INDEX owed_by_time ON owed_digests (at) WHERE volume > 0;

CREATE TABLE bans (
	scope   TEXT   COLLATE "C" NOT NULL,
	what    TEXT   COLLATE "C" NOT NULL,
	list_id BIGINT REFERENCES lists (id) ON DELETE CASCADE,
	reason  TEXT   NOT NULL,
	added   BIGINT NOT NULL,
	PRIMARY KEY (scope, what)
);
CREATE INDEX bans_of_list ON bans (list_id) WHERE list_id IS NOT NULL;

CREATE TABLE requests (
	token        TEXT     COLLATE "C" PRIMARY KEY,
	list_id      BIGINT   NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	want         TEXT     COLLATE "C" NOT NULL,
	address_key  TEXT     COLLATE "C" NOT NULL,
	local        TEXT     NOT NULL,
	display_name TEXT     NOT NULL,
	mode         SMALLINT NOT NULL,
	status       SMALLINT NOT NULL,
	phase        SMALLINT NOT NULL,
	moderate     SMALLINT NOT NULL,
	told         INTEGER  NOT NULL,
	created      BIGINT   NOT NULL,
	expires      BIGINT   NOT NULL
);
CREATE UNIQUE INDEX requests_of_address ON requests (list_id, address_key, want);
CREATE INDEX requests_by_age ON requests (list_id, created);
CREATE INDEX requests_by_expiry ON requests (expires);
CREATE INDEX requests_by_phase ON requests (phase, list_id);

CREATE TABLE request_results (
	list_id BIGINT  NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	entry   TEXT    COLLATE "C" NOT NULL,
	step    INTEGER NOT NULL,
	at      BIGINT  NOT NULL,
	result  TEXT    NOT NULL,
	PRIMARY KEY (list_id, entry, step)
);
CREATE INDEX request_results_by_time ON request_results (at);

CREATE TABLE held_posts (
	list_id     BIGINT   NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	entry       TEXT     COLLATE "C" NOT NULL,
	handle      TEXT     COLLATE "C" NOT NULL,
	address_key TEXT     COLLATE "C" NOT NULL,
	local       TEXT     NOT NULL,
	author      TEXT     NOT NULL,
	subject     TEXT     NOT NULL,
	reason      TEXT     NOT NULL,
	code        TEXT     NOT NULL,
	size        BIGINT   NOT NULL,
	held        BIGINT   NOT NULL,
	told        BIGINT   NOT NULL,
	reminded    SMALLINT NOT NULL,
	verdict     TEXT     NOT NULL,
	why         TEXT     NOT NULL,
	decided     BIGINT   NOT NULL,
	PRIMARY KEY (list_id, entry)
);
CREATE UNIQUE INDEX held_posts_by_handle ON held_posts (list_id, handle);
CREATE INDEX held_posts_by_age ON held_posts (list_id, held);
CREATE INDEX held_posts_unsettled ON held_posts (decided) WHERE verdict <> '';

CREATE TABLE decisions (
	id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	list_id     BIGINT NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	at          BIGINT NOT NULL,
	kind        TEXT   COLLATE "C" NOT NULL,
	ref         TEXT   COLLATE "C" NOT NULL,
	entry       TEXT   COLLATE "C" NOT NULL,
	step        TEXT   COLLATE "C" NOT NULL,
	address_key TEXT   COLLATE "C" NOT NULL,
	local       TEXT   NOT NULL,
	subject     TEXT   NOT NULL,
	verdict     TEXT   NOT NULL,
	also        TEXT   NOT NULL,
	who         TEXT   NOT NULL,
	why         TEXT   NOT NULL
);
CREATE INDEX decisions_by_kind ON decisions (list_id, kind, id);
CREATE INDEX decisions_by_ref ON decisions (list_id, ref, id);
CREATE INDEX decisions_by_entry ON decisions (list_id, entry, id) WHERE entry <> '';
CREATE INDEX decisions_by_step ON decisions (list_id, step) WHERE step <> '';
CREATE INDEX decisions_by_time ON decisions (at);

CREATE TABLE tellings (
	list_id BIGINT PRIMARY KEY REFERENCES lists (id) ON DELETE CASCADE,
	summary BIGINT NOT NULL,
	hour    BIGINT NOT NULL,
	notices BIGINT NOT NULL
);

-- +goose Down
DROP TABLE tellings, decisions, held_posts, list_aliases, request_results, requests, bans, owed_digests, last_digest, digests, archive, secrets, plugin_state_size,
	plugin_state_before, plugin_state, responses, notices, member_history, bounce_tasks, blamed_posts, bounce_scores,
	bounce_events, posts, members, lists, domains;
