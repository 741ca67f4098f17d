PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE schema_version (
		id INTEGER PRIMARY KEY AUTOINCREMENT,
		version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL,
		tstamp TIMESTAMP DEFAULT (datetime('now'))
	);
INSERT INTO schema_version VALUES(1,0,1,'2026-11-26 00:49:55');
INSERT INTO schema_version VALUES(2,1,1,'2026-11-26 00:49:55');
INSERT INTO schema_version VALUES(3,2,1,'2026-11-26 00:49:55');
INSERT INTO schema_version VALUES(4,3,1,'2026-11-26 00:49:55');
INSERT INTO schema_version VALUES(5,4,1,'2026-11-26 00:49:55');
INSERT INTO schema_version VALUES(6,5,1,'2026-11-26 00:49:55');
INSERT INTO schema_version VALUES(7,6,1,'2026-11-26 00:49:55');
INSERT INTO schema_version VALUES(8,7,1,'2026-11-26 00:49:55');
INSERT INTO schema_version VALUES(9,8,1,'2026-11-26 00:49:55');
INSERT INTO schema_version VALUES(10,9,1,'2026-11-26 00:49:55');
INSERT INTO schema_version VALUES(11,10,1,'2026-11-26 00:49:55');
CREATE TABLE domains (
	name    TEXT PRIMARY KEY,
	created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO domains VALUES('lists.test',1795654196014242);
CREATE TABLE lists (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	address_key TEXT    NOT NULL UNIQUE,
	domain      TEXT    NOT NULL REFERENCES domains (name),
	local       TEXT    NOT NULL, -- as it was spelled when the list was created
	settings    TEXT    NOT NULL, -- JSON object of those that differ from the default
	posts       INTEGER NOT NULL, -- the number of the last post
	created     INTEGER NOT NULL
) STRICT;
INSERT INTO lists VALUES(1,'lists.test dev','lists.test','dev','{"subject_prefix":"[dev] "}',1,1795654196014242);
INSERT INTO lists VALUES(2,'lists.test news','lists.test','news','{"default_member_action":"accept"}',1,1795654196094968);
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
	added         INTEGER NOT NULL, acknowledge_posts INTEGER NOT NULL DEFAULT 0, topics TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (list_id, role, address_key)
) STRICT, WITHOUT ROWID;
INSERT INTO members VALUES(1,1,'net.test ann','',1,1,0,0,0,'',1795654196191512,0,'');
INSERT INTO members VALUES(1,1,'net.test bob','',1,1,0,1,0,'',1795654196191514,0,'');
INSERT INTO members VALUES(1,1,'net.test dora','',3,1,0,0,0,'',1795654196239120,0,'');
INSERT INTO members VALUES(1,1,'net.test zoe','',1,1,0,0,0,'Zoë',1795654196191528,0,'');
INSERT INTO members VALUES(1,2,'net.test ann','',1,1,0,0,0,'',1795654196035963,0,'');
INSERT INTO members VALUES(2,1,'net.test bob','',1,1,0,0,0,'',1795654212489480,0,'');
INSERT INTO members VALUES(2,2,'net.test ann','',1,1,0,0,0,'',1795654212462981,0,'');
CREATE TABLE posts (
	list_id INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	entry   TEXT    NOT NULL,
	digest  BLOB    NOT NULL,
	number  INTEGER, -- null: filed without one
	at      INTEGER NOT NULL,
	PRIMARY KEY (list_id, entry)
) STRICT, WITHOUT ROWID;
INSERT INTO posts VALUES(1,'3n36hds2ytghu7jg',X'431171946b2239e6426e7fa715b6eddb962b10aa2c4a262476d34ba11f6931bb',NULL,1795654212942583);
INSERT INTO posts VALUES(1,'3n36hdrwlq6q2snh',X'fae390c669c4bbd3b7704a75c433306cbacaf20945e27141b67036c667f1c234',1,1795654212798040);
INSERT INTO posts VALUES(2,'3n36hdsa7hud5aiy',X'12a47df59aa1fcef3e88815a474209679c4032a64e2cc060e91deab312fdc087',1,1795654213113231);
CREATE TABLE bounce_events (
	list_id     INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	entry       TEXT    NOT NULL,
	address_key TEXT    NOT NULL,
	local       TEXT    NOT NULL, -- as in members
	at          INTEGER NOT NULL,
	status      TEXT    NOT NULL,
	hard        INTEGER NOT NULL,
	text        TEXT    NOT NULL, class TEXT NOT NULL DEFAULT '', post TEXT NOT NULL DEFAULT '', blameless INTEGER NOT NULL DEFAULT 0, proven INTEGER NOT NULL DEFAULT 0, points REAL NOT NULL DEFAULT 0,
	PRIMARY KEY (list_id, entry, address_key)
) STRICT, WITHOUT ROWID;
CREATE TABLE notices (
	address_key TEXT    NOT NULL,
	entry       TEXT    NOT NULL,
	at          INTEGER NOT NULL,
	allowed     INTEGER NOT NULL,
	PRIMARY KEY (address_key, entry)
) STRICT, WITHOUT ROWID;
INSERT INTO notices VALUES('net.test stranger','3n36hds2ytghu7jg',1795654212947693,1);
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
CREATE TABLE secrets (
	name  TEXT PRIMARY KEY,
	value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE archive (
	list_id      INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	number       INTEGER NOT NULL, -- that of the post
	entry        TEXT    NOT NULL,
	message_id   TEXT    NOT NULL,
	hash         TEXT    NOT NULL, -- of message_id: what permalinks have
	parent       TEXT    NOT NULL, -- hash of the Message-ID that it answers
	refs         TEXT    NOT NULL, -- Message-IDs with spaces between, the parent last
	date         INTEGER NOT NULL,
	received     INTEGER NOT NULL,
	from_address TEXT    NOT NULL,
	from_name    TEXT    NOT NULL,
	subject      TEXT    NOT NULL,
	size         INTEGER NOT NULL,
	sha256       BLOB    NOT NULL,
	place        TEXT    NOT NULL, -- '' if it is kept for a digest alone, or was removed
	digest       INTEGER NOT NULL,
	digest_place TEXT    NOT NULL,
	digest_size  INTEGER NOT NULL,
	volume       INTEGER NOT NULL,
	issue        INTEGER NOT NULL,
	removed      INTEGER,
	PRIMARY KEY (list_id, number)
) STRICT, WITHOUT ROWID;
INSERT INTO archive VALUES(1,1,'3n36hdrwlq6q2snh','prepared@net.test','ZTUXK2ZWP7GJ26KKW6P5JRFIGVFOIWLF','','',1795521600000000,1795654212798040,'ann@net.test','','[dev] prepared',535,X'ff2422c4e0b8eaf4ebc882c9ea2c1a99e0a7ae0dc55ae16f8c0227088f931562','lists.test/dev/2026-11/3n36hdrwlq6q2snh.eml.gz',1,'lists.test/dev/2026-11/3n36hdrwlq6q2snh.eml.gz',535,0,0,NULL);
INSERT INTO archive VALUES(2,1,'3n36hdsa7hud5aiy','second@net.test','EHGRYC5K6VD7LIR6G3WYA3V5KCBXJCBO','','',1795521600000000,1795654213113231,'bob@net.test','','[news] second',541,X'f722619ee021818ff2bea115630c2808269789d01c885b7c6e9261205a3e3919','lists.test/news/2026-11/3n36hdsa7hud5aiy.eml.gz',0,'',0,0,0,NULL);
CREATE TABLE digests (
	list_id INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	volume  INTEGER NOT NULL,
	issue   INTEGER NOT NULL,
	closed  INTEGER NOT NULL,
	posts   INTEGER NOT NULL,
	size    INTEGER NOT NULL,
	filed   INTEGER,
	PRIMARY KEY (list_id, volume, issue)
) STRICT, WITHOUT ROWID;
CREATE TABLE last_digest (
	list_id INTEGER PRIMARY KEY REFERENCES lists (id) ON DELETE CASCADE,
	volume  INTEGER NOT NULL,
	issue   INTEGER NOT NULL,
	closed  INTEGER NOT NULL
) STRICT;
CREATE TABLE owed_digests (
	list_id     INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	volume      INTEGER NOT NULL,
	issue       INTEGER NOT NULL,
	mode        INTEGER NOT NULL,
	address_key TEXT    NOT NULL,
	local       TEXT    NOT NULL,
	at          INTEGER NOT NULL,
	PRIMARY KEY (list_id, volume, issue, mode, address_key)
) STRICT, WITHOUT ROWID;
CREATE TABLE plugin_state_size (
	list_id INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	plugin  TEXT    NOT NULL,
	keys    INTEGER NOT NULL,
	bytes   INTEGER NOT NULL, -- of keys and values
	PRIMARY KEY (list_id, plugin)
) STRICT, WITHOUT ROWID;
CREATE TABLE bans (
	scope   TEXT    NOT NULL,
	what    TEXT    NOT NULL,
	list_id INTEGER REFERENCES lists (id) ON DELETE CASCADE, -- of one list's
	reason  TEXT    NOT NULL,
	added   INTEGER NOT NULL,
	PRIMARY KEY (scope, what)
) STRICT, WITHOUT ROWID;
INSERT INTO bans VALUES('#1','eve@net.test',1,'spam',1795654212436599);
CREATE TABLE responses (
	list_id     INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	kind        TEXT    NOT NULL,
	address_key TEXT    NOT NULL,
	entry       TEXT    NOT NULL,
	at          INTEGER NOT NULL,
	PRIMARY KEY (list_id, kind, address_key)
) STRICT, WITHOUT ROWID;
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
CREATE TABLE blamed_posts (
	list_id INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	post    TEXT    NOT NULL,
	at      INTEGER NOT NULL,
	PRIMARY KEY (list_id, post)
) STRICT, WITHOUT ROWID;
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
CREATE TABLE member_history (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	list_id     INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	address_key TEXT    NOT NULL,
	at          INTEGER NOT NULL,
	what        TEXT    NOT NULL,
	who         TEXT    NOT NULL,
	why         TEXT    NOT NULL
) STRICT;
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
CREATE TABLE request_results (
	list_id INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
	entry   TEXT    NOT NULL,
	step    INTEGER NOT NULL,
	at      INTEGER NOT NULL,
	result  TEXT    NOT NULL, -- JSON
	PRIMARY KEY (list_id, entry, step)
) STRICT, WITHOUT ROWID;
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('schema_version',11);
INSERT INTO sqlite_sequence VALUES('lists',2);
CREATE INDEX posts_by_digest ON posts (list_id, digest, at, number);
CREATE INDEX posts_by_time ON posts (at);
CREATE INDEX bounce_events_by_time ON bounce_events (list_id, at);
CREATE INDEX notices_by_time ON notices (at);
CREATE UNIQUE INDEX archive_by_entry ON archive (entry, list_id);
CREATE INDEX archive_by_hash ON archive (list_id, hash);
CREATE INDEX archive_by_parent ON archive (list_id, parent) WHERE parent <> '';
CREATE INDEX archive_by_date ON archive (list_id, date);
CREATE INDEX archive_waiting ON archive (list_id, number, digest_size, received) WHERE digest = 1;
CREATE INDEX archive_by_issue ON archive (list_id, volume, issue) WHERE digest = 2;
CREATE INDEX digests_unfiled ON digests (closed) WHERE filed IS NULL;
CREATE INDEX owed_by_time ON owed_digests (at) WHERE volume > 0;
CREATE INDEX members_in_digests ON members (list_id) WHERE mode > 1;
CREATE INDEX bans_of_list ON bans (list_id) WHERE list_id IS NOT NULL;
CREATE INDEX responses_by_time ON responses (at);
CREATE INDEX bounce_events_by_post ON bounce_events (list_id, post) WHERE post <> '';
CREATE INDEX bounce_events_by_member ON bounce_events (list_id, address_key, at);
CREATE INDEX bounce_events_by_age ON bounce_events (at);
CREATE INDEX bounce_scores_by_due ON bounce_scores (due) WHERE due IS NOT NULL;
CREATE UNIQUE INDEX bounce_scores_by_token ON bounce_scores (token) WHERE token <> '';
CREATE INDEX blamed_posts_by_age ON blamed_posts (at);
CREATE INDEX bounce_tasks_by_list ON bounce_tasks (list_id);
CREATE INDEX member_history_by_member ON member_history (list_id, address_key, id);
CREATE INDEX member_history_by_time ON member_history (at);
CREATE UNIQUE INDEX requests_of_address ON requests (list_id, address_key, want);
CREATE INDEX requests_by_age ON requests (list_id, created);
CREATE INDEX requests_by_expiry ON requests (expires);
CREATE INDEX request_results_by_time ON request_results (at);
COMMIT;
