-- The index of what is kept of posts (the bytes are in the archive), and the digests that are
-- made of it. digest: 0 is not for one, 1 waits for the next, 2 is in an issue. Of a post that
-- was removed there is a row with little in it.

-- +goose Up
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
CREATE UNIQUE INDEX archive_by_entry ON archive (entry, list_id);
CREATE INDEX archive_by_hash ON archive (list_id, hash);
CREATE INDEX archive_by_parent ON archive (list_id, parent) WHERE parent <> '';
CREATE INDEX archive_by_date ON archive (list_id, date);
CREATE INDEX archive_waiting ON archive (list_id, number, digest_size, received) WHERE digest = 1;
CREATE INDEX archive_by_issue ON archive (list_id, volume, issue) WHERE digest = 2;

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
CREATE INDEX digests_unfiled ON digests (closed) WHERE filed IS NULL;

CREATE TABLE last_digest (
	list_id INTEGER PRIMARY KEY REFERENCES lists (id) ON DELETE CASCADE,
	volume  INTEGER NOT NULL,
	issue   INTEGER NOT NULL,
	closed  INTEGER NOT NULL
) STRICT;

-- volume and issue are 0 until the issue that is owed is closed.
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

CREATE INDEX owed_by_time ON owed_digests (at) WHERE volume > 0;

-- Does anybody read digests? Most lists of a million members have few who do.
CREATE INDEX members_in_digests ON members (list_id) WHERE mode > 1;

-- +goose Down
DROP INDEX members_in_digests;
DROP TABLE owed_digests;
DROP TABLE last_digest;
DROP TABLE digests;
DROP TABLE archive;
