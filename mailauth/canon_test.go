package mailauth

import (
	"encoding/base64"
	"testing"
)

// The examples of RFC 6376 3.4.5, and the hashes of an empty body that 3.4.3 and 3.4.4 print.
func TestTheExamplesOfCanonicalForms(t *testing.T) {
	const a, b = "A: X\r\n", "B : Y\t\r\n\tZ  \r\n"
	const body = " C \r\nD \t E\r\n\r\n\r\n"
	for _, tt := range []struct {
		canon      Canon
		a, b, body string
		empty      string
	}{
		{Relaxed, "a:X\r\n", "b:Y Z\r\n", " C\r\nD E\r\n", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
		{Simple, a, b, " C \r\nD \t E\r\n", "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="},
	} {
		if got := tt.canon.header(a) + tt.canon.header(b); got != tt.a+tt.b {
			t.Errorf("%s header %q, want %q", tt.canon, got, tt.a+tt.b)
		}
		h := newBodyHash(tt.canon, newHash(false), -1)
		h.Write([]byte(body))
		if got, want := string(h.Sum()), string(sum256(tt.body)); got != want {
			t.Errorf("%s body: hash %x, want that of %q", tt.canon, got, tt.body)
		}
		for _, empty := range []string{"", "\r\n", "\r\n\r\n", "\n"} {
			h := newBodyHash(tt.canon, newHash(false), -1)
			h.Write([]byte(empty))
			if got := base64.StdEncoding.EncodeToString(h.Sum()); got != tt.empty {
				t.Errorf("%s empty body %q: %s, want %s", tt.canon, empty, got, tt.empty)
			}
		}
	}
}
