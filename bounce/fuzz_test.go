package bounce

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzText: whatever a mail system seems to say, what is read from it can be stored and
// shown, and names nobody whose address is no address.
func FuzzText(f *testing.F) {
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte("From: MAILER-DAEMON\nSubject: failure notice\nX-Failed-Recipients: ,a@b.c,\n\n(expanded from: <@"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := Parse(strings.NewReader(string(in)))
		if err != nil && len(r.Undelivered()) > 0 {
			t.Fatalf("recipients and %v", err)
		}
		if len(r.Recipients) > maxRecipients {
			t.Fatalf("%d recipients", len(r.Recipients))
		}
		for _, x := range r.Undelivered() {
			if x.Address == "" || x.Status == "" || x.Class == "" {
				t.Fatalf("%+v", x)
			}
			for _, s := range []string{x.Address, x.Final, x.Status, x.Diagnostic, x.RemoteMTA} {
				if len(s) > 3*maxText || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
					t.Fatalf("text %q", s)
				}
			}
		}
	})
}

// TestHostileText: a megabyte made to be slow is read to its end. Each takes a fifth of a
// second; one that went wild would meet the time limit of the tests.
func TestHostileText(t *testing.T) {
	head := "Return-Path: <>\r\nFrom: MAILER-DAEMON@mx.test\r\nSubject: failure notice\r\n\r\nCould not be delivered to the following recipients:\r\n\r\n"
	for name, unit := range map[string]string{
		"addresses":        "a@b.test\r\n",
		"one line":         "to a@b.test ",
		"no ends":          "<a@b",
		"labels":           "Recipient: \"<",
		"phrases":          "could not be delivered to ",
		"header lines":     "Received: x\r\n\r\n",
		"dashes":           "----- original ",
		"html":             "<p><td>&nbsp;",
		"dots and at":      "a.b.c.d@e.f.g.h.",
		"expanded":         "(expanded from: <",
		"status":           "Final-Recipient: rfc822; a@b.test\r\nAction: failed\r\n",
		"different people": "", // below
	} {
		t.Run(name, func(t *testing.T) {
			body := strings.Repeat(unit, 1<<20/max(len(unit), 1))
			if unit == "" {
				var b strings.Builder
				for i := 0; b.Len() < 1<<20; i++ {
					b.WriteString("user" + string(rune('a'+i%26)) + strings.Repeat("x", i%40) + "@b.test: 550 unknown\r\n")
				}
				body = b.String()
			}
			r, err := Parse(strings.NewReader(head + body))
			if err != nil && !errors.Is(err, ErrNoReport) || len(r.Recipients) > maxRecipients {
				t.Errorf("%d recipients, %v", len(r.Recipients), err)
			}
		})
	}
}
