package main

import (
	"encoding/json"
	"fmt"

	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
)

// hold puts posts into held, and files them unless the store is to know nothing of them.
func hold(t *testing.T, a *app, filed bool, listName string, senders ...string) []spool.ID {
	t.Helper()
	var ids []spool.ID
	err := a.withStore(t.Context(), false, func(st store.Store) error {
		return a.withWholeSpool(t.Context(), func(sp spool.Spool) error {
			for _, from := range senders {
				d, err := sp.Create(t.Context())
				if err != nil {
					return err
				}
				defer d.Close()
				fmt.Fprintf(d, "From: %s\r\nSubject: by %s\x1b[2J\r\n\r\nx\r\n", from, from)
				id, err := d.Put(t.Context(), spool.Held, "", spool.Envelope{List: listName, Role: "post", Key: segment.KeyOf(listName), Sender: from, Received: time.Now()})
				if err != nil {
					return err
				}
				ids = append(ids, id)
				l, err := st.List(t.Context(), address.Address{Local: "dev", Domain: "l.test"})
				if err != nil || !filed {
					continue
				}
				addr, err := address.Parse(from)
				if err != nil {
					return err
				}
				if _, err := st.FileHeld(t.Context(), store.HeldPost{ListID: l.ID, Entry: string(id), Sender: addr, Subject: "by " + from, Held: time.Now()}); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func TestHeldPostsAreDecidedAbout(t *testing.T) {
	inStore(t)
	a := &app{}
	if err := a.withConfigSpool(t.Context()); err != nil {
		t.Fatal(err)
	}
	ids := hold(t, a, true, "dev@l.test", "ann@n.test", "bob@n.test", "spam@n.test", "spam@n.test", "cy@n.test")
	old := hold(t, a, false, "dev@l.test", "dan@n.test")[0]
	stray := hold(t, a, false, "gone@l.test", "eve@n.test")
	check := func(args string, status int, want ...string) string {
		t.Helper()
		out, errs, got := inProcess(t, "", strings.Fields(args)...)
		for _, w := range want {
			if got != status || !strings.Contains(out+errs, w) {
				t.Errorf("%s: status %d, want %d with %q\n%s%s", args, got, status, w, out, errs)
			}
		}
		if strings.Contains(out, "\x1b") {
			t.Errorf("%s prints %q", args, out)
		}
		return out
	}
	check("held accept dev@l.test", exitUsage, "say --all for every held post of dev@l.test, or --from WHO")
	check("held accept --all "+string(ids[0]), exitUsage, "--all and --from want a list")
	check("held accept dev@l.test --all "+string(ids[0]), exitUsage, "want ids, --all or --from")
	check("held accept dev@l.test --from x", exitUsage, "--from: ")
	check("held accept dev@l.test --all --from ann@n.test", exitUsage, "want ids, --all or --from")
	check("held accept nolist@l.test --all", exitError, "no list nolist@l.test")
	check("held accept ../../x", exitUsage, "want 16 characters")
	check("held accept aaaaaaaaaaaaaaaa", exitError, "the post is gone", "held log LIST")
	check("held reject "+string(ids[0])+" --reason "+strings.Repeat("x", maxReason+1), exitUsage, "octets")
	check("held accept dev@l.test "+string(stray[0]), exitError, "is one of gone@l.test, not of dev@l.test")
	check("held log dev@l.test", 0, "Nothing was decided")
	check("held log dev@l.test --json", 0, "[]")

	check("held accept "+string(ids[0])+" --accept-sender", 0, "accepted   "+string(ids[0])+"  ann@n.test  by ann@n.test", "(accept-sender)")
	check("held reject dev@l.test "+string(ids[1])+" --reason Off-topic", 0, "rejected   "+string(ids[1]))
	check("held discard "+string(ids[1]), 0, "decided before  "+string(ids[1])+"  by "+operator())
	var rows []heldRow
	if err := json.Unmarshal([]byte(check("held discard dev@l.test --from SPAM@n.test --ban --json", 0, "")), &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 || rows[0].ID != ids[2] || rows[1].ID != ids[3] || rows[0].Result != "discarded" || rows[0].Decision.Also != "ban" || rows[0].Decision.By != operator() {
		t.Errorf("rows %+v", rows)
	}
	check("held discard dev@l.test "+string(ids[2]), 0, "decided before  "+string(ids[2])+"  by "+operator())
	check("held discard "+string(ids[2])+" aaaaaaaaaaaaaaaa "+string(ids[4]), exitError, "discarded  "+string(ids[4]), "the post is gone", "3 posts, 2 failed.")
	check("held discard dev@l.test --from @else.test", 0, "No posts are held.")
	check("held discard dev@l.test --from ^(", exitUsage, "missing closing )")
	check("held discard dev@l.test --from ^(dan|fay)@N", 0, "discarded  "+string(old)+"  dan@n.test  by dan@n.test")
	check("held discard dev@l.test --all", 0, "No posts are held.")
	check("held discard "+string(stray[0])+" --ban", exitError, "is gone, and with it")
	check("held discard "+string(stray[0]), 0, "discarded  "+string(stray[0]))
	check("ban ls --list dev@l.test", 0, "spam@n.test")
	log := check("held log dev@l.test", 0, "rejected   by "+operator()+"  bob@n.test: by bob@n.test", "\n    Off-topic", "(ban)", "(accept-sender)")
	if n := strings.Count(log, " by "+operator()); n != 6 {
		t.Errorf("%d decisions:\n%s", n, log)
	}
	check("held log dev@l.test --json", 0, `"why":"Off-topic"`)

	err := a.withStore(t.Context(), false, func(st store.Store) error {
		l, err := st.List(t.Context(), address.Address{Local: "dev", Domain: "l.test"})
		if err != nil {
			return err
		}
		ms, err := st.Memberships(t.Context(), l.ID, []address.Address{{Local: "ann", Domain: "n.test"}})
		if err == nil && (len(ms) != 1 || ms[0].Role != list.Nonmember || ms[0].Action != list.Defer) {
			t.Errorf("ann is %+v", ms)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	err = a.withSpool(t.Context(), func(sp spool.Admin) error {
		want := map[spool.ID]string{ids[0]: "approved", ids[1]: "rejected reason=T2ZmLXRvcGlj"}
		for e, err := range sp.Entries(t.Context(), spool.Incoming) {
			if err != nil || want[e.ID] != strings.Join(e.Flags, " ") {
				t.Errorf("incoming has %+v, %v", e, err)
			}
			delete(want, e.ID)
		}
		if len(want) != 0 {
			t.Errorf("incoming has not %v", want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// Clearing first posts is for members who have no action of their own.
func TestFirstPostsAreClearedWithADecision(t *testing.T) {
	inStore(t)
	a := &app{}
	if err := a.withConfigSpool(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out, errs, status := inProcess(t, "", "member", "add", "dev@l.test", "ann@n.test"); status != 0 {
		t.Fatal(out, errs)
	}
	ids := hold(t, a, true, "dev@l.test", "ann@n.test", "bob@n.test")
	out, errs, status := inProcess(t, "", "held", "accept", "dev@l.test", string(ids[0]), string(ids[1]), "--clear-first-posts")
	if status != 0 || strings.Count(out, "(clear-first-posts)") != 1 || !strings.Contains(out, "2 posts, 0 failed.") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
}
