package config

import (
	"bufio"
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// Write prints the effective configuration as TOML, with the help of each key as a comment.
func (c *Config) Write(w io.Writer) error { return c.write(w, "") }

// WriteDefaults prints the file as it is installed: every key with its default,
// commented out, so that a newer version's default holds wherever nobody chose otherwise.
func WriteDefaults(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprint(b, "# mlist's configuration. Every key stands here with its default: take the # away to change it.\n"+
		"# `mlist config check` tells what is wrong with this file, `mlist config` what is in effect;\n"+
		"# a running mlist reads it again on `mlist reload`. Sizes: 256KB, 40MB, 1GB. Durations: 30s, 5m, 2h, 5d.\n\n")
	if err := defaults().write(b, "#"); err != nil {
		return err
	}
	return b.Flush()
}

func (c *Config) write(w io.Writer, before string) error {
	b := bufio.NewWriter(w)
	for i, s := range schema {
		if i > 0 {
			b.WriteByte('\n')
		}
		if s.help != "" {
			fmt.Fprintf(b, "# %s\n", s.help)
		}
		if s.free {
			if err := writeTables(b, s.name, s.tables(c)); err != nil {
				return err
			}
			continue
		}
		if s.name != "" {
			fmt.Fprintf(b, "[%s]\n", s.name)
		}
		for _, k := range s.keys {
			fmt.Fprintf(b, "# %s\n%s%s = %s\n", k.comment(), before, k.name, tomlValue(s.table(c).Field(k.field)))
		}
	}
	return b.Flush()
}

func (k key) comment() string {
	if k.of == nil {
		return k.help
	}
	return k.help + ": " + strings.Join(k.of, ", ")
}

// writeTables prints tables of any content.
func writeTables(w io.Writer, name string, tables map[string]map[string]any) error {
	for _, t := range slices.Sorted(maps.Keys(tables)) {
		var b bytes.Buffer
		e := toml.NewEncoder(&b)
		e.Indent = ""
		if err := e.Encode(map[string]any{name: map[string]any{t: tables[t]}}); err != nil {
			return fmt.Errorf("write [%s]: %w", keyPath(name, t), err)
		}
		if _, err := w.Write(bytes.TrimPrefix(b.Bytes(), []byte("["+name+"]\n"))); err != nil {
			return err
		}
	}
	return nil
}

func tomlValue(v reflect.Value) string {
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		if err != nil {
			return quote(err.Error()) // none of ours fails
		}
		return quote(string(text))
	}
	switch v.Kind() {
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = quote(v.Index(i).String())
		}
		return "[" + strings.Join(items, ", ") + "]"
	case reflect.Map:
		pins := v.Interface().(Pins)
		var items []string
		for _, k := range slices.Sorted(maps.Keys(pins)) {
			items = append(items, keyPath(k)+" = "+quote(pins[k]))
		}
		if items == nil {
			return "{}"
		}
		return "{ " + strings.Join(items, ", ") + " }"
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Int:
		return strconv.FormatInt(v.Int(), 10)
	}
	return quote(v.String())
}

// quote writes a basic string. TOML knows fewer escapes than Go.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// MarshalJSON writes the configuration under the names that the file has.
func (c *Config) MarshalJSON() ([]byte, error) {
	out := map[string]any{}
	for _, s := range schema {
		table := out
		if s.name != "" {
			table = map[string]any{}
			out[s.name] = table
		}
		if tables := s.tables(c); tables != nil {
			out[s.name] = tables
		}
		for _, k := range s.keys {
			table[k.name] = s.table(c).Field(k.field).Interface()
		}
	}
	return json.Marshal(out)
}
