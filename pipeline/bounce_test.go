package pipeline

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/verp"
	"github.com/mlist/mlist/sdk"
)

// clock is one that tests set.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) days(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(time.Duration(n) * 24 * time.Hour)
}

// bounceWorld is a world with a clock of its own, one member and one owner.
func bounceWorld(t *testing.T) (*world, *clock) {
	w := newWorld(t, verdict(sdk.Accept))
	w.stop()
	c := &clock{at: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)}
	w.now = c.now
	w.add(list.Member, "ann@x.test")
	w.add(list.Owner, "boss@x.test")
	w.start(verdict(sdk.Accept))
	return w, c
}

// dsn is a report that mail to addr was refused.
func dsn(addr, status string) string {
	return strings.ReplaceAll("From: MAILER-DAEMON@x.test\nMIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"+
		"--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x.test\n\nFinal-Recipient: rfc822; "+addr+"\nAction: failed\nStatus: "+status+
		"\nDiagnostic-Code: smtp; 550 "+status+" refused\n\n--b--\n", "\n", "\r\n")
}

// bounced puts a bounce that came to a detail of the bounce address.
func (w *world) bounced(c *clock, detail, text string, flags ...string) {
	w.t.Helper()
	w.put(spool.Bounces, spool.Envelope{Role: "bounces", Detail: detail, Received: c.now(), Flags: flags}, text)
	w.idle()
}

// sentMail is a message that has gone out.
type sentMail struct {
	to, sender, text string
}

// outbox takes everything out of outgoing, and hands out the messages to an address that it
// is asked for; others are kept for later questions.
type outbox struct {
	w    *world
	mail []sentMail
}

func (o *outbox) to(addr, part string) sentMail {
	o.w.t.Helper()
	var found sentMail
	o.w.eventually("mail to "+addr+" with "+part, func() bool {
		o.collect()
		for i, m := range o.mail {
			if m.to == addr && strings.Contains(m.text, part) {
				found = m
				o.mail = append(o.mail[:i], o.mail[i+1:]...)
				return true
			}
		}
		return false
	})
	return found
}

func (o *outbox) collect() {
	o.w.t.Helper()
	ctx := o.w.t.Context()
	own, err := o.w.spool.OwnOutgoing(ctx, segment.All, "test")
	if err != nil {
		o.w.t.Fatal(err)
	}
	defer own.Close()
	n := 0
	for range o.w.spool.Chunks(ctx, false) {
		n++
	}
	for range n {
		c, err := own.Next(ctx)
		if err != nil {
			o.w.t.Fatal(err)
		}
		m, err := own.Content(ctx, c)
		if err != nil {
			o.w.t.Fatal(err)
		}
		text, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
		m.Close()
		if err != nil {
			o.w.t.Fatal(err)
		}
		for _, r := range c.Recipients {
			o.mail = append(o.mail, sentMail{r, c.Sender, string(text)})
		}
		if err := own.Settle(ctx, c, spool.Settlement{}); err != nil {
			o.w.t.Fatal(err)
		}
	}
}

func (w *world) statusOf(who string) list.Status {
	w.t.Helper()
	ms, err := w.store.Memberships(w.t.Context(), w.list.ID, []address.Address{addr(w.t, who)})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range ms {
		if m.Role == list.Member {
			return m.Status
		}
	}
	return ""
}

func (w *world) scoreOf(who string) store.BounceState {
	w.t.Helper()
	st, err := w.store.BounceState(w.t.Context(), w.list.ID, addr(w.t, who))
	if err != nil {
		w.t.Fatal(err)
	}
	return st
}

// detailOf is what stands behind the + of a return path.
func detailOf(path string) string {
	local, _, _ := strings.Cut(path, "@")
	_, detail, _ := strings.Cut(local, "+")
	return detail
}

