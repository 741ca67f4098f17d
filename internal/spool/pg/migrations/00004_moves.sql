-- Where the mail of a spool was moved to ("to"), or is on its way from ("from").

-- +goose Up
CREATE TABLE spool_moves (
	what  TEXT COLLATE "C" PRIMARY KEY,
	spool TEXT   NOT NULL,
	at    BIGINT NOT NULL
);

-- A trigger on spool_entries from the moment on in which the mail is elsewhere: a daemon that was not told cannot take mail in any more.
-- +goose StatementBegin
CREATE FUNCTION spool_moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the mail of this spool was moved elsewhere'; END $$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION spool_moved() CASCADE;
DROP TABLE spool_moves;
