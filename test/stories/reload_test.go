package stories

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mlist/mlist/test/tools/checker"
	"github.com/mlist/mlist/test/tools/inject"
	"github.com/mlist/mlist/test/tools/sink"
)

// Plugins are replaced a hundred times while posts come in at about a hundred a second.
func TestAHundredReloadsDisturbNoMail(t *testing.T) {
	list := newList(t, []string{"default_nonmember_action=accept"}, three...)
	enough := make(chan struct{})
	accepted := make(chan checker.Accepted, 1<<16)
	done := make(chan error, 1)
	go func() {
		_, err := inject.Run(t.Context(), inject.Options{
			Stop: enough,
			Addr: "unix:" + mlist.LMTP, Lists: []string{list}, Sender: "eve@else.test", Tag: "reload",
			Messages: 1 << 20, Connections: 3, Size: 1000, Pause: 15 * time.Millisecond,
			Accepted: func(id, _ string, _ time.Duration) {
				accepted <- checker.Accepted{MessageID: strings.Trim(id, "<>"), Recipients: three}
			},
		})
		done <- err
	}()
	before, restarts := reloads(), strings.Count(mlist.Log(), `msg="plugin lost"`)
	for n := range 100 {
		if err := mlist.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a reload", func() bool { return reloads() > before+n })
	}
	close(enough)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	close(accepted)
	var due []checker.Accepted
	for a := range accepted {
		due = append(due, a)
	}
	t.Logf("%d posts during 100 reloads", len(due))
	if len(due) < 100 {
		t.Errorf("only %d posts came in: that is no load", len(due))
	}
	var report checker.Report
	eventually(t, "every post at every member", func() bool {
		report = checker.Compare(due, slices.DeleteFunc(out.Transactions(), func(tx sink.Transaction) bool {
			return !strings.HasSuffix(tx.MessageID, ".reload@inject.test")
		}))
		return len(report.Lost) == 0
	})
	for _, wrong := range report.Unexpected {
		t.Error(wrong)
	}
	if n := strings.Count(mlist.Log(), `msg="plugin lost"`); n != restarts {
		t.Errorf("%d plugins were lost", n-restarts)
	}
	if strings.Contains(mlist.Log(), `msg="post deferred"`) {
		t.Error("a post was deferred")
	}
}

// reloads counts the configurations taken on.
func reloads() int { return strings.Count(mlist.Log(), `msg="configuration taken on"`) }
