package main

import (
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/test/tools/sink"
)

// testdata/before is what a version before the first release left behind when it was stopped: a store of schema 10, and
// messages in three queues. `make package-test` does the same with that version's own program.
func TestListsAndMailOfAnEarlierVersionAreTakenOver(t *testing.T) {
	mta, err := sink.Listen("127.0.0.1:0", sink.Options{Record: sink.Memory, Bodies: true})
	if err != nil {
		t.Fatal(err)
	}
	defer mta.Close()
	dir := installed(t, "")
	configure(t, dir, "outbound.mta = \"smtp://"+mta.Addr().String()+"\"\npipeline.plugin_dir = \""+plugins(t)+"\"\npipeline.check_owner = false\n")
	text, err := os.ReadFile(filepath.Join("testdata", "before", "store.sql"))
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "mlist.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(string(text)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "spool"), os.DirFS(filepath.Join("testdata", "before", "spool"))); err != nil {
		t.Fatal(err)
	}

	// Commands leave it as it is, and say what to do.
	if out := refused(t, dir, "member", "ls", "dev@lists.test"); !strings.Contains(out, "its schema is 10, older than") || !strings.Contains(out, "start its daemons") {
		t.Errorf("a command on an old store says: %s", out)
	}
	p := start(t, dir, "serve")
	p.says(t, "msg=ready", 1)
	for id, want := range map[string][]string{
		"prepared@net.test": {"ann@net.test", "bob@net.test", "zoe@net.test"}, // from outgoing
		"second@net.test":   {"bob@net.test"},
		"waiting@net.test":  {"ann@net.test", "bob@net.test", "zoe@net.test"}, // from incoming
	} {
		if got := recipientsOf(t, mta, id, len(want)); !slices.Equal(got, want) {
			t.Errorf("%s went to %q, want %q", id, got, want)
		}
	}
	if out := command(t, dir, "held", "ls"); !strings.Contains(out, "stranger@net.test") {
		t.Errorf("the held post is gone:\n%s", out)
	}
	command(t, dir, "held", "accept", "3n36hds2ytghu7jg")
	recipientsOf(t, mta, "held@net.test", 3)
	for _, tt := range []struct{ want, args string }{
		{"[dev] ", "list show dev@lists.test"},
		{"Zoë", "member ls dev@lists.test"},
		{"mime_digests", "member ls dev@lists.test --json"},
		{"ann@net.test", "member ls dev@lists.test --role owner"},
		{"eve@net.test", "ban ls --list dev@lists.test"},
	} {
		if out := command(t, dir, strings.Fields(tt.args)...); !strings.Contains(out, tt.want) {
			t.Errorf("mlist %s does not say %q:\n%s", tt.args, tt.want, out)
		}
	}
	for _, tx := range mta.Transactions() {
		if tx.MessageID == "waiting@net.test" && !strings.Contains(string(tx.Body), "Subject: [dev] waiting") {
			t.Errorf("what waited was not prepared as the list wants it:\n%s", tx.Body)
		}
	}
}

// recipientsOf waits until a message has come to so many, and returns them sorted.
func recipientsOf(t *testing.T, mta *sink.Server, id string, n int) []string {
	t.Helper()
	var got []string
	for end := time.Now().Add(bound); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		got = nil
		for _, tx := range mta.Transactions() {
			if tx.MessageID == id {
				got = append(got, tx.Recipients...)
			}
		}
		if len(got) >= n {
			break
		}
	}
	slices.Sort(got)
	if len(got) < n {
		t.Fatalf("%s came only to %q", id, got)
	}
	return got
}
