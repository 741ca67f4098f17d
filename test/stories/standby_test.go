package stories

import (
	"errors"
	"fmt"
	"os"
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

// The database of a site is killed under load, and its synchronous standby takes over. What
// was acknowledged reaches every member, and nobody gets a post twice but for what was in
// flight. Mail that is refused meanwhile is refused with a 4xx, for the MTA to try again.
func TestAStandbyTakesOver(t *testing.T) {
	primary, err := postgres.Start(t.Context(), postgres.Options{Durable: true, Settings: map[string]string{"synchronous_standby_names": "second"}})
	if errors.Is(err, postgres.ErrMissing) {
		fmt.Fprintf(os.Stderr, "FAIL-OVER OF POSTGRESQL IS NOT TESTED: %v\n", err)
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	stop := func(s *postgres.Server) {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}
	defer stop(primary)
	standby, err := primary.Standby(t.Context(), "second", "")
	if err != nil {
		t.Fatal(err)
	}
	defer stop(standby)
	dist, err := harness.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mta, err := sink.Listen("127.0.0.1:0", sink.Options{Record: sink.Memory, Bodies: true})
	if err != nil {
		t.Fatal(err)
	}
	defer mta.Close()
	dir := t.TempDir()
	url := fmt.Sprintf("%q", postgres.URLOf("public", primary, standby))
	site, err := harness.Install(dir, dist, harness.Options{MTA: mta.Addr().String(), Set: map[string]string{
		"store.url": url, "spool.url": url, "trace.dir": fmt.Sprintf("%q", filepath.Join(dir, "trace")), "milter.listen": "[]",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := site.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := site.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(site.Log())
		}
	}()
	const list = "dev@lists.test"
	for _, args := range [][]string{{"list", "create", list, "default_nonmember_action=accept", "verp_delivery_interval=1"}, {"member", "add", list, "--file", "-"}} {
		if text, err := site.Command(t.Context(), strings.NewReader(strings.Join(three, "\n")+"\n"), args...); err != nil {
			t.Fatal(text, err)
		}
	}

	var mu sync.Mutex
	var due []checker.Accepted
	accepted := func() int { mu.Lock(); defer mu.Unlock(); return len(due) }
	ended := make(chan struct{})
	var load sync.WaitGroup
	for client := range 2 {
		load.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-t.Context().Done():
					return
				case <-ended:
					return
				default:
				}
				// What is not taken is the MTA's to try again, and here nobody's.
				_, err := inject.Run(t.Context(), inject.Options{
					Addr: "unix:" + site.LMTP, Lists: []string{list}, Sender: "eve@else.test", Tag: fmt.Sprint("c", client, "-", n), Messages: 5, Connections: 1, Size: 2000,
					Accepted: func(id, _ string, _ time.Duration) {
						mu.Lock()
						defer mu.Unlock()
						due = append(due, checker.Accepted{MessageID: strings.Trim(id, "<>"), Recipients: three})
					},
				})
				if err != nil {
					time.Sleep(50 * time.Millisecond) // not a loop that only burns the CPU
				}
			}
		})
	}
	more := func(what string, n int) {
		t.Helper()
		eventually(t, what, func() bool { return accepted() >= n })
	}
	more("load", 20)
	if err := primary.Kill(); err != nil {
		t.Error(err)
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Error(err)
	}
	more("load after the standby has taken over", accepted()+20)
	close(ended)
	load.Wait()
	var report checker.Report
	eventually(t, "every post at every member", func() bool {
		report = checker.Compare(due, mta.Transactions())
		return len(report.Lost) == 0
	})
	t.Log(report.String())
	for _, wrong := range report.Unexpected {
		t.Error(wrong)
	}
}
