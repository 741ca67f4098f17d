package stories

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mlist/mlist/test/harness"
)

// TestTheTrapsOfTheMilterLibrary are what go-milter does that a milter must know, each against a real
// Postfix. What only a mistake of mlist's own could show, a panic, is in package milter.
func TestTheTrapsOfTheMilterLibrary(t *testing.T) {
	site, p := ownSite(t, map[string]string{"milter.list_domains": `["lists.test"]`})
	run := func(args ...string) {
		t.Helper()
		if text, err := site.Command(t.Context(), nil, args...); err != nil {
			t.Fatal(text, err)
		}
	}
	run("list", "create", "dev@lists.test", "default_nonmember_action=reject", "nonmember_rejection_notice=100% members, 5%% of %d.")
	run("list", "create", "news@lists.test", "sender_headers=envelope", "default_nonmember_action=reject")
	run("list", "create", "more@lists.test", "sender_headers=envelope", "default_nonmember_action=reject")
	run("member", "add", "dev@lists.test", "ann@net.test")
	run("member", "add", "news@lists.test", "ann@net.test")
	text := func(from string) string { return message(t, from, "dev@lists.test", "hello") }
	rcpt := func(t *testing.T, c interface{ Rcpt(string) error }, to string, want int) {
		t.Helper()
		if got := code(t, c.Rcpt(to)); got != want {
			t.Errorf("RCPT %s: %d, want %d", to, got, want)
		}
	}

	// A response of the library's own at RCPT makes it a new object, which knows no client and no sender:
	// news would be told of no sender, and let it pass.
	t.Run("a refused recipient forgets nothing", func(t *testing.T) {
		c := dial(t, p)
		for range 2 { // nor does the next message of the session
			if err := c.Mail("eve@else.test"); err != nil {
				t.Fatal(err)
			}
			rcpt(t, c, "more@lists.test", 550)
			rcpt(t, c, "news@lists.test", 550)
			rcpt(t, c, "dev@lists.test", 250)
			w, err := c.Data()
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(w, text("eve@else.test"))
			if err := w.Close(); code(t, err) != 550 {
				t.Errorf("the end: %v", err)
			}
		}
		knows := regexp.MustCompile(`refused".* sender=eve@else.test .*127\.0\.0\.1`)
		eventually(t, "six refusals that know client and sender", func() bool { return len(knows.FindAllString(site.Log(), -1)) == 6 })
	})

	// RespAccept at RCPT would have Postfix ask about no later recipient.
	t.Run("a recipient that passes waves nobody through", func(t *testing.T) {
		c := dial(t, p)
		if err := c.Mail("eve@else.test"); err != nil {
			t.Fatal(err)
		}
		rcpt(t, c, "dev-owner@lists.test", 250)
		rcpt(t, c, "news@lists.test", 550)
		rcpt(t, c, "nosuch@lists.test", 550)
	})

	// Macros last one stage, and the queue id is not there before a recipient was taken.
	t.Run("a refusal is logged with the queue id", func(t *testing.T) {
		before := len(site.Log())
		err := post(t, dial(t, p), "eve@else.test", []string{"dev@lists.test"}, text("eve@else.test"))
		if code(t, err) != 550 {
			t.Fatal(err)
		}
		line := regexp.MustCompile(`msg="milter: post refused".* queue_id=(\S+)`)
		var id []string
		eventually(t, "the refusal's line", func() bool { id = line.FindStringSubmatch(site.Log()[before:]); return id != nil })
		if !strings.Contains(p.Log(), id[1]+": milter-reject") {
			t.Errorf("Postfix knows no %q", id[1])
		}
	})

	// The protocol takes a percent sign for the start of something.
	t.Run("percent signs come out as they are", func(t *testing.T) {
		err := post(t, dial(t, p), "eve@else.test", []string{"dev@lists.test"}, text("eve@else.test"))
		if err == nil || !strings.Contains(err.Error(), "100% members, 5%% of %d.") {
			t.Errorf("%v", err)
		}
	})

	// The library takes the brackets off <>.
	t.Run("the null sender", func(t *testing.T) {
		c := dial(t, p)
		if err := c.Mail(""); err != nil {
			t.Fatal(err)
		}
		rcpt(t, c, "nosuch@lists.test", 550)
		rcpt(t, c, "dev-bounces@lists.test", 250)
		rcpt(t, c, "dev@lists.test", 250)
	})

	// The library logs others' mistakes to the standard logger, and knows no time-outs.
	t.Run("what speaks no milter protocol disturbs nobody", func(t *testing.T) {
		for _, junk := range []string{"GET / HTTP/1.1\r\n\r\n", "\xff\xff\xff\xff", "\x00\x00\x00\x01Z", "\x00\x00\x00\x00", strings.Repeat("\x00", 100)} {
			c, err := net.Dial("unix", site.Milter)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(c, junk)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := post(t, dial(t, p), "ann@net.test", []string{"dev@lists.test"}, text("ann@net.test")); err != nil {
			t.Errorf("after junk: %v", err)
		}
		for line := range strings.Lines(site.Log()) {
			if !strings.HasPrefix(line, "time=") {
				t.Errorf("a line that is no log entry of ours: %q", line)
			}
		}
	})

	// The library ends no session: an MTA's client that waits would keep mlist from stopping, and must not
	// have its mail taken unjudged afterwards.
	t.Run("a session over a restart", func(t *testing.T) {
		waits := dial(t, p)
		if err := waits.Mail("eve@else.test"); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if err := site.Stop(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > 30*time.Second {
			t.Errorf("it took %s to stop", took)
		}
		if err := site.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := code(t, waits.Rcpt("dev@lists.test")); got/100 != 4 {
			t.Errorf("RCPT in a session from before: %d, want 4xx", got)
		}
		if err := post(t, dial(t, p), "eve@else.test", []string{"dev@lists.test"}, text("eve@else.test")); code(t, err) != 550 {
			t.Errorf("a session after it: %v", err)
		}
	})
}

// plugin is the process of the handlers of a site.
func plugin(t *testing.T, site *harness.Mlist) int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", site.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for child := range strings.FieldsSeq(string(text)) {
			pid, err := strconv.Atoi(child)
			if err != nil {
				t.Fatal(err)
			}
			name, err := os.ReadFile(filepath.Join("/proc", child, "comm"))
			if err == nil && strings.TrimSpace(string(name)) == "standard" {
				return pid
			}
		}
	}
	t.Fatal("the handlers have no process")
	return 0
}

