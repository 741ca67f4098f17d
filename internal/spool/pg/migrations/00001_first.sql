-- A spool, which may be in one schema with a store. Times are microseconds since 1970 UTC, 0 is none. What a peer or a member wrote is
-- BYTEA, since it need not be UTF-8; envelopes and chunks are in the program's own form.

-- +goose Up

-- The bytes of messages and contents, each once, in parts of bounded size; the server
-- compresses them. Whose body nothing refers to is removed.
CREATE TABLE spool_bodies (
	id   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	size BIGINT NOT NULL,
	made BIGINT NOT NULL
);
CREATE TABLE spool_body_parts (
	body  BIGINT  NOT NULL REFERENCES spool_bodies (id) ON DELETE CASCADE,
	part  INTEGER NOT NULL,
	bytes BYTEA   NOT NULL,
	PRIMARY KEY (body, part)
);

-- What is in incoming, bounces, held and failed. origin is the queue to which a parked entry
-- goes back.
CREATE TABLE spool_entries (
	queue    TEXT    COLLATE "C" NOT NULL,
	id       TEXT    COLLATE "C" NOT NULL,
	key      INTEGER NOT NULL,
	list     TEXT    COLLATE "C" NOT NULL,
	origin   TEXT    COLLATE "C" NOT NULL,
	envelope BYTEA   NOT NULL,
	body     BIGINT  NOT NULL REFERENCES spool_bodies (id),
	size     BIGINT  NOT NULL,
	tries    INTEGER NOT NULL,
	due      BIGINT  NOT NULL,
	reason   BYTEA   NOT NULL,
	PRIMARY KEY (queue, id)
);
CREATE INDEX spool_entries_deferred ON spool_entries (queue, due) WHERE due > 0;
CREATE INDEX spool_entries_of_body ON spool_entries (body);

-- Incoming entries that were committed to outgoing, kept for a while: the same id may come again.
CREATE TABLE spool_finished (
	id TEXT   COLLATE "C" PRIMARY KEY,
	at BIGINT NOT NULL
);
CREATE INDEX spool_finished_by_time ON spool_finished (at);

-- A post is there when its row is: what refers to another number is a commit under way, or
-- what one that was cut short has left.
CREATE SEQUENCE spool_post_numbers;
CREATE TABLE spool_posts (
	number BIGINT  PRIMARY KEY,
	id     TEXT    COLLATE "C" NOT NULL UNIQUE,
	paused BOOLEAN NOT NULL
);
CREATE TABLE spool_contents (
	post    BIGINT NOT NULL,
	variant TEXT   COLLATE "C" NOT NULL,
	body    BIGINT NOT NULL REFERENCES spool_bodies (id),
	made    BIGINT NOT NULL,
	PRIMARY KEY (post, variant)
);
CREATE INDEX spool_contents_of_body ON spool_contents (body);
CREATE TABLE spool_chunks (
	post       BIGINT  NOT NULL,
	name       TEXT    COLLATE "C" NOT NULL,
	key        INTEGER NOT NULL,
	due        BIGINT  NOT NULL,
	tries      INTEGER NOT NULL,
	reason     BYTEA   NOT NULL,
	made       BIGINT  NOT NULL,
	head       BYTEA   NOT NULL,
	recipients BYTEA   NOT NULL,
	PRIMARY KEY (post, name)
);
CREATE INDEX spool_chunks_by_due ON spool_chunks (post, due);
CREATE INDEX spool_chunks_deferred ON spool_chunks (due) WHERE due > 0;
-- Recipients of a chunk that the MTA has accepted one by one, by their places.
CREATE TABLE spool_progress (
	post  BIGINT  NOT NULL,
	name  TEXT    COLLATE "C" NOT NULL,
	place INTEGER NOT NULL,
	PRIMARY KEY (post, name, place),
	FOREIGN KEY (post, name) REFERENCES spool_chunks (post, name) ON DELETE CASCADE
);

-- Who owns which segments, by lease: until is by this server's clock. The epoch is in every
-- change that an owner makes, so that one whose lease has ended can change nothing.
CREATE TABLE spool_owners (
	epoch    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	queue    TEXT   COLLATE "C" NOT NULL,
	segments TEXT   NOT NULL,
	name     TEXT   NOT NULL,
	pid      INTEGER NOT NULL,
	until    TIMESTAMPTZ NOT NULL
);

-- +goose Down
DROP TABLE spool_owners, spool_progress, spool_chunks, spool_contents, spool_posts, spool_finished, spool_entries, spool_body_parts, spool_bodies;
DROP SEQUENCE spool_post_numbers;