// TestFiveDaysOfBounces: refused five days in a row, a member is probed, disabled, warned
// three times and removed, and the owners hear of it.
// What the store does by these rules is storetest's; here, that they are the list's settings.
func TestBouncesCountAsTheListSays(t *testing.T) {
	s := list.Defaults()
	for name, value := range map[string]string{
		"process_bounces": "false", "bounce_score_threshold": "2.5", "bounce_info_stale_after": "11", "verp_probes": "false", "bounce_probe_days": "12",
		"bounce_you_are_disabled_warnings": "13", "bounce_you_are_disabled_warnings_interval": "14", "bounce_blame_message_above": "15",
		"bounce_notify_owner_on_bounce_increment": "true",
	} {
		if err := s.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	const day = 24 * time.Hour
	want := store.BounceRules{Threshold: 2.5, StaleAfter: 11 * day, ProbeWait: 12 * day, Warnings: 13, WarnEvery: 14 * day, BlameAbove: 15, TellIncrement: true}
	if got := bounceRules(&s); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	defaults := list.Defaults()
	if got := bounceRules(&defaults); !got.Process || !got.Probe {
		t.Errorf("by default %+v", got)
	}
}

func TestOwnersWhoDoNotWantToKnow(t *testing.T) {
	w, c := bounceWorld(t)
	out := &outbox{w: w}
	w.set("verp_probes=false", "bounce_score_threshold=1", "bounce_you_are_disabled_warnings=0", "bounce_you_are_disabled_warnings_interval=1",
		"bounce_notify_owner_on_disable=false", "bounce_notify_owner_on_removal=false")
	w.bounced(c, "", dsn("ann@x.test", "5.1.1"), spool.FlagOutbound)
	w.eventually("ann removed", func() bool {
		c.days(2)
		w.daemon.tellBounces()
		return w.statusOf("ann@x.test") == ""
	})
	w.set("bounce_notify_owner_on_disable=true")
	w.add(list.Member, "bob@x.test")
	w.bounced(c, "", dsn("bob@x.test", "5.1.1"), spool.FlagOutbound) // what is told first was to be told first
	for told := out.to("boss@x.test", ""); !strings.Contains(told.text, "bob@x.test"); told = out.to("boss@x.test", "") {
		t.Errorf("the owners are told\n%s", told.text)
	}
}

func TestFiveDaysOfBounces(t *testing.T) {
	w, c := bounceWorld(t)
	out := &outbox{w: w}
	for day := range 5 {
		if st := w.scoreOf("ann@x.test"); st.Score != float64(day) {
			t.Fatalf("on day %d the score is %g", day, st.Score)
		}
		w.bounced(c, "", dsn("ann@x.test", "5.1.1"), spool.FlagOutbound)
		w.bounced(c, "", dsn("ann@x.test", "5.1.1"), spool.FlagOutbound) // the second of the day counts nothing
		c.days(1)
	}
	probe := out.to("ann@x.test", "only finds out")
	if !strings.HasPrefix(probe.sender, "dev-bounces+") || !strings.Contains(probe.text, "Auto-Submitted: auto-generated") {
		t.Errorf("the probe comes from %s:\n%s", probe.sender, probe.text)
	}
	if s := w.statusOf("ann@x.test"); s != list.Enabled {
		t.Fatalf("before the probe comes back it is %s", s)
	}
	w.bounced(c, strings.ToUpper(detailOf(probe.sender)), dsn("ann@x.test", "5.1.1"))
	told := out.to("boss@x.test", "is disabled")
	if !strings.Contains(told.text, "the probe came back: 5.1.1") || told.sender != "" {
		t.Errorf("the owners are told from <%s>\n%s", told.sender, told.text)
	}
	if s := w.statusOf("ann@x.test"); s != list.ByBounces {
		t.Fatalf("after the probe came back it is %s", s)
	}
	for i := 1; i <= 3; i++ {
		w.daemon.tellBounces()
		warning := out.to("ann@x.test", "do not receive")
		last := strings.Contains(warning.text, "This is the last warning")
		if !strings.Contains(warning.text, "dev-confirm+") || last != (i == 3) {
			t.Errorf("warning %d:\n%s", i, warning.text)
		}
		c.days(7)
	}
	w.daemon.tellBounces()
	out.to("boss@x.test", "is removed")
	if s := w.statusOf("ann@x.test"); s != "" {
		t.Errorf("in the end it is %s", s)
	}
}

func TestTheMemberEnablesDelivery(t *testing.T) {
	w, c := bounceWorld(t)
	out := &outbox{w: w}
	change := func(name, text string) {
		if _, err := w.store.ChangeList(t.Context(), w.list.Address, map[string]*string{name: &text}); err != nil {
			t.Fatal(err)
		}
	}
	change("verp_probes", "false")
	change("bounce_score_threshold", "1")
	w.bounced(c, "", dsn("ann@x.test", "5.1.1"), spool.FlagOutbound)
	out.to("boss@x.test", "is disabled")
	w.daemon.tellBounces()
	_, confirm, _ := strings.Cut(out.to("ann@x.test", "do not receive").text, "dev-confirm+")
	token := confirm[:16]
	answer := func(sender, header string) {
		w.put(spool.Incoming, spool.Envelope{Role: "confirm", Detail: token, Sender: sender, Recipient: "dev-confirm+" + token + "@lists.test", Received: c.now()},
			header+"From: ann@x.test\r\nSubject: yes\r\n\r\n")
		w.idle()
	}
	answer("", "")
	answer("ann@x.test", "Auto-Submitted: auto-replied\r\n")
	if s := w.statusOf("ann@x.test"); s != list.ByBounces {
		t.Fatalf("a machine enabled it: %s", s)
	}
	if n, err := w.store.ImportPosts(t.Context(), w.list.ID, []store.Archived{
		{Entry: "old", Received: c.now().Add(-time.Hour), Kept: store.Kept{Date: c.now(), Subject: "before", From: "bob@x.test", Place: "a", SHA256: make([]byte, 32)}},
		{Entry: "new", Received: c.now(), Kept: store.Kept{Date: c.now(), Subject: "while\nit was off", FromName: "Bob", From: "bob@x.test", Hash: "ABC", Place: "b", SHA256: make([]byte, 32)}},
	}); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	change("archive_url", "https://a.test/dev/")
	c.days(1)
	answer("ann@x.test", "")
	again := out.to("ann@x.test", "You receive the list dev@lists.test again").text
	if !strings.Contains(again, "  Bob: while it was off\r\n    https://a.test/dev/message/ABC/\r\n") || strings.Contains(again, "before") {
		t.Errorf("of the posts that were missed it says %s", again)
	}
	if s := w.statusOf("ann@x.test"); s != list.Enabled {
		t.Errorf("it is %s", s)
	}
	answer("ann@x.test", "")
	out.to("ann@x.test", "Nothing waits for this token") // it was used
}

// TestWhatABounceProves: who can write a bounce decides how much it counts.
func TestWhatABounceProves(t *testing.T) {
	ann, long := "ann@x.test", strings.Repeat("n", 60)+"@x.test"
	tests := []struct {
		name     string
		detail   func(e *verp.Encoder) string
		text     string
		unkeyed  string
		member   string
		score    float64
		unproven bool
	}{
		{"an address with her key", func(e *verp.Encoder) string { p, _ := e.Recipient(ann); return detailOf(p) }, dsn(ann, "5.1.1"), "ignore", ann, 1, false},
		{"forwarded from there", func(e *verp.Encoder) string { p, _ := e.Recipient(ann); return detailOf(p) }, dsn("other@y.test", "5.1.1"), "ignore", ann, 1, false},
		{"her key, and a text that names nobody", func(e *verp.Encoder) string { p, _ := e.Recipient(ann); return detailOf(p) },
			"From: MAILER-DAEMON@x.test\r\nSubject: Undelivered mail\r\n\r\nSorry, this could not be delivered: user unknown.\r\n", "ignore", ann, 1, false},
		{"a hash of a long address", func(e *verp.Encoder) string { p, _ := e.Recipient(long); return detailOf(p) }, dsn("other@y.test", "5.1.1"), "ignore", long, 1, false},
		{"a batch", func(e *verp.Encoder) string { p, _ := e.Batch(); return detailOf(p) + "+ann=x.test" }, dsn(ann, "5.1.1"), "probe", ann, 1, true},
		{"no key", func(*verp.Encoder) string { return "ann=x.test" }, dsn(ann, "5.1.1"), "probe", ann, 1, true},
		{"no detail", func(*verp.Encoder) string { return "" }, dsn(ann, "5.1.1"), "probe", ann, 1, true},
		{"no detail, and nobody cares", func(*verp.Encoder) string { return "" }, dsn(ann, "5.1.1"), "count", ann, 1, false},
		{"no detail, not counted", func(*verp.Encoder) string { return "" }, dsn(ann, "5.1.1"), "ignore", ann, 0, false},
		{"another's key does not speak for her", func(e *verp.Encoder) string { p, _ := e.Recipient("eve@x.test"); return detailOf(p) }, dsn(ann, "5.1.1"), "count", ann, 0, false},
		{"a vacation message to her key", func(e *verp.Encoder) string { p, _ := e.Recipient(ann); return detailOf(p) },
			"From: ann@x.test\r\nSubject: Out of office\r\nAuto-Submitted: auto-replied\r\n\r\nYour message was not delivered.\r\n", "count", ann, 0, false},
		{"full", func(*verp.Encoder) string { return "" }, dsn(ann, "5.2.2"), "count", ann, 0.5, false},
		{"given up", func(*verp.Encoder) string { return "" }, dsn(ann, "4.4.7"), "count", ann, 0.5, false},
		{"late", func(*verp.Encoder) string { return "" }, strings.Replace(dsn(ann, "4.4.7"), "failed", "delayed", 1), "count", ann, 0, false},
		{"spam, they say", func(*verp.Encoder) string { return "" }, dsn(ann, "5.7.1"), "count", ann, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, c := bounceWorld(t)
			w.add(list.Member, long)
			if _, err := w.store.ChangeList(t.Context(), w.list.Address, map[string]*string{"bounce_unkeyed": &tt.unkeyed}); err != nil {
				t.Fatal(err)
			}
			secret, err := w.store.Secret(t.Context(), store.SecretVERP)
			if err != nil {
				t.Fatal(err)
			}
			e := verp.NewEncoder(verp.Derive(secret, w.list.Address), w.list.Address, c.now())
			w.bounced(c, tt.detail(e), tt.text)
			if st := w.scoreOf(tt.member); st.Score != tt.score || st.Unproven != tt.unproven {
				t.Errorf("score %+v", st)
			}
		})
	}
}

