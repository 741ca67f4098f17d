package milter

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk"
)

// A message for very many lists is not judged, nor kept, and what is remembered of it is bounded.
func TestAMessageToMoreListsThanAreAsked(t *testing.T) {
	w := start(t, nil)
	c := w.connect()
	defer c.Close()
	for n, want := range map[int]string{maxLists: "550 5.7.1 No.", maxLists + 1: "continue", 3 * maxLists: "continue"} {
		w.stages.asked = nil
		c.mail("ann@net.test")
		for i := range n {
			name := fmt.Sprintf("many%d@lists.test", i)
			a, err := address.Parse(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.store.CreateList(t.Context(), &list.List{Address: a, Settings: list.Defaults()}); err != nil && !errors.Is(err, store.ErrExists) {
				t.Fatal(err)
			}
			w.stages.verdicts[name] = sdk.Reject("x", "No.")
			if got := c.rcpt(name); got != "continue" {
				t.Fatalf("RCPT %s: %s", name, got)
			}
		}
		if got := c.message(hello, "Hi.\r\n"); got != want {
			t.Errorf("for %d lists: %s, want %s", n, got, want)
		}
		if want == "continue" && len(w.stages.asked) != 0 {
			t.Errorf("for %d lists: %d were asked", n, len(w.stages.asked))
		}
		c.Abort(nil)
	}
}

// The library takes a panic for the end of the session, and the MTA does as it is configured; others go on.
func TestAPanicEndsOneSession(t *testing.T) {
	w := start(t, nil)
	broken, other := w.connect(), w.connect()
	defer broken.Close()
	defer other.Close()
	other.mail("bob@net.test")
	broken.mail("ann@net.test")
	broken.rcpt("dev@lists.test")
	w.stages.panics = true
	broken.does(broken.DataStart())
	broken.does(broken.HeaderField("From", "ann@net.test", nil))
	broken.does(broken.HeaderEnd())
	if _, a, err := broken.End(); err == nil {
		t.Errorf("the end of the message is answered: %v", a)
	}
	w.stages.panics = false
	other.rcpt("dev@lists.test")
	if got := other.message(hello, "Hi.\r\n"); got != "continue" {
		t.Errorf("another session: %s", got)
	}
}

func TestAMessageThatIsTooBigIsLeftToThePipeline(t *testing.T) {
	w := start(t, func(c *Config) { c.MaxMessageSize = 100_000 })
	w.stages.verdicts["dev@lists.test"] = sdk.Reject("x", "y")
	c := w.connect()
	defer c.Close()
	c.mail("ann@net.test")
	c.rcpt("dev@lists.test")
	if got := c.message(hello, strings.Repeat("x", 200_000)); got != "continue" {
		t.Errorf("body: %s", got)
	}
	c.Abort(nil)
	c.mail("ann@net.test")
	c.rcpt("dev@lists.test")
	var many [][2]string
	for i := range 2000 {
		many = append(many, [2]string{fmt.Sprintf("X-%d", i), strings.Repeat("y", 1000)})
	}
	if got := c.message(many, "Hi.\r\n"); got != "continue" {
		t.Errorf("header: %s", got)
	}
	if len(w.stages.asked) != 0 {
		t.Errorf("asked %d times", len(w.stages.asked))
	}
}

func TestTooManySessions(t *testing.T) {
	w := start(t, func(c *Config) { c.MaxSessions = 2 })
	first, second := w.connect(), w.connect()
	defer second.Close()
	if s, err := w.session("tcp", w.daemon.Addrs()[0].String()); err == nil {
		s.Close()
		t.Error("a third session was served")
	}
	first.Close()
	eventually(t, "a place after one has ended", func() bool {
		s, err := w.session("tcp", w.daemon.Addrs()[0].String())
		if err != nil {
			return false
		}
		s.Close()
		return true
	})
}

// An MTA keeps its connection while its client is silent: that must not keep mlist.
func TestStopEndsIdleSessionsAndFinishesMessages(t *testing.T) {
	w := start(t, nil)
	w.stages.verdicts["dev@lists.test"] = sdk.Reject("x", "No.")
	idle, busy := w.connect(), w.connect()
	defer idle.Close()
	defer busy.Close()
	busy.mail("ann@net.test")
	busy.rcpt("dev@lists.test")
	w.stop()
	eventually(t, "the sessions to be told", func() bool {
		told := true
		w.daemon.conns.Each(func(c *conn) {
			c.mu.Lock()
			defer c.mu.Unlock()
			told = told && c.stopping
		})
		return told
	})
	if a, err := idle.Mail("ann@net.test", ""); err == nil {
		t.Errorf("an idle session was served: %v", a)
	}
	if got := busy.message(hello, "Hi.\r\n"); got != "550 5.7.1 No." {
		t.Errorf("the message under way: %s", got)
	}
	w.close()
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	w := start(t, func(c *Config) { c.Listen = []string{"unix:" + dir + "/a"} })
	old := w.connectTo("unix", dir+"/a")
	cfg := *w.daemon.Config()
	cfg.Listen = []string{"unix:" + dir + "/b"}
	cfg.ListDomains = []string{"lists.test"}
	if err := w.daemon.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	w.connectTo("unix", dir+"/b").Close()
	old.mail("ann@net.test")
	if got := old.rcpt("nobody@lists.test"); !strings.HasPrefix(got, "550") {
		t.Errorf("a session from before: %s", got)
	}
	old.Close()
	cfg.Listen = []string{"unix:" + dir + "/none/c"}
	if err := w.daemon.Reload(cfg); err == nil {
		t.Error("a directory that is missing was no error")
	}
	w.connectTo("unix", dir+"/b").Close()
}

func TestBadConfigurations(t *testing.T) {
	good := Config{MaxSessions: 1, MaxMessageSize: 1, IdleTimeout: 1}
	if _, err := good.completed(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		want   string
		change func(*Config)
	}{
		{"milter.listen", func(c *Config) { c.Listen = []string{"/x"} }},
		{"milter.on_failure", func(c *Config) { c.OnFailure = "shrug" }},
		{"milter.max_sessions", func(c *Config) { c.MaxSessions = 0 }},
		{"milter.idle_timeout", func(c *Config) { c.IdleTimeout = 0 }},
		{"milter.list_domains", func(c *Config) { c.ListDomains = []string{"a b"} }},
	} {
		c := good
		tt.change(&c)
		if _, err := c.completed(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want one about %s", err, tt.want)
		}
	}
}

func TestLines(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "refused",
		"50% off\r\n250 ok":      "50%% off  250 ok",
		"grüße\x00":              "grusse?",
		"Beiträge „à côté“":      `Beitrage "a cote"`,
		"日本":                     "??",
		strings.Repeat("é", 500): strings.Repeat("e", maxReply),
	} {
		if got := line(in); got != want {
			t.Errorf("line(%q) = %q, want %q", in, got, want)
		}
	}
}
