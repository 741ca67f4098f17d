package config

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "hostname = \"a\"", "[lmtpd]\nlisten = [\"unix:/x\", 'tcp:[::1]:24']\n", "log = { level = \"info\", format = 3 }",
		"[plugin.a]\nx = \"\"\"\n\"\"\"\"\"\n[plugin.a.b]\ny = [1, [2], {c = 3}]\n", "outbound.mta = \"unix:/x\" # c\r\n", "[[log]]", "\ufeffx = 1",
		"[plugin.t]\nd = 1979-05-27 07:32:00\nf = inf\ng = [{a = 1}, 2]\n", "\"a.b\".'c' = ''", "[outbound]\nmax_age = \"3d\"\nsegments = \"0000-0001\"",
		"[plugin]\na = {}\n[[plugin.b.c]]\n[[plugin.b.c]]\nx = 1", "[lmtpd]\nmax_message_size = \"99999999999GB\"",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("x.toml", text)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || !strings.HasPrefix(err.Error(), "x.toml") {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		var first, second bytes.Buffer
		if err := c.Write(&first); err != nil {
			t.Fatalf("write: %v", err)
		}
		back, err := Parse("written", first.Bytes())
		if err != nil {
			t.Fatalf("%v in\n%s", err, first.Bytes())
		}
		if err := back.Write(&second); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Fatalf("%v: written as\n%s\nand then as\n%s", err, first.Bytes(), second.Bytes())
		}
	})
}

// FuzzLines: whatever the library reads, each of its keys has a line that holds it.
func FuzzLines(f *testing.F) {
	for _, s := range []string{
		"a = 1\nb = 2", "[a]\n[a.b]\nc.d = \"\"\"\nx = 1\n\"\"\"\ne=3", "a = [\n 1, # x\n {b = 2}]\nc = '''''\n'''''", "a = {b = {c = 1}, d = 2}\n[[e]]\nf=1\n[[e]]\ng=1",
		"'x y'.\"z\" = 1979-05-27 07:32:00\r\nb=1", "a = \"\\\"#\" # \"\nb = true",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var tree map[string]any
		meta, err := toml.Decode(text, &tree)
		at := findLines(text) // must not fail on what is not TOML either
		if err != nil || strings.Contains(text, `\`) {
			return
		}
		rows := strings.Split(text, "\n")
		for _, k := range meta.Keys() {
			n, ok := at[k.String()]
			if !ok || n < 1 || n > len(rows) || !strings.Contains(rows[n-1], k[len(k)-1]) {
				t.Fatalf("key %s is said to be in line %d of\n%s", k, n, text)
			}
		}
	})
}
