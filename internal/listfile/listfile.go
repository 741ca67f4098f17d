// Package listfile reads and writes lists as text: how each is to be, in a TOML file that can
// be kept, reviewed and compared. What a key means, and whether a list may be so, is for
// the store to say; this package knows names, types and forms, and tells all that is wrong
// with a file at once.
//
//	[[list]]
//	address = "dev@lists.example.org"
//	style = "discussion"
//	owners = ["Ann <ann@example.org>"]
//
//	[list.settings]
//	description = "How we build it"
package listfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk/message"
)

// MaxSize bounds a file, in octets.
const MaxSize = 64 << 20

// keys are what a [[list]] may have, in the order in which they are written.
var keys = []string{"address", "style", "state", "state_reason", "aliases", "owners", "moderators", "senders", "receivers", "settings"}

// roleKeys are the keys that say who has a role.
var roleKeys = map[string]list.Role{"owners": list.Owner, "moderators": list.Moderator, "senders": list.Sender, "receivers": list.Receiver}

// Read reads a file. The error names every list and key that is wrong.
func Read(r io.Reader) ([]store.ListSpec, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxSize {
		return nil, fmt.Errorf("longer than %d octets", MaxSize)
	}
	var tree map[string]any
	if _, err := toml.Decode(string(text), &tree); err != nil {
		var pe toml.ParseError
		if errors.As(err, &pe) {
			return nil, fmt.Errorf("line %d: %s", pe.Position.Line, pe.Message)
		}
		return nil, err
	}
	for _, k := range slices.Sorted(maps.Keys(tree)) {
		if k != "list" {
			return nil, fmt.Errorf("%s: no such key: want [[list]], once for each list", k)
		}
	}
	tables, ok := tree["list"].([]map[string]any)
	if !ok {
		return nil, errors.New("want [[list]], once for each list")
	}
	var specs []store.ListSpec
	var errs []error
	seen := map[string]bool{}
	for i, table := range tables {
		spec, err := read(table)
		name, _ := table["address"].(string)
		if name == "" {
			name = fmt.Sprintf("number %d", i+1)
		}
		if err == nil && seen[spec.Address.Key()] {
			err = errors.New("it is there twice")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("list %s: %w", name, err))
			continue
		}
		seen[spec.Address.Key()] = true
		specs = append(specs, spec)
	}
	return specs, errors.Join(errs...)
}

func read(table map[string]any) (store.ListSpec, error) {
	spec := store.ListSpec{Roles: map[list.Role][]list.Membership{}}
	if _, ok := table["address"]; !ok {
		return spec, errors.New("want its address")
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if err := readKey(&spec, key, table[key]); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
	}
	return spec, errors.Join(errs...)
}

func readKey(spec *store.ListSpec, key string, value any) (err error) {
	switch key {
	case "address":
		var text string
		if text, err = textOf(value); err == nil {
			spec.Address, err = address.Parse(text)
		}
	case "style":
		spec.Style, err = pointer[string](value)
	case "state":
		spec.State, err = pointer[list.State](value)
	case "state_reason":
		spec.Why, err = pointer[string](value)
	case "aliases":
		spec.Aliases, err = readAliases(value)
	case "owners", "moderators", "senders", "receivers":
		spec.Roles[roleKeys[key]], err = readPeople(value)
	case "settings":
		err = readSettings(spec, value)
	default:
		err = fmt.Errorf("no such key: want one of %s", strings.Join(keys, ", "))
	}
	return err
}

func textOf(value any) (string, error) {
	text, ok := value.(string)
	if !ok {
		return "", errors.New("want a string in quotes")
	}
	return text, nil
}

func pointer[T ~string](value any) (*T, error) {
	text, err := textOf(value)
	if err != nil {
		return nil, err
	}
	t := T(text)
	return &t, nil
}

