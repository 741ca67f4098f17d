package moderate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/dir"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/store/sqlstore"
	"github.com/mlist/mlist/sdk/message"
)

var now = time.Date(2026, 11, 25, 10, 30, 0, 0, time.UTC)

// world is a desk over a real store and spool, with one list.
type world struct {
	*testing.T
	Desk
	store *sqlstore.Store
	spool *dir.Spool
	list  *list.List
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t}
	var err error
	if w.store, err = sqlstore.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "m.db"), sqlstore.Options{Migrate: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	if w.spool, err = dir.Open(filepath.Join(t.TempDir(), "spool"), dir.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.spool.Close() })
	w.Desk = Desk{Store: w.store, Spool: w.spool}
	w.list = w.makeList("dev@l.test")
	return w
}

func (w *world) makeList(name string) *list.List {
	w.Helper()
	l := &list.List{Address: w.addr(name), Settings: list.Defaults()}
	if err := w.store.CreateList(w.Context(), l); err != nil {
		w.Fatal(err)
	}
	return l
}

func (w *world) addr(s string) address.Address {
	w.Helper()
	a, err := address.Parse(s)
	if err != nil {
		w.Fatal(err)
	}
	return a
}

func (w *world) add(role list.Role, addrs ...string) {
	w.Helper()
	_, err := w.store.AddMembers(w.Context(), w.list.ID, func(yield func(list.Membership, error) bool) {
		for _, a := range addrs {
			if !yield(list.Membership{Address: w.addr(a), Role: role}, nil) {
				return
			}
		}
	}, nil)
	if err != nil {
		w.Fatal(err)
	}
}

// put puts a message into a queue, as it stands there, of which the store knows nothing.
func (w *world) put(q spool.Queue, text string) spool.ID {
	w.Helper()
	d, err := w.spool.Create(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	defer d.Close()
	if _, err := io.WriteString(d, text); err != nil {
		w.Fatal(err)
	}
	id, err := d.Put(w.Context(), q, "", spool.Envelope{List: "dev@l.test", Role: "post", Key: segment.KeyOf("dev@l.test"), Sender: "env@n.test", Received: now})
	if err != nil {
		w.Fatal(err)
	}
	return id
}

func (w *world) queueOf(id spool.ID) spool.Queue {
	w.Helper()
	e, err := w.spool.Find(w.Context(), id)
	if err != nil && !errors.Is(err, spool.ErrNotFound) {
		w.Fatal(err)
	}
	return e.Queue
}

const text = "From: Ann <ann@n.test>\r\nSubject: x\r\n\r\nx\r\n"

func TestDecide(t *testing.T) {
	for _, tt := range []struct {
		h     store.HeldDecision
		queue spool.Queue
		flags string
	}{
		{store.HeldDecision{Verdict: store.VerdictAccept}, spool.Incoming, "approved"},
		{store.HeldDecision{Verdict: store.VerdictReject}, spool.Incoming, "rejected"},
		{store.HeldDecision{Verdict: store.VerdictReject, Why: "no\nway"}, spool.Incoming, "rejected reason=bm8Kd2F5"},
		{store.HeldDecision{Verdict: store.VerdictDiscard, Ban: true}, "", ""},
	} {
		t.Run(fmt.Sprint(tt.h), func(t *testing.T) {
			w := newWorld(t)
			id := w.put(spool.Held, text) // the store has not heard of it
			tt.h.By = "boss"
			for i, entry := range []string{"m1", "m1", "m2"} {
				d, first, err := w.Decide(t.Context(), store.Step{ListID: w.list.ID, Entry: entry, At: now}, w.list, id, tt.h)
				if err != nil || first != (entry == "m1") || d.Verdict != tt.h.Verdict || d.By != "boss" || d.Address.String() != "ann@n.test" || d.Subject != "x" {
					t.Fatalf("%d: %+v, %t, %v", i, d, first, err)
				}
			}
			if q := w.queueOf(id); q != tt.queue {
				t.Errorf("it is in %q", q)
			}
			if tt.queue != "" {
				e, err := w.spool.Find(t.Context(), id)
				if err != nil || strings.Join(e.Flags, " ") != tt.flags {
					t.Errorf("flags %q, %v", e.Flags, err)
				}
				reason, rejected := Rejection(e.Flags)
				if rejected != (tt.h.Verdict == store.VerdictReject) || tt.h.Why != "" && reason != tt.h.Why {
					t.Errorf("rejected %t: %q", rejected, reason)
				}
			}
			if _, err := w.store.HeldPost(t.Context(), w.list.ID, string(id), ""); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("it is remembered: %v", err)
			}
		})
	}
}

