-- Segments that daemons share: a plan wishes each of them a part, and segments is what it has.

-- +goose Up
-- auto: wished is by the plan; else it is what the owner was told to have. rate, sure and failing
-- are what its share is measured by, done and busy (in microseconds) since it has been there.
ALTER TABLE spool_owners
	ADD COLUMN host    TEXT COLLATE "C" NOT NULL DEFAULT '',
	ADD COLUMN auto    BOOLEAN NOT NULL DEFAULT false,
	ADD COLUMN wished  TEXT NOT NULL DEFAULT '',
	ADD COLUMN rate    DOUBLE PRECISION NOT NULL DEFAULT 0,
	ADD COLUMN sure    DOUBLE PRECISION NOT NULL DEFAULT 0,
	ADD COLUMN failing BOOLEAN NOT NULL DEFAULT false,
	ADD COLUMN done    BIGINT NOT NULL DEFAULT 0,
	ADD COLUMN since   TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp();
UPDATE spool_owners SET wished = segments;

-- When the last plan was made.
CREATE TABLE spool_plans (
	queue TEXT COLLATE "C" PRIMARY KEY,
	at    TIMESTAMPTZ NOT NULL
);

-- What operators want: ranges of outgoing on a host, and hosts that are to have nothing.
CREATE TABLE spool_pins (
	first INTEGER PRIMARY KEY,
	last  INTEGER NOT NULL,
	host  TEXT COLLATE "C" NOT NULL
);
CREATE TABLE spool_drains (
	host  TEXT COLLATE "C" PRIMARY KEY,
	since TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);

-- +goose Down
DROP TABLE spool_drains, spool_pins, spool_plans;
ALTER TABLE spool_owners DROP COLUMN host, DROP COLUMN auto, DROP COLUMN wished, DROP COLUMN rate, DROP COLUMN sure,
	DROP COLUMN failing, DROP COLUMN done, DROP COLUMN since;
