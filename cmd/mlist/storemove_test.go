package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	spooldir "github.com/mlist/mlist/internal/spool/dir"
	"github.com/mlist/mlist/internal/spool/transfer"
	"github.com/mlist/mlist/test/postgres"
	"github.com/mlist/mlist/test/tools/inject"
	"github.com/mlist/mlist/test/tools/sink"
)

// A site moves from SQLite and a directory to PostgreSQL and back while posts come in, are held,
// and have gone out in part. The command is killed once on the way.
func TestASiteMovesUnderLoad(t *testing.T) {
	server := postgres.StartFor(t, postgres.Options{}, "THE MOVE OF A SITE TO POSTGRESQL IS NOT TESTED")
	if err := server.Run(t.Context(), "CREATE SCHEMA site"); err != nil {
		t.Fatal(err)
	}
	url := server.URL("site")

	// Of what goes out some is put off for long.
	mta := newSink(t, sink.Faults{Seed: 7, Rcpt4xx: 0.3})
	dir := site(t, mta, "outbound.retry_min = \"30m\"\nspool.lease = \"2s\"\n")
	p := start(t, dir, "serve")
	p.says(t, "msg=ready", 1)
	lists := []string{"a@lists.test", "b@lists.test", "held@lists.test"}
	people := []string{"m0@net.test", "m1@net.test", "m2@net.test", "m3@net.test", "m4@net.test"}
	for _, l := range lists {
		command(t, dir, "list", "create", l)
		command(t, dir, append([]string{"member", "add", l}, people...)...)
	}
	command(t, dir, "list", "set", "held@lists.test", "emergency=true")

	var mu sync.Mutex
	accepted := map[string]string{} // message: list
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := inject.Run(context.WithoutCancel(t.Context()), inject.Options{Addr: "unix:" + filepath.Join(dir, "lmtp.sock"), Lists: lists, Sender: "m0@net.test",
			Messages: 1 << 20, Connections: 2, Size: 300, Tag: "t", Stop: stop, Pause: 100 * time.Millisecond,
			Accepted: func(id, list string, _ time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				accepted[strings.Trim(id, "<>")] = list
			}})
		done <- err
	}()
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(accepted)
	}
	// more waits until so many more were accepted.
	more := func(n int) {
		t.Helper()
		have := count()
		await(t, mta, func(map[delivery]bool) string {
			if now := count(); now < have+n {
				return fmt.Sprintf("only %d of %d posts more were accepted", now-have, n)
			}
			return ""
		})
	}
	more(10)

	// What must not be is refused, and changes nothing.
	if text := fails(t, dir, "store", "migrate", "--to", url); !strings.Contains(text, "is running") || !strings.Contains(text, "--switch") {
		t.Errorf("under a running mlist: %s", text)
	}
	if text := command(t, dir, "store", "migrate", "--to", url, "--dry-run"); !strings.Contains(text, "can be moved") || !strings.Contains(text, " in all") {
		t.Errorf("a dry run: %s", text)
	}

	// Killed while mlist has let go of everything: that goes on by itself, where it was.
	first := start(t, dir, "store", "migrate", "--to", url, "--switch")
	first.says(t, "mlist has paused", 1)
	first.signal(t, syscall.SIGKILL)
	first.ends(t)
	p.says(t, `msg="goes on"`, 1)
	p.says(t, "msg=ready", 2)
	if text, err := os.ReadFile(filepath.Join(dir, "mlist.toml")); err == nil && strings.Contains(string(text), "postgres://") {
		t.Log("it was killed too late to show anything")
	} else if text := fails(t, dir, "--config", elsewhere(t, dir, url), "list", "ls"); !strings.Contains(text, "made a copy") {
		t.Errorf("a copy that is not complete: %s", text)
	}
	more(5)

	out := command(t, dir, "store", "migrate", "--to", url, "--switch")
	t.Log(out)
	if !strings.Contains(out, "mlist paused for") || !strings.Contains(out, "names the new place") {
		t.Errorf("the move: %s", out)
	}
	more(10)
	if text := command(t, dir, "config"); strings.Count(text, url) != 2 {
		t.Errorf("the configuration has %d of 2 URLs:\n%s", strings.Count(text, url), text)
	}
	old := elsewhere(t, dir, "")
	if text := fails(t, dir, "--config", old, "queue", "ls"); !strings.Contains(text, "moved elsewhere") {
		t.Errorf("the old queues: %s", text)
	}

	// And back, to where the queues were.
	back := "sqlite:" + filepath.Join(dir, "back.db")
	if text := fails(t, dir, "store", "migrate", "--to", "sqlite:"+filepath.Join(dir, "mlist.db"), "--spool", "dir:"+filepath.Join(dir, "spool"), "--switch"); !strings.Contains(text, "rows already") {
		t.Errorf("into the old store: %s", text)
	}
	out = command(t, dir, "store", "migrate", "--to", back, "--spool", "dir:"+filepath.Join(dir, "spool"), "--switch")
	t.Log(out)
	more(10)
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.ends(t); code != 0 {
		t.Errorf("exit status %d", code)
	}
	// What was put off goes out now, and so does what is held.
	mta.SetFaults(sink.Faults{})
	p = start(t, dir, "serve")
	p.says(t, "msg=ready", 1)
	command(t, dir, "list", "set", "held@lists.test", "emergency=false")
	await(t, mta, func(have map[delivery]bool) string {
		var held []json.RawMessage
		if err := json.Unmarshal([]byte(command(t, dir, "held", "ls", "--json")), &held); err != nil {
			t.Fatal(err)
		}
		if len(held) > 0 {
			command(t, dir, "held", "accept", "held@lists.test", "--all")
		}
		command(t, dir, "queue", "retry", "--all", "outgoing")
		for id := range accepted {
			for _, m := range people {
				if !have[delivery{id, m}] {
					return fmt.Sprintf("%s (%s) has not come to %s", id, accepted[id], m)
				}
			}
		}
		return ""
	})
	copies := map[delivery]int{}
	for _, tr := range mta.Transactions() {
		for _, r := range tr.Recipients {
			copies[delivery{tr.MessageID, r}]++
		}
	}
	for d, n := range copies {
		if n > 1 && accepted[d.message] != "" {
			t.Errorf("%s came to %s %d times", d.message, d.to, n)
		}
	}
	for _, l := range lists {
		command(t, dir, "archive", "verify", l)
	}
}

