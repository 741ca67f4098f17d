package milter

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/sdk"
)

// The stages are given the texts in effect, as the pipeline gives them.
func TestStagesGetTheTextsInEffect(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "site"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "site", "nonmember_rejection_notice.txt"), []byte("Members only.\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	texts, err := templates.Load(dir, "de")
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, func(c *Config) { c.Texts = texts })
	c := w.connect()
	defer c.Close()
	c.mail("ann@net.test")
	c.rcpt("dev@lists.test")
	c.message(hello, "hello\r\n")
	if len(w.stages.asked) != 1 || len(w.stages.envelopes) != 1 {
		t.Fatalf("asked %d times, %d at RCPT", len(w.stages.asked), len(w.stages.envelopes))
	}
	for _, p := range append(w.stages.asked, w.stages.envelopes...) {
		want := "Heutige Themen:"
		if p == w.stages.envelopes[0] { // there, they get those alone that are settings
			want = ""
		}
		if s := p.Settings(); s["nonmember_rejection_notice"] != "Members only.\n" || s["text.digest_topics"] != want {
			t.Errorf("the stages get %q and %q", s["nonmember_rejection_notice"], s["text.digest_topics"])
		}
	}
}

// What is refused is refused in the sender's language, or the list's, as far as a reply can say it.
func TestRefusalsAreInTheSendersLanguage(t *testing.T) {
	w := start(t, nil)
	dev := address.Address{Local: "dev", Domain: "lists.test"}
	german := "de"
	l, err := w.store.ChangeList(t.Context(), dev, map[string]*string{"preferred_language": &german})
	if err != nil {
		t.Fatal(err)
	}
	who := []list.Membership{{Address: address.Address{Local: "anne", Domain: "net.test"}, Role: list.Member, Language: "fr"}}
	if _, err := w.store.AddMembers(t.Context(), l.ID, func(yield func(list.Membership, error) bool) { yield(who[0], nil) }, nil); err != nil {
		t.Fatal(err)
	}
	w.stages.banned = "eve@net.test"
	w.stages.verdicts["dev@lists.test"] = sdk.Reject("no-subject", "The post has no subject.")
	w.stages.verdicts["news@lists.test"] = sdk.Reject("own", "Not here.")
	for _, tt := range []struct{ from, to, rcpt, end string }{
		{"eve@net.test", "dev@lists.test", "550 5.7.1 eve@net.test darf nicht an diese Liste schreiben.", ""},
		{"eve@net.test", "news@lists.test", "550 5.7.1 eve@net.test may not post to this list.", ""},
		{"bob@net.test", "dev@lists.test", "continue", "550 5.7.1 Der Beitrag hat keinen Betreff."},
		{"anne@net.test", "dev@lists.test", "continue", "550 5.7.1 Le message n'a pas d'objet."},
		{"anne@net.test", "news@lists.test", "continue", "550 5.7.1 Not here."},
	} {
		c := w.connect()
		c.mail(tt.from)
		if got := c.rcpt(tt.to); got != tt.rcpt {
			t.Errorf("%s to %s: %q, want %q", tt.from, tt.to, got, tt.rcpt)
		}
		if tt.end != "" {
			if got := c.message(hello, "hello\r\n"); got != tt.end {
				t.Errorf("%s to %s: %q, want %q", tt.from, tt.to, got, tt.end)
			}
		}
		c.Close()
	}
}
