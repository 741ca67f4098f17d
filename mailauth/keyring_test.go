package mailauth

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// keyFile writes a new key into a file.
func keyFile(t *testing.T, algorithm string, mode os.FileMode) string {
	t.Helper()
	text, err := Generate(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheNearestDomainSigns(t *testing.T) {
	a, b, e := keyFile(t, "rsa", 0o600), keyFile(t, "rsa", 0o640), keyFile(t, "ed25519", 0o400)
	r, err := NewKeyring([]KeyFile{
		{Domain: "Example.org", Selector: "a", Path: a}, {Domain: "example.org", Selector: "e", Path: e},
		{Domain: "example.org", Selector: "next", Path: b, Standby: true}, {Domain: "lists.example.net", Selector: "b", Path: b},
	})
	if err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[string]string{
		"example.org": "a e", "lists.example.org": "a e", "LISTS.Example.ORG": "a e", "lists.example.net": "b", "a.lists.example.net": "b",
		"example.net": "", "org": "", "badexample.org": "", "": "",
	} {
		var got []string
		for _, k := range r.For(domain) {
			got = append(got, k.Selector)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", domain, got, want)
		}
	}
	if (*Keyring)(nil).For("example.org") != nil {
		t.Error("no keyring, and keys")
	}
}

func TestKeysThatCannotBeUsedAreNamed(t *testing.T) {
	good := keyFile(t, "ed25519", 0o600)
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		f    KeyFile
		want string
	}{
		{"no path", KeyFile{Domain: "a.example", Selector: "s"}, "key_file is missing"},
		{"no file", KeyFile{Domain: "a.example", Selector: "s", Path: "/nonexistent"}, "no such file"},
		{"a directory", KeyFile{Domain: "a.example", Selector: "s", Path: t.TempDir()}, "is no file"},
		{"for everybody", KeyFile{Domain: "a.example", Selector: "s", Path: keyFile(t, "ed25519", 0o604)}, "read by everybody"},
		{"no key", KeyFile{Domain: "a.example", Selector: "s", Path: junk}, "no private key"},
		{"no domain", KeyFile{Domain: "a example", Selector: "s", Path: good}, "no domain"},
		{"no selector", KeyFile{Domain: "a.example", Path: good}, "no selector"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewKeyring([]KeyFile{tt.f})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.f.String()) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	f := KeyFile{Domain: "a.example", Selector: "s", Path: good}
	if _, err := NewKeyring([]KeyFile{f, f}); err == nil {
		t.Error("one key twice")
	}
	if _, err := Generate("dsa"); err == nil {
		t.Error("made a key of an unknown kind")
	}
}

func TestWhatDNSHasOfAKey(t *testing.T) {
	k, other := rsaKey("a.example", "s1"), edKey("a.example", "s1")
	good, _ := Record(k.Public())
	for _, tt := range []struct {
		name    string
		records []string
		want    string // "" is no error
	}{
		{"the key", []string{good}, ""},
		{"nothing", nil, "no record"},
		{"junk", []string{"v=DKIM1; p=!"}, "base64"},
		{"revoked", []string{"v=DKIM1; p="}, "revoked"},
		{"two", []string{good, good}, "2 records"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := k.CheckPublished(t.Context(), NewFile(map[string][]string{"s1._domainkey.a.example": tt.records}))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	if err := other.CheckPublished(t.Context(), published(t, []*Key{k})); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("%v", err)
	}
	if err := k.CheckPublished(t.Context(), brokenDNS{}); err == nil {
		t.Error("no DNS, and no error")
	}
}
