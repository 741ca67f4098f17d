package mailauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// KeyFile is a key of [plugin.sign]: whom it signs for, and where it is.
type KeyFile struct {
	Domain   string `json:"domain" help:"signs for lists of this domain, and of those below it that have no key of their own"`
	Selector string `json:"selector" help:"the key is published at SELECTOR._domainkey.DOMAIN"`
	Path     string `json:"key_file" help:"the private key, in PEM; nobody but mlist may read it"`
	Standby  bool   `json:"standby" help:"published, but does not sign yet, or no longer"`
}

// String names a key in messages.
func (f KeyFile) String() string { return f.Selector + "._domainkey." + f.Domain }

// maxKeyFile is larger than any key.
const maxKeyFile = 64 << 10

// Load reads the key. A file that everybody can read is refused.
func (f KeyFile) Load() (*Key, error) {
	fail := func(err error) (*Key, error) { return nil, fmt.Errorf("key %s: %w", f, err) }
	if f.Path == "" {
		return fail(errors.New("key_file is missing"))
	}
	file, err := os.Open(f.Path)
	if err != nil {
		return fail(err)
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return fail(err)
	case !info.Mode().IsRegular():
		return fail(fmt.Errorf("%s is no file", f.Path))
	case info.Mode().Perm()&0o007 != 0:
		return fail(fmt.Errorf("%s can be read by everybody (%s): chmod o= it", f.Path, fs.FileMode.Perm(info.Mode())))
	}
	text, err := io.ReadAll(io.LimitReader(file, maxKeyFile))
	if err != nil {
		return fail(err)
	}
	k, err := NewKey(f.Domain, f.Selector, text)
	if err != nil {
		return fail(err)
	}
	return k, nil
}

// Keyring is all the keys that sign.
type Keyring struct{ byDomain map[string][]*Key }

// NewKeyring loads the keys. All of them are tried, those on standby too: a mistake in one
// should be seen before it is needed.
func NewKeyring(files []KeyFile) (*Keyring, error) {
	r := &Keyring{byDomain: map[string][]*Key{}}
	var problems []error
	seen := map[string]bool{}
	for _, f := range files {
		k, err := f.Load()
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if name := k.Selector + " " + k.Domain; seen[name] {
			problems = append(problems, fmt.Errorf("key %s is there twice", f))
		} else {
			seen[name] = true
		}
		if !f.Standby {
			r.byDomain[k.Domain] = append(r.byDomain[k.Domain], k)
		}
	}
	return r, errors.Join(problems...)
}

// For returns the keys that sign for a domain: its own, or those of the nearest domain above
// that has some. None is no error.
func (r *Keyring) For(domain string) []*Key {
	domain = lower(domain)
	for r != nil && domain != "" {
		if keys := r.byDomain[domain]; len(keys) > 0 {
			return keys
		}
		_, domain, _ = strings.Cut(domain, ".")
	}
	return nil
}

// KeyFilesFor is Keyring.For, for keys that somebody else loads.
func KeyFilesFor(files []KeyFile, domain string) []KeyFile {
	for domain = lower(domain); domain != ""; _, domain, _ = strings.Cut(domain, ".") {
		var out []KeyFile
		for _, f := range files {
			if !f.Standby && lower(f.Domain) == domain {
				out = append(out, f)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// CheckPublished tells whether DNS has this key, as receivers look for it; nil if it does.
func (k *Key) CheckPublished(ctx context.Context, r Resolver) error {
	records, err := keys(ctx, r, k.Selector, k.Domain)
	if errors.Is(err, ErrNotFound) {
		return errors.New("DNS has no record there")
	}
	if err != nil {
		return err
	}
	if len(records) > 1 {
		return fmt.Errorf("DNS has %d records there: receivers may take the wrong one", len(records))
	}
	same, err := SameKey(records[0], k.Public())
	if err != nil {
		return fmt.Errorf("the record in DNS: %w", err)
	}
	if !same {
		return errors.New("DNS has another key there")
	}
	return nil
}
