package corpus

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk/message"
)

func TestTheSameSeedMakesTheSameMessages(t *testing.T) {
	var first [][]byte
	for m := range Generated(7, 50) {
		first = append(first, m.Text)
	}
	i, different := 0, 0
	for m := range Generated(7, 50) {
		if !bytes.Equal(m.Text, first[i]) {
			t.Fatalf("%s differs", m.Name)
		}
		if i > 0 && !bytes.Equal(first[i], first[i-1]) {
			different++
		}
		i++
	}
	if i != 50 || different < 45 {
		t.Errorf("%d messages, %d different", i, different)
	}
}

// The corpus is worth its name: it has good messages and every kind of defect.
func TestTheCorpusIsVaried(t *testing.T) {
	seen := map[string]int{}
	good, all := 0, 0
	for m := range All() {
		all++
		whole, err := message.Open(bytes.NewReader(m.Text), int64(len(m.Text)))
		if err != nil {
			t.Fatal(err)
		}
		found, err := whole.Check()
		if err != nil {
			t.Fatalf("%s: %v", m.Name, err)
		}
		for _, d := range found {
			seen[d.Code]++
		}
		if len(found) == 0 {
			good++
		}
		var out bytes.Buffer
		if _, err := whole.WriteTo(&out); err != nil || !bytes.Equal(out.Bytes(), m.Text) {
			t.Errorf("%s: does not come out as it went in, %v", m.Name, err)
		}
	}
	page, err := os.ReadFile("../../docs/messages.md")
	if err != nil {
		t.Fatal(err)
	}
	for code := range seen {
		if !strings.HasPrefix(code, "duplicate-") && !bytes.Contains(page, []byte("`"+code+"`")) {
			t.Errorf("docs/messages.md does not tell of %s", code)
		}
	}
	t.Logf("%d messages, %d without a defect; %v", all, good, seen)
	if all < 450 || good < 25 {
		t.Errorf("%d messages, %d good", all, good)
	}
	for _, code := range []string{"empty", "no-header", "no-empty-line", "no-from", "no-date", "no-message-id", "no-mime-version", "mbox-from", "duplicate-subject", "bad-from",
		"bad-content-type", "bad-encoded-word", "unknown-charset-in-header", "long-encoded-word", "no-field", "too-many-fields", "long-header-line", "nul-in-header",
		"cr-in-header", "8bit-header", "no-line-end", "boundary-not-found", "no-close-delimiter", "no-boundary", "impossible-boundary", "nested-too-deep",
		"duplicate-boundary", "encoded-multipart", "too-many-parts", "part-without-header", "messages-too-deep", "unknown-charset", "unencoded-charset", "unknown-encoding",
		"bad-base64", "bad-quoted-printable", "nul-in-body", "cr-in-body", "8bit-body", "long-line", "mixed-line-ends", "uuencoded", "no-last-line-end"} {
		if seen[code] == 0 {
			t.Errorf("no message has the defect %s", code)
		}
	}
}
