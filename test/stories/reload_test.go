package stories

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mlist/mlist/test/tools/checker"
	"github.com/mlist/mlist/test/tools/inject"
	"github.com/mlist/mlist/test/tools/sink"
)

// load is posts that come in at up to two hundred a second, and one who connects anew all
// the while.
type load struct {
	list     string
	accepted atomic.Int64
	handed   atomic.Int64 // that the MTA has, if somebody waits for that
	watched  chan error
	due      chan checker.Accepted
	enough   chan struct{}
	done     chan error
	sent     inject.Result
	greeted  int
	refused  chan error
}

// underLoad begins; no more than so many posts are under way at once, so that a slow machine
// gets fewer and none waits for the others. 0 is no limit.
func underLoad(t *testing.T, tag string, most int64) *load {
	t.Helper()
	l := &load{list: newList(t, []string{"default_nonmember_action=accept"}, three...),
		due: make(chan checker.Accepted, 1<<16), enough: make(chan struct{}), done: make(chan error, 1), refused: make(chan error, 1), watched: make(chan error, 1)}
	if most > 0 {
		before := metric(t, handedOver)
		go func() { l.watched <- l.watch(before) }()
	} else {
		l.watched <- nil
	}
	go func() {
		var err error
		l.sent, err = inject.Run(t.Context(), inject.Options{
			Stop: l.enough,
			Addr: "unix:" + mlist.LMTP, Lists: []string{l.list}, Sender: "eve@else.test", Tag: tag,
			Messages: 1 << 20, Connections: 3, Size: 1000, Pause: 15 * time.Millisecond,
			Accepted: func(id, _ string, _ time.Duration) {
				l.accepted.Add(1)
				l.due <- checker.Accepted{MessageID: strings.Trim(id, "<>"), Recipients: three}
				for most > 0 && l.accepted.Load()-l.handed.Load() >= most && !l.over() {
					time.Sleep(2 * time.Millisecond)
				}
			},
		})
		l.done <- err
	}()
	go func() { l.refused <- l.knock() }()
	return l
}

// handedOver counts transactions with the MTA: here each is a post.
const handedOver = "mlist_outbound_handover_seconds_count"

// watch counts what the MTA has of the posts, until all is over.
func (l *load) watch(before float64) error {
	for !l.over() {
		now, err := readMetric(handedOver)
		if err != nil {
			return err
		}
		l.handed.Store(int64(now - before))
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

func (l *load) over() bool {
	select {
	case <-l.enough:
		return true
	default:
		return false
	}
}

// knock connects again and again, and tells what went wrong.
func (l *load) knock() error {
	for {
		select {
		case <-l.enough:
			return nil
		case <-time.After(5 * time.Millisecond):
		}
		c, err := net.Dial("unix", mlist.LMTP)
		if err != nil {
			return err
		}
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		line, err := bufio.NewReader(c).ReadString('\n')
		c.Close()
		if err != nil || !strings.HasPrefix(line, "220 ") {
			return fmt.Errorf("greeted with %q: %w", line, err)
		}
		l.greeted++
	}
}

// more waits until so many more posts have been accepted.
func (l *load) more(t *testing.T, posts int64) {
	t.Helper()
	until := l.accepted.Load() + posts
	eventually(t, "posts", func() bool { return l.accepted.Load() >= until })
}

// end ends the load, and returns what is due at the members. Nobody may have been refused.
func (l *load) end(t *testing.T) (due []checker.Accepted) {
	t.Helper()
	close(l.enough)
	if err := <-l.watched; err != nil {
		t.Error(err)
	}
	if err := <-l.done; err != nil {
		t.Fatal(err)
	}
	if l.sent.Retries > 0 {
		t.Errorf("%d posts had to be handed over again", l.sent.Retries)
	}
	if err := <-l.refused; err != nil {
		t.Errorf("after %d connections: %v", l.greeted, err)
	}
	close(l.due)
	for a := range l.due {
		due = append(due, a)
	}
	t.Logf("%d posts, %d connections", len(due), l.greeted)
	if len(due) < 100 || l.greeted < 100 {
		t.Error("that is no load")
	}
	return due
}

// late counts what took longer than a second: from the first octet to 250 at LMTP, and from
// there until the MTA had it. all is how many there were.
func late(t *testing.T) (kept, handed, all float64) {
	t.Helper()
	kept = metric(t, "mlist_lmtpd_keep_seconds_count") - metric(t, `mlist_lmtpd_keep_seconds_bucket{le="1"}`)
	all = metric(t, handedOver)
	return kept, all - metric(t, `mlist_outbound_handover_seconds_bucket{le="1"}`), all
}

// Plugins are replaced while posts come in, and no post waits for that.
func TestAReloadDelaysNoMail(t *testing.T) {
	l := underLoad(t, "delay", 10)
	kept1, handed1, all1 := late(t)
	for range 10 {
		l.more(t, 40)
		before := reloads()
		if err := mlist.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a reload", func() bool { return reloads() > before })
	}
	l.more(t, 40)
	due := l.end(t)
	eventually(t, "every post at the MTA", func() bool { return metric(t, handedOver)-all1 >= float64(len(due)) })
	kept2, handed2, _ := late(t)
	t.Logf("over a second: %v until 250, %v from there to the MTA", kept2-kept1, handed2-handed1)
	// A machine that has other things to do may be slow now and then; a reload that stopped
	// mail for a second would show in one post of forty.
	if most := float64(len(due)) / 100; kept2-kept1 > most || handed2-handed1 > most {
		t.Error("posts are delayed by more than a second")
	}
}

// Plugins are replaced a hundred times in a row, faster than mail can be prepared meanwhile.
func TestAHundredReloadsDisturbNoMail(t *testing.T) {
	l := underLoad(t, "reload", 0)
	before, restarts := reloads(), strings.Count(mlist.Log(), `msg="plugin lost"`)
	for n := range 100 {
		if err := mlist.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a reload", func() bool { return reloads() > before+n })
	}
	due := l.end(t)
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
