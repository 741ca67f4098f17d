package sdk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/mlist/mlist/sdk/proto"
)

// configure fills in a handler's configuration from a JSON object and validates it.
func configure(h Handler, table []byte) error {
	c, ok := h.(Configurer)
	if !ok {
		return noKeys(table)
	}
	into := c.Config()
	if len(table) > 0 {
		dec := json.NewDecoder(bytes.NewReader(table))
		dec.DisallowUnknownFields()
		if err := dec.Decode(into); err != nil {
			return configError(err)
		}
	}
	if v, ok := into.(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}

// noKeys is the configuration of a handler that has none.
func noKeys(table []byte) error {
	var keys map[string]json.RawMessage
	if len(table) > 0 {
		if err := json.Unmarshal(table, &keys); err != nil {
			return configError(err)
		}
	}
	for key := range keys {
		return fmt.Errorf("%s: unknown key; this stage has no configuration", key)
	}
	return nil
}

// configError says what encoding/json found in the words of the configuration file.
func configError(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("%s: a %s where %s is wanted", wrong.Field, wrong.Value, kindName(wrong.Type))
	}
	if key, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("%s: unknown key", strings.Trim(key, `"`))
	}
	return err
}

// configKeys describes the fields of a configuration.
func configKeys(config any) []*proto.ConfigKey {
	v := reflect.Indirect(reflect.ValueOf(config))
	if v.Kind() != reflect.Struct {
		return nil
	}
	var keys []*proto.ConfigKey
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		value, err := json.Marshal(v.Field(i).Interface())
		if err != nil {
			value = nil // only documentation, and decoding will tell
		}
		keys = append(keys, &proto.ConfigKey{Name: name, Kind: kindName(f.Type), Default: string(value), Help: f.Tag.Get("help")})
	}
	return keys
}

// kindName names a Go type for someone who writes a configuration file.
func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "a table"
	case reflect.Pointer:
		return kindName(t.Elem())
	}
	return t.String()
}
