package mailauth

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Messages that other programs have signed and sealed: dkimpy 1.1, Mail::DKIM (Perl). The chain
// was begun by one, gone on with by the other after a list had changed the post, and once more by
// the first.
func TestWhatOthersSignVerifies(t *testing.T) {
	const dir = "testdata/others"
	dns, err := FromFile(filepath.Join(dir, "dns.json"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.eml"))
	if err != nil || len(files) != 11 {
		t.Fatalf("%d messages, %v", len(files), err)
	}
	body := func(s string) string { return strings.Replace(s, "a dot", "a  Dot", 1) }
	space := func(s string) string { return strings.Replace(s, "a line  with", "a line with", 1) }
	fold := func(s string) string { return strings.Replace(s, "\n and  a fold", " and  a fold", 1) }
	more := func(s string) string { return s + "more\n" }
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(path)
		simpleHeader, simpleBody := strings.Contains(name, "-simple-"), strings.HasSuffix(name, "-simple.eml")
		for _, tt := range []struct {
			what   string
			change func(string) string
			fails  bool
		}{
			{"as it is", breakNothing, false},
			{"CRLF", crlfs, false},
			{"another body", body, true},
			{"another From", func(s string) string { return strings.Replace(s, "<ann@", "<eve@", 1) }, true},
			{"a space less in the body", space, simpleBody || name == "dkimpy-length.eml"},
			{"refolded", fold, simpleHeader},
			{"more of a body", more, name != "dkimpy-length.eml"},
			{"a From more", func(s string) string { return "From: eve@author.example\n" + s }, strings.HasPrefix(name, "dkimpy-") && name != "dkimpy-ed25519.eml"}, // oversigned
		} {
			t.Run(name+"/"+tt.what, func(t *testing.T) {
				want := Pass
				if tt.fails {
					want = Fail
				}
				got := verify(t, dns, tt.change(string(text)))
				if name == "chain.eml" {
					if got.ARC.Result != want || got.ARC.Sets != 3 || !slices.Equal(results(got), []Result{Fail}) {
						t.Errorf("%+v, want %s", got, want)
					}
				} else if !slices.Equal(results(got), []Result{want}) {
					t.Errorf("%+v, want %s", got, want)
				}
			})
		}
	}
}