// TestForgedBouncesDisableNobody: whatever strangers send, at most a probe comes of it.
func TestForgedBouncesDisableNobody(t *testing.T) {
	w, c := bounceWorld(t)
	off := "false"
	if _, err := w.store.ChangeList(t.Context(), w.list.Address, map[string]*string{"verp_probes": &off}); err != nil {
		t.Fatal(err)
	}
	out := &outbox{w: w}
	for i := range 12 {
		for _, detail := range []string{"", "ann=x.test", "abcdefghijkl+ann=x.test", "abcdefghijklmnop", fmt.Sprintf("%024d", i)} {
			w.bounced(c, detail, dsn("ann@x.test", "5.1.1"))
		}
		c.days(1)
	}
	out.to("ann@x.test", "only finds out")
	if s := w.statusOf("ann@x.test"); s != list.Enabled {
		t.Errorf("it is %s", s)
	}
}

func TestUnrecognizedBounces(t *testing.T) {
	w, c := bounceWorld(t)
	out := &outbox{w: w}
	w.bounced(c, "", "From: somebody@x.test\r\nSubject: riddle\r\n\r\nWhat is this?\r\n")
	out.to("boss@x.test", "riddle")
	discard := "discard"
	if _, err := w.store.ChangeList(t.Context(), w.list.Address, map[string]*string{"forward_unrecognized_bounces_to": &discard}); err != nil {
		t.Fatal(err)
	}
	w.bounced(c, "", "From: somebody@x.test\r\nSubject: riddle\r\n\r\nWhat is this?\r\n")
	if out.collect(); len(out.mail) != 0 {
		t.Errorf("it went to %+v", out.mail)
	}
}
