-- Whose addresses belong together, and who has a role on all lists of a domain; SQLite's migration of this number says what a column means.

-- +goose Up
CREATE TABLE addresses (
	address_key TEXT COLLATE "C" PRIMARY KEY,
	local       TEXT NOT NULL, -- as in members
	person      TEXT COLLATE "C" NOT NULL, -- the same for all of one person's
	linked      BIGINT NOT NULL
);
CREATE INDEX addresses_of_person ON addresses (person, linked);

CREATE TABLE domain_roles (
	domain       TEXT COLLATE "C" NOT NULL REFERENCES domains (name),
	role         SMALLINT NOT NULL,
	address_key  TEXT COLLATE "C" NOT NULL,
	local        TEXT NOT NULL,
	display_name TEXT NOT NULL,
	added        BIGINT NOT NULL,
	PRIMARY KEY (domain, role, address_key)
);
CREATE INDEX domain_roles_of_address ON domain_roles (address_key);

-- +goose Down
DROP TABLE domain_roles;
DROP TABLE addresses;
