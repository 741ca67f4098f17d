-- A spool. Times are microseconds since 1970 UTC, 0 is none. What a peer or a member wrote is
-- BYTEA, since it need not be UTF-8; envelopes and chunks are in the program's own form.

-- +goose Up

-- The bytes of messages and contents, each once, in parts of bounded size; the server
-- compresses them. Whose body nothing refers to is removed.
CREATE TABLE bodies (
	id   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	size BIGINT NOT NULL,
	made BIGINT NOT NULL
);
CREATE TABLE body_parts (
	body  BIGINT  NOT NULL REFERENCES bodies (id) ON DELETE CASCADE,
	part  INTEGER NOT NULL,
	bytes BYTEA   NOT NULL,
	PRIMARY KEY (body, part)
);

-- What is in incoming, bounces, held and failed. origin is the queue to which a parked entry
-- goes back.
CREATE TABLE entries (
	queue    TEXT    COLLATE "C" NOT NULL,
	id       TEXT    COLLATE "C" NOT NULL,
	key      INTEGER NOT NULL,
	list     TEXT    COLLATE "C" NOT NULL,
	origin   TEXT    COLLATE "C" NOT NULL,
	envelope BYTEA   NOT NULL,
	body     BIGINT  NOT NULL REFERENCES bodies (id),
	size     BIGINT  NOT NULL,
	tries    INTEGER NOT NULL,
	due      BIGINT  NOT NULL,
	reason   BYTEA   NOT NULL,
	PRIMARY KEY (queue, id)
);
CREATE INDEX entries_deferred ON entries (queue, due) WHERE due > 0;
CREATE INDEX entries_of_body ON entries (body);

-- Incoming entries that were committed to outgoing, kept for a while: the same id may come again.
CREATE TABLE finished (
	id TEXT   COLLATE "C" PRIMARY KEY,
	at BIGINT NOT NULL
);
CREATE INDEX finished_by_time ON finished (at);

-- A post is there when its row is: what refers to another number is a commit under way, or
-- what one that was cut short has left.
CREATE SEQUENCE post_numbers;
CREATE TABLE posts (
	number BIGINT  PRIMARY KEY,
	id     TEXT    COLLATE "C" NOT NULL UNIQUE,
	paused BOOLEAN NOT NULL
);
CREATE TABLE contents (
	post    BIGINT NOT NULL,
	variant TEXT   COLLATE "C" NOT NULL,
	body    BIGINT NOT NULL REFERENCES bodies (id),
	made    BIGINT NOT NULL,
	PRIMARY KEY (post, variant)
);
CREATE INDEX contents_of_body ON contents (body);
CREATE TABLE chunks (
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
CREATE INDEX chunks_by_due ON chunks (post, due);
CREATE INDEX chunks_deferred ON chunks (due) WHERE due > 0;
-- Recipients of a chunk that the MTA has accepted one by one, by their places.
CREATE TABLE progress (
	post  BIGINT  NOT NULL,
	name  TEXT    COLLATE "C" NOT NULL,
	place INTEGER NOT NULL,
	PRIMARY KEY (post, name, place),
	FOREIGN KEY (post, name) REFERENCES chunks (post, name) ON DELETE CASCADE
);

-- Who owns which segments, by lease: until is by this server's clock. The epoch is in every
-- change that an owner makes, so that one whose lease has ended can change nothing.
CREATE TABLE owners (
	epoch    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	queue    TEXT   COLLATE "C" NOT NULL,
	segments TEXT   NOT NULL,
	name     TEXT   NOT NULL,
	pid      INTEGER NOT NULL,
	until    TIMESTAMPTZ NOT NULL
);

-- +goose Down
DROP TABLE owners, progress, chunks, contents, posts, finished, entries, body_parts, bodies;
DROP SEQUENCE post_numbers;