// TestHandlersThatHangCostNoMail: with handlers that do not answer, what the milter cannot judge is put off, or
// passes, as it is configured; nobody is refused for good, and nobody waits long.
func TestHandlersThatHangCostNoMail(t *testing.T) {
	for _, tt := range []struct {
		onFailure string
		end       int
	}{{"tempfail", 451}, {"pass", 250}} {
		t.Run(tt.onFailure, func(t *testing.T) {
			site, p := ownSite(t, map[string]string{"milter.on_failure": strconv.Quote(tt.onFailure), "pipeline.consult_timeout": `"500ms"`})
			for _, args := range [][]string{{"list", "create", "dev@lists.test", "default_nonmember_action=reject"}, {"member", "add", "dev@lists.test", "ann@net.test"}, {"list", "create", "shut@lists.test"}, {"list", "freeze", "shut@lists.test"}} {
				if text, err := site.Command(t.Context(), nil, args...); err != nil {
					t.Fatal(text, err)
				}
			}
			pid := plugin(t, site)
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }() // mlist may have ended it
			c := dial(t, p)
			if err := c.Mail("ann@net.test"); err != nil {
				t.Fatal(err)
			}
			// What needs no handler is said all the same.
			for to, want := range map[string]int{"dev@lists.test": 250, "shut@lists.test": 550} {
				if got := code(t, c.Rcpt(to)); got != want {
					t.Errorf("RCPT %s: %d, want %d", to, got, want)
				}
			}
			err := post(t, dial(t, p), "ann@net.test", []string{"dev@lists.test"}, message(t, "ann@net.test", "dev@lists.test", "hello"))
			if got := code(t, err); got != tt.end {
				t.Errorf("the end: %v, want %d", err, tt.end)
			}
			if err := syscall.Kill(pid, syscall.SIGCONT); err != nil && err != syscall.ESRCH {
				t.Fatal(err)
			}
			// When they answer again, all is as ever; and what passed unjudged is judged by the pipeline.
			eventually(t, "a refusal", func() bool {
				err := post(t, dial(t, p), "eve@else.test", []string{"dev@lists.test"}, message(t, "eve@else.test", "dev@lists.test", "buy"))
				return code(t, err) == 550
			})
			if tt.end == 250 {
				delivered(t, id(t)+"@net.test", 1)
			}
		})
	}
}
