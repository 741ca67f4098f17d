-- Whose addresses belong together, and who has a role on all lists of a domain.

-- +goose Up
CREATE TABLE addresses (
	address_key TEXT PRIMARY KEY,
	local       TEXT NOT NULL, -- as in members
	person      TEXT NOT NULL, -- the same for all of one person's
	linked      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX addresses_of_person ON addresses (person, linked);

CREATE TABLE domain_roles (
	domain       TEXT NOT NULL REFERENCES domains (name),
	role         INTEGER NOT NULL,
	address_key  TEXT NOT NULL,
	local        TEXT NOT NULL,
	display_name TEXT NOT NULL,
	added        INTEGER NOT NULL,
	PRIMARY KEY (domain, role, address_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX domain_roles_of_address ON domain_roles (address_key);

-- +goose Down
DROP TABLE domain_roles;
DROP TABLE addresses;
