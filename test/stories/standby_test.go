package stories

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mlist/mlist/test/postgres"
	"github.com/mlist/mlist/test/tools/checker"
	"github.com/mlist/mlist/test/tools/inject"
)

// The database of a site is killed under load, and its synchronous standby takes over. What
// was acknowledged reaches every member, and nobody gets a post twice but for what was in
// flight. Mail that is refused meanwhile is refused with a 4xx, for the MTA to try again.
func TestAStandbyTakesOver(t *testing.T) {
	primary := postgres.StartFor(t, postgres.Options{Durable: true, Settings: map[string]string{"synchronous_standby_names": "second"}}, "FAIL-OVER OF POSTGRESQL IS NOT TESTED")
	standby, err := primary.Standby(t.Context(), "second", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := standby.Stop(); err != nil {
			t.Error(err)
		}
	})
	site, mta := siteOn(t, postgres.URLOf("public", primary, standby))
	const list = "dev@lists.test"
	for _, args := range [][]string{{"list", "create", list, "default_nonmember_action=accept", "verp_delivery_interval=1"}, {"member", "add", list, "--file", "-"}} {
		if text, err := site.Command(t.Context(), strings.NewReader(strings.Join(three, "\n")+"\n"), args...); err != nil {
			t.Fatal(text, err)
		}
	}

	var due dues
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
					Accepted: due.add,
				})
				if err != nil {
					time.Sleep(50 * time.Millisecond) // not a loop that only burns the CPU
				}
			}
		})
	}
	more := func(what string, n int) {
		t.Helper()
		eventually(t, what, func() bool { return due.count() >= n })
	}
	more("load", 20)
	if err := primary.Kill(); err != nil {
		t.Error(err)
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Error(err)
	}
	more("load after the standby has taken over", due.count()+20)
	close(ended)
	load.Wait()
	var report checker.Report
	eventually(t, "every post at every member", func() bool {
		report = checker.Compare(due.all, mta.Transactions())
		return len(report.Lost) == 0
	})
	t.Log(report.String())
	for _, wrong := range report.Unexpected {
		t.Error(wrong)
	}
}