func TestWhatCannotBeDecided(t *testing.T) {
	w := newWorld(t)
	ctx, step := t.Context(), store.Step{ListID: w.list.ID, At: now}
	discard := store.HeldDecision{Verdict: store.VerdictDiscard}
	wants := func(what string, id spool.ID, l *list.List, want error) {
		t.Helper()
		if _, _, err := w.Decide(ctx, step, l, id, discard); err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	wants("what was never there", "aaaaaaaaaaaaaaaa", w.list, ErrGone)
	incoming := w.put(spool.Incoming, text)
	wants("what is not held", incoming, w.list, ErrNotHeld)
	for _, id := range []spool.ID{incoming, "aaaaaaaaaaaaaaaa"} {
		if _, err := w.store.FileHeld(ctx, store.HeldPost{ListID: w.list.ID, Entry: string(id), Held: now}); err != nil {
			t.Fatal(err)
		}
	}
	wants("what is about to be held", incoming, w.list, ErrNotHeld)
	wants("what was taken away", "aaaaaaaaaaaaaaaa", w.list, ErrGone)
	if n, err := w.store.CountHeld(ctx, w.list.ID, store.HeldFilter{}); n != 1 || err != nil {
		t.Errorf("%d wait, %v: what was taken away is to be forgotten", n, err)
	}
	held := w.put(spool.Held, text)
	wants("another list's", held, w.makeList("ops@l.test"), nil)
	wants("not by its name", "../../etc/passwd", w.list, nil)
	if w.queueOf(held) != spool.Held || w.queueOf(incoming) != spool.Incoming {
		t.Error("something was done")
	}
}

// TestWhoDecidesAndDies: the spool does later what was decided, once.
func TestWhoDecidesAndDies(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	for i, v := range []store.Verdict{store.VerdictAccept, store.VerdictDiscard} {
		id := w.put(spool.Held, text)
		if _, err := w.store.FileHeld(ctx, store.HeldPost{ListID: w.list.ID, Entry: string(id), Held: now}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.store.DecideHeld(ctx, store.Step{ListID: w.list.ID, At: now}, string(id), store.HeldDecision{Verdict: v}); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			before time.Time
			queue  spool.Queue
		}{{now, spool.Held}, {now.Add(time.Second), []spool.Queue{spool.Incoming, ""}[i]}, {now.Add(time.Hour), []spool.Queue{spool.Incoming, ""}[i]}} {
			if err := w.SettleAll(ctx, tt.before); err != nil {
				t.Fatal(err)
			}
			if q := w.queueOf(id); q != tt.queue {
				t.Errorf("%s: it is in %q, want %q", v, q, tt.queue)
			}
		}
	}
}

func TestTokens(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.add(list.Moderator, "mod@x.test", "Second@x.test")
	w.add(list.Owner, "boss@x.test")
	tokens, err := w.Tokens(ctx, w.list)
	if err != nil {
		t.Fatal(err)
	}
	minute := now.Truncate(time.Minute)
	for _, tt := range []struct {
		token string
		want  Ticket
	}{
		{tokens.Post(w.addr("mod@x.test"), "abcdef"), Ticket{Moderator: w.addr("mod@x.test"), Handle: "abcdef"}},
		{strings.ToUpper(tokens.Post(w.addr("second@X.test"), "abcdef")), Ticket{Moderator: w.addr("Second@x.test"), Handle: "abcdef"}},
		{tokens.Post(w.addr("boss@x.test"), "zzzzzz"), Ticket{Moderator: w.addr("boss@x.test"), Handle: "zzzzzz"}},
		{tokens.Summary(w.addr("mod@x.test"), now), Ticket{Moderator: w.addr("mod@x.test"), Until: minute}},
	} {
		if len(tt.token) != TokenLen {
			t.Errorf("%s has %d characters", tt.token, len(tt.token))
		}
		if got, err := w.Read(ctx, w.list, tt.token); err != nil || got != tt.want {
			t.Errorf("%s is %+v, %v; want %+v", tt.token, got, err, tt.want)
		}
		if _, err := w.Read(ctx, w.makeList("l"+tt.token+"@l.test"), tt.token); !errors.Is(err, ErrNoTicket) {
			t.Errorf("on another list: %v", err)
		}
		// Each character counts.
		for i := range tt.token {
			bad := []byte(tt.token)
			if bad[i]++; bad[i] == '8' {
				bad[i] = 'a'
			}
			if _, err := w.Read(ctx, w.list, string(bad)); !errors.Is(err, ErrNoTicket) {
				t.Errorf("%s is taken for %s: %v", bad, tt.token, err)
			}
		}
	}
	about := Minute(now)
	for _, bad := range []string{
		"", "abcdef", tokens.Post(w.addr("eve@x.test"), "abcdef"), tokens.Post(w.addr("mod@x.test"), "abcdef") + "a", strings.Repeat("\x00", TokenLen), strings.Repeat("é", TokenLen/2),
		about + tokens.sum(kindPost, w.addr("eve@x.test"), about),
	} {
		if got, err := w.Read(ctx, w.list, bad); !errors.Is(err, ErrNoTicket) {
			t.Errorf("%q is %+v, %v", bad, got, err)
		}
	}
	// A token for a post is none for all of that minute, though both have its name.
	got, err := w.Read(ctx, w.list, tokens.Post(w.addr("mod@x.test"), about))
	if err != nil || !got.Until.IsZero() {
		t.Errorf("for a post: %+v, %v", got, err)
	}
}

func TestModerators(t *testing.T) {
	w := newWorld(t)
	who := func() string {
		t.Helper()
		ms, err := w.Moderators(t.Context(), w.list)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(ms)
	}
	for _, tt := range []struct {
		role list.Role
		addr string
		want string
	}{{list.Member, "ann@x.test", "[]"}, {list.Owner, "boss@x.test", "[boss@x.test]"}, {list.Moderator, "mod@x.test", "[mod@x.test]"}} {
		if w.add(tt.role, tt.addr); who() != tt.want {
			t.Errorf("with a %s: %s, want %s", tt.role, who(), tt.want)
		}
	}
	var many []string
	for i := range MaxModerators + 5 {
		many = append(many, fmt.Sprintf("m%03d@y.test", i))
	}
	w.add(list.Moderator, many...)
	if n := strings.Count(who(), "@"); n != MaxModerators {
		t.Errorf("%d moderators", n)
	}
}

func TestMinute(t *testing.T) {
	for _, at := range []time.Time{time.Unix(0, 0), now, time.Date(4000, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if got, ok := ParseMinute(Minute(at)); !ok || !got.Equal(at.Truncate(time.Minute)) {
			t.Errorf("%s is %s, %t", at, got, ok)
		}
	}
	for _, bad := range []string{"", "abcde", "abcdefg", "ABCDEF", "abc de", "abcd01"} {
		if got, ok := ParseMinute(bad); ok {
			t.Errorf("%q is %s", bad, got)
		}
	}
}

func TestReasons(t *testing.T) {
	for _, tt := range []struct {
		name, reason string
		notes        map[string]string
		want         string
	}{
		{"of a stage that keeps no notes", "Signed parts would go.", map[string]string{"code": "signed"}, "Signed parts would go."},
		{"of the rules", "You are no member. It is big.", map[string]string{"code": "nonmember", "posting.hits": "nonmember: You are no member.\n", "limits.hits": "too-big: It is big."}, "You are no member.\nIt is big."},
		{"of both", "Signed.", map[string]string{"code": "signed", "posting.hits": "header-match: X is there."}, "Signed.\nX is there."},
		{"in one line each", "a\r\nb\x00", nil, "a  b"},
		{"not without end", "r", map[string]string{"posting.hits": strings.Repeat("x: "+strings.Repeat("y", 600)+"\n", 20)}, ""},
	} {
		got := Reasons(tt.reason, tt.notes)
		if tt.want != "" && got != tt.want || len(got) > maxReason {
			t.Errorf("%s: %d octets, %q", tt.name, len(got), got)
		}
	}
}

func TestTheSenderIsTheMember(t *testing.T) {
	w := newWorld(t)
	w.add(list.Member, "env@n.test")
	id := w.put(spool.Held, text)
	e, err := w.spool.Find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ envelope, header, want string }{
		{"env@n.test", text, "env@n.test"},
		{"other@n.test", text, "ann@n.test"},
		{"", text, "ann@n.test"},
		{"", "Subject: x\r\n\r\n", ""},
	} {
		e.Sender = tt.envelope
		p, err := w.Describe(context.Background(), w.list, e, parse(tt.header))
		if err != nil || p.Sender.String() != tt.want {
			t.Errorf("%+v: %s, %v", tt, p.Sender, err)
		}
	}
}

func parse(text string) *message.Header {
	head, _, _ := strings.Cut(text, "\r\n\r\n")
	return message.ParseHeader([]byte(head + "\r\n"))
}
