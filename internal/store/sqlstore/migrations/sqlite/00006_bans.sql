-- Who is kept off lists. scope: '' is the site, '@' and a domain its lists, '#' and a number
-- one list. what: an address, '@' and a domain, or a pattern, which starts with '^'.

-- +goose Up
CREATE TABLE bans (
	scope   TEXT    NOT NULL,
	what    TEXT    NOT NULL,
	list_id INTEGER REFERENCES lists (id) ON DELETE CASCADE, -- of one list's
	reason  TEXT    NOT NULL,
	added   INTEGER NOT NULL,
	PRIMARY KEY (scope, what)
) STRICT, WITHOUT ROWID;
CREATE INDEX bans_of_list ON bans (list_id) WHERE list_id IS NOT NULL;

-- +goose Down
DROP TABLE bans;
