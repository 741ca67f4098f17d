package config

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/mlist/mlist/internal/list"
)

// decode reads text over the defaults. The TOML library reads into a tree, and the tree
// is compared with the schema here: the library ignores unknown keys, matches keys in
// any case, and stops at the first value of a wrong type.
func decode(file string, text []byte) (*Config, lines, error) {
	var tree map[string]any
	if _, err := toml.Decode(string(text), &tree); err != nil {
		return nil, nil, syntaxError(file, err)
	}
	p := &problems{file: file, at: findLines(string(text))}
	c := defaults()
	p.top(c, tree)
	return c, p.at, p.err()
}

func syntaxError(file string, err error) error {
	var pe toml.ParseError
	if !errors.As(err, &pe) {
		return &Error{File: file, Err: err}
	}
	e := &Error{File: file, Line: pe.Position.Line, Key: pe.LastKey, Err: errors.New(pe.Message)}
	if pe.Message == "" {
		e.Err = err
	}
	return e
}

// top reads the keys and tables at the top of the file.
func (p *problems) top(c *Config, tree map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		value := tree[name]
		s, ok := sectionOf(name)
		if !ok {
			p.keyIn(c, schema[0], name, value)
			continue
		}
		table, isTable := value.(map[string]any)
		switch {
		case !isTable:
			p.add(keyPath(name), wrongType("a table ["+name+"]", value))
		case s.free:
			p.free(c, s, table)
		default:
			for _, k := range slices.Sorted(maps.Keys(table)) {
				p.keyIn(c, s, k, table[k])
			}
		}
	}
}

func sectionOf(name string) (section, bool) {
	for _, s := range schema[1:] {
		if s.name == name {
			return s, true
		}
	}
	return section{}, false
}

// keyIn reads one key of a section.
func (p *problems) keyIn(c *Config, s section, name string, value any) {
	i := slices.IndexFunc(s.keys, func(k key) bool { return k.name == name })
	if i < 0 {
		path := keyPath(name)
		if s.name != "" {
			path = keyPath(s.name, name)
		}
		p.addf(path, "no such key%s", suggest(s.name, name))
		return
	}
	v := s.table(c).Field(s.keys[i].field)
	err := setValue(v, value)
	if err == nil {
		err = s.keys[i].checkValue(v)
	}
	if err != nil {
		p.add(s.keys[i].String(), err)
	}
}

// free reads the tables of a section such as [plugin].
func (p *problems) free(c *Config, s section, tables map[string]any) {
	out := map[string]map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		table, ok := tables[name].(map[string]any)
		if !ok {
			p.add(keyPath(s.name, name), wrongType("a table ["+keyPath(s.name, name)+"]", tables[name]))
			continue
		}
		out[name] = table
	}
	if len(out) > 0 {
		s.table(c).Set(reflect.ValueOf(out))
	}
}

// keyPath writes a key as it stands in TOML, with quotes where it needs them.
func keyPath(parts ...string) string { return toml.Key(parts).String() }

// suggest names the key that was probably meant.
func suggest(section, name string) string {
	best, distance := "", 3
	for _, s := range schema {
		for _, k := range s.keys {
			if s.name != section && k.name == name {
				return "; did you mean " + k.String() + "?"
			}
			if d := list.Distance(strings.ToLower(name), k.name); s.name == section && d < distance {
				best, distance = k.String(), d
			}
		}
		if d := list.Distance(strings.ToLower(name), s.name); section == "" && s.name != "" && d < distance {
			best, distance = "["+s.name+"]", d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}
