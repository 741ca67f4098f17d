package main

import (
	"encoding/csv"
	"fmt"
	"slices"
	"strings"

	"github.com/mlist/mlist/internal/list"
)

// columns are those that a CSV file of members has, by what its first line calls them.
type columns struct {
	names []string
	comma rune
}

// columnNames are the names of columns, and other names for the same.
var columnNames = map[string]string{
	"role": "role", "address": "address", "email": "address", "e-mail": "address", "mail": "address",
	"email address": "address", "email_address": "address", "e-mail address": "address", "mail address": "address",
	"name": "name", "display_name": "name", "display name": "name",
	"mode": "mode", "delivery_mode": "mode", "status": "status", "delivery_status": "status", "action": "action", "moderation_action": "action",
	"no_own_posts": "no_own_posts", "no_duplicates": "no_duplicates", "acknowledge_posts": "acknowledge_posts",
	"language": "language", "preferred_language": "language",
}

// columnsOf tells whether a first line names columns, and which. A line that begins with the
// name of no column is a member.
func columnsOf(text string) (*columns, error) {
	c := &columns{comma: ','}
	for _, sep := range []rune{';', '\t'} {
		if !strings.ContainsRune(text, ',') && strings.ContainsRune(text, sep) {
			c.comma = sep
		}
	}
	fields, err := c.split(text)
	if err != nil {
		return nil, nil
	}
	known := func(f string) string { return columnNames[strings.ToLower(strings.TrimSpace(f))] }
	if !slices.ContainsFunc(fields, func(f string) bool { return known(f) == "address" }) {
		return nil, nil
	}
	for _, f := range fields {
		name := known(f)
		switch {
		case name == "":
			return nil, fmt.Errorf("no column %.60q is known: there are address, role, name, mode, status, action, no_own_posts, no_duplicates, acknowledge_posts and language", strings.TrimSpace(f))
		case slices.Contains(c.names, name):
			return nil, fmt.Errorf("the column %s is there twice", name)
		}
		c.names = append(c.names, name)
	}
	return c, nil
}

// parseYes reads a truth, as other programs write it, too.
func parseYes(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "yes", "on", "1", "t", "y", "x":
		return true, nil
	case "false", "no", "off", "0", "f", "n":
		return false, nil
	}
	return false, fmt.Errorf("%.60q: want true or false", text)
}

// has tells whether there is a column.
func (c *columns) has(name string) bool { return slices.Contains(c.names, name) }

// split reads one record, which is one line.
func (c *columns) split(text string) ([]string, error) {
	r := csv.NewReader(strings.NewReader(text))
	r.Comma, r.FieldsPerRecord = c.comma, -1
	return r.Read()
}

// member reads the member of a line.
func (c *columns) member(text string) (list.Membership, error) {
	var m list.Membership
	fields, err := c.split(text)
	if err != nil {
		return m, fmt.Errorf("%.60q: %w", text, err)
	}
	if len(fields) > len(c.names) {
		return m, fmt.Errorf("%.60q: more fields than the %d columns", text, len(c.names))
	}
	var rest list.Membership
	name := ""
	for i, f := range fields {
		f = strings.TrimSpace(f)
		if f == "" {
			continue
		}
		switch c.names[i] {
		case "address":
			m, err = parseMember(f)
		case "name":
			name = f
		case "role":
			rest.Role = list.Role(f)
		case "mode":
			rest.Mode = list.Mode(f)
		case "status":
			rest.Status = list.Status(f)
		case "action":
			if rest.Action = list.Action(f); f == "default" {
				rest.Action = ""
			}
		case "no_own_posts":
			rest.NoOwnPosts, err = parseYes(f)
		case "no_duplicates":
			rest.NoDuplicates, err = parseYes(f)
		case "acknowledge_posts":
			rest.AcknowledgePosts, err = parseYes(f)
		case "language":
			rest.Language = f
		}
		if err != nil {
			return m, fmt.Errorf("%s: %w", c.names[i], err)
		}
	}
	rest.Address, rest.DisplayName = m.Address, m.DisplayName
	if name != "" {
		rest.DisplayName = name
	}
	return rest, rest.Validate()
}
