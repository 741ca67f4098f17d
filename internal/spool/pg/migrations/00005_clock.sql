-- Only the server's clock counts, not that of the host that writes a row; and no epoch is given twice.

-- +goose Up

-- Microseconds since 1970.
CREATE FUNCTION spool_now() RETURNS BIGINT STABLE LANGUAGE SQL AS
	'SELECT CAST(extract(epoch FROM statement_timestamp()) * 1000000 AS BIGINT)';
ALTER TABLE spool_bodies ALTER COLUMN made SET DEFAULT spool_now();
ALTER TABLE spool_contents ALTER COLUMN made SET DEFAULT spool_now();
ALTER TABLE spool_chunks ALTER COLUMN made SET DEFAULT spool_now();
ALTER TABLE spool_finished ALTER COLUMN at SET DEFAULT spool_now();

-- How many recipients a chunk has, for who counts them.
ALTER TABLE spool_chunks ADD COLUMN people INTEGER NOT NULL DEFAULT 0;

-- An epoch is the time, and two bits of a number: a server that was restored from a backup, or a standby that takes over, does
-- not know which numbers have been given since.
ALTER TABLE spool_owners ALTER COLUMN epoch DROP IDENTITY;
CREATE SEQUENCE spool_epochs OWNED BY spool_owners.epoch;
ALTER TABLE spool_owners ALTER COLUMN epoch
	SET DEFAULT (CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) << 2) + (nextval('spool_epochs') & 3);

-- +goose Down
ALTER TABLE spool_owners ALTER COLUMN epoch DROP DEFAULT;
DROP SEQUENCE spool_epochs;
ALTER TABLE spool_owners ALTER COLUMN epoch ADD GENERATED ALWAYS AS IDENTITY;
ALTER TABLE spool_chunks DROP COLUMN people;
ALTER TABLE spool_bodies ALTER COLUMN made DROP DEFAULT;
ALTER TABLE spool_contents ALTER COLUMN made DROP DEFAULT;
ALTER TABLE spool_chunks ALTER COLUMN made DROP DEFAULT;
ALTER TABLE spool_finished ALTER COLUMN at DROP DEFAULT;
DROP FUNCTION spool_now;
