package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/dir"
	"github.com/mlist/mlist/internal/store/sqlstore"
)

// A handler makes a new post of each post, and mlist is killed again and again: each goes
// out once, and so does what was made of it.
func TestAHandlersPostGoesThroughTheStagesOnceWhateverDies(t *testing.T) {
	at := installed(t, "")
	handlers := filepath.Join(at, "plugins")
	if err := os.Mkdir(handlers, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(plugins(t), "standard"), filepath.Join(handlers, "standard")); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", filepath.Join(handlers, "echo"), "./testdata/echo")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	if err := os.Chmod(filepath.Join(handlers, "echo"), 0o755); err != nil {
		t.Fatal(err)
	}
	configure(t, at, fmt.Sprintf("outbound.mta = \"unix:/nowhere\"\npipeline.plugin_dir = %q\npipeline.stages = [\"loop\", \"posting\", \"limits\", \"subject\", \"list-headers\", \"echo\", \"recipients\"]\n", handlers))
	command(t, at, "list", "create", "dev@lists.test")
	command(t, at, "member", "add", "dev@lists.test", "ann@net.test", "bob@net.test")

	const rounds, posts = 4, 6
	for round := range rounds {
		p := start(t, at, "serve")
		p.says(t, "msg=ready", 1)
		for n := range posts {
			lmtp(t, at, "LHLO mx.test", 250, "MAIL FROM:<ann@net.test>", 250, "RCPT TO:<dev@lists.test>", 250, "DATA", 354,
				fmt.Sprintf("From: ann@net.test\r\nTo: dev@lists.test\r\nSubject: %d.%d\r\n\r\nHello.\r\n.", round, n), 250)
		}
		p.says(t, `msg="post accepted"`, 1+round) // at another moment each time
		p.signal(t, syscall.SIGKILL)
		p.ends(t)
	}
	p := start(t, at, "serve")
	p.says(t, "msg=ready", 1)
	s, err := dir.Open(filepath.Join(at, "spool"), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	eventually(t, "all is prepared", func() bool {
		for _, err := range s.Entries(t.Context(), spool.Incoming) {
			if err != nil {
				t.Fatal(err)
			}
			return false
		}
		return true
	})
	p.signal(t, syscall.SIGTERM)
	p.ends(t)
	subjects := map[string]int{}
	goingOut(t, s, func(c *spool.Chunk, text []byte) {
		if len(c.Recipients) != 2 {
			t.Errorf("chunk %+v", c)
		}
		_, rest, _ := strings.Cut(string(text), "Subject: ")
		subject, _, _ := strings.Cut(rest, "\n")
		subjects[strings.TrimSpace(subject)]++
	})
	for round := range rounds {
		for n := range posts {
			for _, want := range []string{fmt.Sprintf("[dev] %d.%d", round, n), fmt.Sprintf("[dev] echo of [dev] %d.%d", round, n)} {
				if subjects[want] != 1 {
					t.Errorf("%q goes out %d times", want, subjects[want])
				}
			}
		}
	}
	if len(subjects) != 2*rounds*posts {
		t.Errorf("%d posts go out, want %d: %v", len(subjects), 2*rounds*posts, subjects)
	}
	st, err := sqlstore.Open(t.Context(), "sqlite:"+filepath.Join(at, "mlist.db"), sqlstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	l, err := st.List(context.Background(), address.Address{Local: "dev", Domain: "lists.test"})
	if err != nil {
		t.Fatal(err)
	}
	value, _, err := st.PluginState(t.Context(), l.ID, "new", "echo", "posts")
	if want := fmt.Sprint(rounds * posts); err != nil || string(value) != want {
		t.Errorf("the handler has counted %s, %v; want %s: its own posts it does not see", value, err, want)
	}
}

// eventually waits until something holds, but not for ever.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(bound); !holds(); time.Sleep(5 * time.Millisecond) { // between looks
		if time.Now().After(end) {
			t.Fatalf("not in %s: %s", bound, what)
		}
	}
}

// goingOut shows what waits to go out, of a spool that no daemon owns, each chunk with its
// content.
func goingOut(t *testing.T, s spool.Spool, show func(c *spool.Chunk, text []byte)) {
	t.Helper()
	n := 0
	for _, err := range s.Chunks(t.Context(), false) {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	o, err := s.OwnOutgoing(t.Context(), segment.All, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for range n {
		c, err := o.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m, err := o.Content(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
		m.Close()
		if err != nil {
			t.Fatal(err)
		}
		show(c, text)
		o.Release(c, time.Now().Add(time.Hour)) // not twice
	}
}
