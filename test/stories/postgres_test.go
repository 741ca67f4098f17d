package stories

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mlist/mlist/test/harness"
	"github.com/mlist/mlist/test/postgres"
	"github.com/mlist/mlist/test/tools/checker"
	"github.com/mlist/mlist/test/tools/inject"
	"github.com/mlist/mlist/test/tools/sink"
)

// dues are the posts that were taken, each due to all three; several clients add to them.
type dues struct {
	mu  sync.Mutex
	all []checker.Accepted
}

func (d *dues) add(id, _ string, _ time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, checker.Accepted{MessageID: strings.Trim(id, "<>"), Recipients: three})
}

func (d *dues) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.all)
}

// siteOn starts a site of its own whose lists and queues are in a database, and the sink that
// its mail goes to. Both end with the test.
func siteOn(t *testing.T, url string) (*harness.Mlist, *sink.Server) {
	t.Helper()
	dist, err := harness.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mta, err := sink.Listen("127.0.0.1:0", sink.Options{Record: sink.Memory, Bodies: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mta.Close() })
	dir := t.TempDir()
	url = fmt.Sprintf("%q", url)
	site, err := harness.Install(dir, dist, harness.Options{MTA: mta.Addr().String(), Set: map[string]string{
		"store.url": url, "spool.url": url, "trace.dir": fmt.Sprintf("%q", filepath.Join(dir, "trace")), "milter.listen": "[]",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := site.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := site.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(site.Log())
		}
	})
	return site, mta
}

// A site keeps lists and queues in PostgreSQL. Its daemons are killed under load, and the
// database is restarted, and every post reaches every member.
func TestASiteOnPostgreSQL(t *testing.T) {
	server := postgres.StartFor(t, postgres.Options{Durable: true}, "A SITE ON POSTGRESQL IS NOT TESTED")
	site, mta := siteOn(t, server.URL("public"))
	do := func(input string, args ...string) {
		t.Helper()
		if text, err := site.Command(t.Context(), strings.NewReader(input), args...); err != nil {
			t.Fatal(text, err)
		}
	}
	const list = "dev@lists.test"
	do("", "list", "create", list, "default_nonmember_action=accept")
	do(strings.Join(three, "\n")+"\n", "member", "add", list, "--file", "-")

	var due dues
	load := func(tag string) {
		t.Helper()
		_, err := inject.Run(t.Context(), inject.Options{
			Addr: "unix:" + site.LMTP, Lists: []string{list}, Sender: "eve@else.test", Tag: tag, Messages: 40, Connections: 2, Size: 2000,
			Accepted: due.add,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	load("first")
	site.Kill()
	if err := site.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	load("second")
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	load("third")
	var report checker.Report
	eventually(t, "every post at every member", func() bool {
		report = checker.Compare(due.all, mta.Transactions())
		return len(report.Lost) == 0
	})
	for _, wrong := range report.Unexpected {
		t.Error(wrong)
	}
	do("", "queue", "ls")
	do("", "status", "--json")
}
