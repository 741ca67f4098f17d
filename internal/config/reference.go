package config

import "reflect"

// Section is a table of the file, as documentation shows it; that without a name holds
// the keys at the top of the file.
type Section struct {
	Name, Help string
	Keys       []Key
}

// Key is one key, as documentation shows it.
type Key struct{ Name, Default, Help string }

// Reference is every key of the file, in order. Default is TOML, and "" where nothing is
// the default.
func Reference() []Section {
	c := defaults()
	var out []Section
	for _, s := range schema {
		d := Section{Name: s.name, Help: s.help}
		for _, k := range s.keys {
			d.Keys = append(d.Keys, Key{Name: k.name, Default: shown(s.table(c).Field(k.field)), Help: k.comment()})
		}
		out = append(out, d)
	}
	return out
}

func shown(v reflect.Value) string {
	switch text := tomlValue(v); text {
	case `""`, "[]", "{}":
		return ""
	default:
		return text
	}
}
