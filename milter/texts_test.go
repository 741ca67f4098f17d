package milter

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mlist/mlist/internal/templates"
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