func texts(value any) ([]string, error) {
	items, ok := value.([]any)
	if !ok {
		return nil, errors.New("want a list of strings")
	}
	out := make([]string, len(items))
	for i := range items {
		var err error
		if out[i], err = textOf(items[i]); err != nil {
			return nil, fmt.Errorf("item %d: %w", i+1, err)
		}
	}
	return out, nil
}

func readAliases(value any) (*[]address.Address, error) {
	lines, err := texts(value)
	if err != nil {
		return nil, err
	}
	out := []address.Address{}
	for _, text := range lines {
		a, err := address.Parse(text)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return &out, nil
}

func readPeople(value any) ([]list.Membership, error) {
	lines, err := texts(value)
	if err != nil {
		return nil, err
	}
	out := []list.Membership{}
	for _, text := range lines {
		var m list.Membership
		plain := text
		if strings.HasSuffix(text, ">") {
			boxes := message.ParseMailboxes(text)
			if len(boxes) != 1 {
				return nil, fmt.Errorf("%.60q: want one address", text)
			}
			m.DisplayName, plain = boxes[0].Name, boxes[0].Address
		}
		if m.Address, err = address.Parse(plain); err != nil {
			return nil, err
		}
		if err := m.Validate(); err != nil {
			return nil, err
		}
		m.Role, m.Mode, m.Status = "", "", "" // it is for its role to say
		out = append(out, m)
	}
	return out, nil
}

func readSettings(spec *store.ListSpec, value any) error {
	table, ok := value.(map[string]any)
	if !ok {
		return errors.New("want a table [list.settings]")
	}
	var errs []error
	scratch := list.Defaults()
	spec.Settings = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		d, err := list.Describe(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		text, err := d.Text(table[name])
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		} else {
			err = scratch.Set(name, text)
		}
		errs = append(errs, err)
		spec.Settings[name] = text
	}
	return errors.Join(errs...)
}

// List is one list as it is, for writing.
type List struct {
	*list.List
	Own        []string // the settings that are the list's own, by name
	Aliases    []address.Address
	Owners     []list.Membership
	Moderators []list.Membership
	Senders    []list.Membership
	Receivers  []list.Membership
}

// Write writes one list, so that Read reads back the same.
func Write(w io.Writer, l List) error {
	var b bytes.Buffer
	e := toml.NewEncoder(&b)
	e.Indent = ""
	settings := map[string]any{}
	for _, name := range l.Own {
		v, err := l.Settings.Value(name)
		if err != nil {
			return err
		}
		settings[name] = v
	}
	style := l.Style
	if style == "" {
		style = list.DefaultStyle
	}
	entry := struct {
		Address    string         `toml:"address"`
		Style      string         `toml:"style"`
		State      string         `toml:"state"`
		Why        string         `toml:"state_reason,omitempty"`
		Aliases    []string       `toml:"aliases"`
		Owners     []string       `toml:"owners"`
		Moderators []string       `toml:"moderators"`
		Senders    []string       `toml:"senders,omitempty"`
		Receivers  []string       `toml:"receivers,omitempty"`
		Settings   map[string]any `toml:"settings"`
	}{l.Address.String(), style, string(l.State), l.StateWhy, []string{}, people(l.Owners), people(l.Moderators), people(l.Senders), people(l.Receivers), settings}
	for _, a := range l.Aliases {
		entry.Aliases = append(entry.Aliases, a.String())
	}
	if err := e.Encode(map[string]any{"list": []any{entry}}); err != nil {
		return fmt.Errorf("write list %s: %w", l.Address, err)
	}
	_, err := w.Write(append(bytes.TrimSpace(b.Bytes()), '\n', '\n'))
	return err
}

func people(ms []list.Membership) []string {
	out := []string{}
	for _, m := range ms {
		text := m.Address.String()
		if m.DisplayName != "" {
			text = message.Mailbox{Name: m.DisplayName, Address: text}.String()
			if back, err := readPeople([]any{text}); err != nil || back[0].DisplayName != m.DisplayName || back[0].Address != m.Address {
				text = m.Address.String() // a name that no header could have
			}
		}
		out = append(out, text)
	}
	return out
}
