package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// SetList returns the text of a configuration file with a list key changed, and all else,
// comments too, as it was. The line of the key may be commented out, as it is installed; a
// value over several lines is an error, as is a file that would not be right after it.
func SetList(name string, text []byte, section, key string, value []string) ([]byte, error) {
	return set(name, text, section, key, value, `\[[^\]]*\]`)
}

// SetText is SetList for a key whose value is a text.
func SetText(name string, text []byte, section, key, value string) ([]byte, error) {
	return set(name, text, section, key, value, `(?:"[^"]*"|'[^']*')`)
}

// set changes a key whose value looks like form.
func set(name string, text []byte, section, key string, value any, form string) ([]byte, error) {
	line := fmt.Sprintf("%s = %s", key, tomlValue(reflect.ValueOf(value)))
	lines := strings.Split(string(text), "\n")
	first := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(strings.TrimSpace(l), "[") })
	if first < 0 {
		first = len(lines)
	}
	// At the top of a file the section may stand before each of its keys.
	dotted := regexp.MustCompile(`^\s*` + regexp.QuoteMeta(section) + `\s*\.\s*(\S+)\s*=`)
	header := slices.IndexFunc(lines, func(l string) bool { return strings.TrimSpace(l) == "["+section+"]" })
	if at := slices.IndexFunc(lines[:first], dotted.MatchString); at >= 0 {
		same := func(l string) bool { m := dotted.FindStringSubmatch(l); return m != nil && m[1] == key }
		if i := slices.IndexFunc(lines[:first], same); i >= 0 {
			lines[i] = section + "." + line // what is left of a value over several lines is an error below
		} else {
			lines = slices.Insert(lines, at, section+"."+line)
		}
	} else if header < 0 {
		lines = append(lines, "["+section+"]", line, "")
	} else {
		have := regexp.MustCompile(`^\s*#?\s*` + regexp.QuoteMeta(key) + `\s*=\s*` + form + `\s*(?:#.*)?$`)
		at := header
		for i := header + 1; i < len(lines) && !strings.HasPrefix(strings.TrimSpace(lines[i]), "["); i++ {
			if have.MatchString(lines[i]) {
				at = i
			}
		}
		if at == header {
			lines = slices.Insert(lines, header+1, line)
		} else {
			lines[at] = line
		}
	}
	out := []byte(strings.Join(lines, "\n"))
	c, err := Parse(name, out)
	if err != nil {
		return nil, fmt.Errorf("change %s.%s: %w", section, key, err)
	}
	for _, s := range schema {
		for _, k := range s.keys {
			if k.section == section && k.name == key && !reflect.DeepEqual(s.table(c).Field(k.field).Interface(), value) {
				return nil, fmt.Errorf("%s: the value of %s.%s could not be changed", name, section, key)
			}
		}
	}
	return out, nil
}
