package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// section is a table of the file; that without a name holds the keys at its top.
type section struct {
	name, help string
	keys       []key
	free       bool // [plugin]: tables of any content
	field      int  // of Config
}

// key describes one key by the tags of its field.
type key struct {
	section, name string
	def           string // in text form
	of            []string
	least, help   string
	field         int // of its section's struct
}

func (k key) String() string {
	if k.section == "" {
		return k.name
	}
	return k.section + "." + k.name
}

// schema is every section, in the order in which Config declares them.
var schema = describe()

func describe() []section {
	t := reflect.TypeFor[Config]()
	top := section{field: -1}
	var rest []section
	for i := range t.NumField() {
		f := t.Field(i)
		name, help := f.Tag.Get("toml"), f.Tag.Get("help")
		switch f.Type.Kind() {
		case reflect.Struct:
			s := section{name: name, help: help, field: i}
			for j := range f.Type.NumField() {
				s.keys = append(s.keys, describeKey(name, f.Type.Field(j), j))
			}
			rest = append(rest, s)
		case reflect.Map:
			rest = append(rest, section{name: name, help: help, free: true, field: i})
		default:
			top.keys = append(top.keys, describeKey("", f, i))
		}
	}
	return append([]section{top}, rest...)
}

func describeKey(section string, f reflect.StructField, field int) key {
	k := key{section: section, name: f.Tag.Get("toml"), def: f.Tag.Get("default"), least: f.Tag.Get("min"), help: f.Tag.Get("help"), field: field}
	if of := f.Tag.Get("of"); of != "" {
		k.of = strings.Split(of, ",")
	}
	return k
}

// table returns the struct in c that holds the section's keys.
func (s section) table(c *Config) reflect.Value {
	v := reflect.ValueOf(c).Elem()
	if s.field < 0 {
		return v
	}
	return v.Field(s.field)
}

// tables are those of a free section; nil if there are none.
func (s section) tables(c *Config) map[string]map[string]any {
	if !s.free {
		return nil
	}
	return s.table(c).Interface().(map[string]map[string]any)
}

// defaults is the configuration that the tags alone describe.
func defaults() *Config {
	c := &Config{}
	for _, s := range schema {
		for _, k := range s.keys {
			if k.def == "" {
				continue
			}
			if err := setText(s.table(c).Field(k.field), k.def); err != nil {
				panic("config: default of " + k.String() + ": " + err.Error()) // a programming error, found by any test
			}
		}
	}
	return c
}

// setText sets a field from its text form; lists are separated by commas.
func setText(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.Slice:
		v.Set(reflect.ValueOf(strings.Split(text, ",")))
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return err
		}
		v.SetBool(b)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		v.SetInt(int64(n))
	default:
		v.SetString(text)
	}
	return nil
}

// setValue sets a field from a TOML value.
func setValue(v reflect.Value, value any) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		n, isNumber := value.(int64)
		if size, ok := u.(*Size); ok && isNumber && n >= 0 {
			*size = Size(n)
			return nil
		}
		text, ok := value.(string)
		if !ok {
			return wrongType("a string in quotes", value)
		}
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.Map:
		table, err := stringTable(value)
		if err != nil {
			return err
		}
		v.Set(reflect.ValueOf(Pins(table)))
	case reflect.Slice:
		list, err := stringList(value)
		if err != nil {
			return err
		}
		v.Set(reflect.ValueOf(list))
	case reflect.Bool:
		b, ok := value.(bool)
		if !ok {
			return wrongType("true or false", value)
		}
		v.SetBool(b)
	case reflect.Int:
		n, ok := value.(int64)
		if !ok || v.OverflowInt(n) {
			return wrongType("a whole number", value)
		}
		v.SetInt(n)
	default:
		s, ok := value.(string)
		if !ok {
			return wrongType("a string in quotes", value)
		}
		v.SetString(s)
	}
	return nil
}

// stringList returns nil for an empty list, which is as good as none.
func stringList(value any) ([]string, error) {
	list, ok := value.([]any)
	if !ok {
		return nil, wrongType(`a list of strings, such as ["a", "b"]`, value)
	}
	var out []string
	for _, item := range list {
		text, ok := item.(string)
		if !ok {
			return nil, wrongType("strings in quotes in the list", item)
		}
		out = append(out, text)
	}
	return out, nil
}

// stringTable returns nil for an empty table, which is as good as none.
func stringTable(value any) (map[string]string, error) {
	table, ok := value.(map[string]any)
	if !ok {
		return nil, wrongType(`a table of strings, such as { a = "b" }`, value)
	}
	var out map[string]string
	for k, item := range table {
		text, ok := item.(string)
		if !ok {
			return nil, wrongType("strings in quotes in the table", item)
		}
		if out == nil {
			out = map[string]string{}
		}
		out[k] = text
	}
	return out, nil
}

func wrongType(want string, value any) error {
	return fmt.Errorf("want %s, not %s", want, kindOf(value))
}

func kindOf(value any) string {
	switch value.(type) {
	case string:
		return "a string"
	case int64, float64, bool:
		return fmt.Sprint(value)
	case []any, []map[string]any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return "a date or time"
}

// checkValue compares a field with the words and the least value of its tags.
func (k key) checkValue(v reflect.Value) error {
	if k.of != nil && !slices.Contains(k.of, v.String()) {
		return fmt.Errorf("%q: want one of %s", v.String(), strings.Join(k.of, ", "))
	}
	if k.least == "" {
		return nil
	}
	least := reflect.New(v.Type()).Elem()
	if err := setText(least, k.least); err != nil {
		return fmt.Errorf("least value %q: %w", k.least, err)
	}
	if v.Int() < least.Int() {
		return fmt.Errorf("%v: want %s or more", v.Interface(), k.least)
	}
	return nil
}
