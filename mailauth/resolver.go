package mailauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Resolver asks DNS for TXT records. It may be used by many goroutines at once.
type Resolver interface {
	// LookupTXT returns the records of a name, the strings of each joined. Where there is
	// none, the error is [ErrNotFound]; any other error may pass.
	LookupTXT(ctx context.Context, name string) ([]string, error)
	// Exists tells whether there is anything at a name, or below it. It is asked where a
	// DMARC record has a policy for names that do not exist.
	Exists(ctx context.Context, name string) (bool, error)
}

// ErrNotFound says that a name has no TXT record, or is not there at all.
var ErrNotFound = errors.New("not in DNS")

// ErrNoDNS says that no DNS server has ever answered: this machine has none, or did not have
// one since the program started.
var ErrNoDNS = errors.New("no DNS server has answered yet")

// FileVariable names the environment variable with the path of a file that stands in for
// DNS: a JSON object of TXT records by name. mlist hands it on to its plugins.
const FileVariable = "MLIST_DNS_FILE"

// FromEnvironment is the file that MLIST_DNS_FILE names, or else the DNS of this machine.
func FromEnvironment() (Resolver, error) {
	if path := os.Getenv(FileVariable); path != "" {
		return FromFile(path)
	}
	return NewDNS(), nil
}

// File is a Resolver out of a file. A name that is not in it does not exist.
type File map[string][]string

// FromFile reads {"name": ["record", …]}. Case and the last dot of a name do not matter, and a
// record may be written as in a zone file.
func FromFile(path string) (File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the DNS file: %w", err)
	}
	var records map[string][]string
	if err := json.Unmarshal(text, &records); err != nil {
		return nil, fmt.Errorf("read the DNS file %s: want a JSON object of lists of strings by name: %w", path, err)
	}
	return NewFile(records), nil
}

// NewFile is what FromFile makes of such an object.
func NewFile(records map[string][]string) File {
	f := make(File, len(records))
	for name, list := range records {
		for _, text := range list {
			f[lower(name)] = append(f[lower(name)], zoneText(text))
		}
	}
	return f
}

// zoneText joins the strings of a record that is written as in a zone file: "v=DKIM1; " "p=…".
// Everything else is the text itself.
func zoneText(text string) string {
	var b strings.Builder
	rest := trim(text)
	for rest != "" {
		if rest[0] != '"' {
			return text
		}
		var ok bool
		if rest, ok = zoneString(rest[1:], &b); !ok {
			return text
		}
		rest = trim(rest)
	}
	return b.String()
}

// zoneString reads up to the quote that ends a string. A backslash takes the next character as
// it is, or is before the three digits of an octet (RFC 1035 5.1).
func zoneString(s string, b *strings.Builder) (rest string, ok bool) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return s[i+1:], true
		case c == '\\' && i+3 < len(s) && strings.Trim(s[i+1:i+4], "0123456789") == "":
			n, _ := strconv.Atoi(s[i+1 : i+4])
			b.WriteByte(byte(n))
			i += 3
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}

// LookupTXT implements Resolver.
func (f File) LookupTXT(_ context.Context, name string) ([]string, error) {
	if records := f[lower(name)]; len(records) > 0 {
		return records, nil
	}
	return nil, ErrNotFound
}

// Exists implements Resolver.
func (f File) Exists(_ context.Context, name string) (bool, error) {
	name = lower(name)
	for n := range f {
		if n == name || strings.HasSuffix(n, "."+name) {
			return true, nil
		}
	}
	return false, nil
}