// elsewhere is a configuration of a site with store and queues in a database, or where they were.
func elsewhere(t *testing.T, dir, url string) string {
	t.Helper()
	text := configIn(dir, fmt.Sprintf("trace.dir = %q\n", filepath.Join(dir, "trace")))
	if url != "" {
		for key, local := range map[string]string{"spool.url": "dir:" + filepath.Join(dir, "spool"), "store.url": "sqlite:" + filepath.Join(dir, "mlist.db")} {
			text = strings.Replace(text, fmt.Sprintf("%s = %q", key, local), fmt.Sprintf("%s = %q", key, url), 1)
		}
	}
	path := filepath.Join(dir, "other.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A move that is killed after the point of no return leaves a site that does not start, and says
// what to do; the command run again does what is left, and no mail comes twice.
func TestAMoveThatIsCutShortLateIsEnded(t *testing.T) {
	for _, filled := range []bool{false, true} {
		mta := newSink(t, sink.Faults{})
		dir := site(t, mta, "")
		command(t, dir, "list", "create", "dev@lists.test")
		command(t, dir, "member", "add", "dev@lists.test", "ann@net.test")
		ctx, there := t.Context(), filepath.Join(dir, "there")
		from, err := spooldir.Open(filepath.Join(dir, "spool"), spooldir.Options{Moving: true})
		if err != nil {
			t.Fatal(err)
		}
		to, err := spooldir.Open(there, spooldir.Options{Moving: true})
		if err != nil {
			t.Fatal(err)
		}
		d, err := from.Create(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"From: ann@net.test\r\nTo: dev@lists.test\r\nSubject: x\r\n", "Message-ID: <1@net.test>\r\n\r\nHello.\r\n"} {
			if _, err := d.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		const l = "dev@lists.test"
		if _, err := d.Put(ctx, spool.Incoming, "", spool.Envelope{List: l, Role: "post", Key: segment.KeyOf(l), Sender: "ann@net.test", Recipient: l, Received: time.Now()}); err != nil {
			t.Fatal(err)
		}
		// All of the command but the end.
		if err := to.Fill(ctx, from.Name()); err != nil {
			t.Fatal(err)
		}
		if _, err := transfer.New(from, to, nil).Finish(ctx); err != nil {
			t.Fatal(err)
		}
		if err := from.Leave(ctx, to.Name()); err != nil {
			t.Fatal(err)
		}
		if filled {
			if err := to.Filled(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(d.Close(), from.Close(), to.Close()); err != nil {
			t.Fatal(err)
		}
		refused := start(t, dir, "serve")
		if code := refused.ends(t); code != exitError || !strings.Contains(refused.text(), "moved elsewhere, to dir:"+there) {
			t.Errorf("status %d: %s", code, refused.text())
		}
		command(t, dir, "store", "migrate", "--spool", "dir:"+there, "--switch")
		p := start(t, dir, "serve")
		p.says(t, "msg=ready", 1)
		await(t, mta, func(have map[delivery]bool) string {
			if !have[delivery{"1@net.test", "ann@net.test"}] {
				return "the post does not come"
			}
			return ""
		})
		p.signal(t, syscall.SIGTERM)
		p.ends(t)
		if left := command(t, dir, "--config", elsewhere(t, dir, ""), "store", "migrate", "--spool", "dir:"+there, "--json"); !strings.Contains(left, `"entries": 0`) {
			t.Errorf("run once more: %s", left)
		}
		if n := len(mta.Transactions()); n != 1 {
			t.Errorf("%d transactions, want 1", n)
		}
	}
}
