package lmtpd

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/dir"
)

// With the real spool: what was answered with 250 is there, and what was not has left
// no file behind.
func TestDirectorySpool(t *testing.T) {
	path := t.TempDir()
	s, err := dir.Open(path, dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cfg := testConfig()
	resolver := &lists{names: map[string]bool{"dev@l.test": true, "ops@l.test": true, "old@l.test": true}, frozen: map[string]string{"old@l.test": "Bis Montag, Grüße."}}
	d := New(cfg, resolver, s, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	<-d.Ready()
	before := files(t, path)

	w := &world{Daemon: d}
	p := w.greet(t)
	for range 3 { // too large, smuggled, cut
		p.send("MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\nDATA\r\n" + hello + strings.Repeat("text\r\n", 1000) + ".\r\n")
		p.want("250", "250", "354", "552 5.3.4")
	}
	p.send("MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\nDATA\r\nx\n.\r\n")
	p.want("250", "250", "354", "554 5.6.0", "EOF")
	if now := files(t, path); now != before {
		t.Errorf("left behind:\n%s\nwhere there was\n%s", now, before)
	}

	p = w.greet(t)
	p.send("MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\nRCPT TO:<ops@l.test>\r\nRCPT TO:<dev-bounces@l.test>\r\nDATA\r\n" + hello + ".\r\n")
	p.want("250", "250", "250", "250", "354", "250", "250", "250")
	got := map[string]int{}
	for _, q := range []spool.Queue{spool.Incoming, spool.Bounces} {
		for e, err := range s.Entries(ctx, q) {
			if err != nil {
				t.Fatal(err)
			}
			m, err := s.Read(ctx, e)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
			m.Close()
			if err != nil || string(text) != hello {
				t.Errorf("%s: %q, %v", e.ID, text, err)
			}
			got[string(q)+" "+e.List+" "+e.Role]++
		}
	}
	if len(got) != 3 || got["incoming dev@l.test post"] != 1 || got["incoming ops@l.test post"] != 1 || got["bounces dev@l.test bounces"] != 1 {
		t.Errorf("entries %v", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// files lists every file under path, by name.
func files(t *testing.T, path string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(path, func(p string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			out.WriteString(p + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}
