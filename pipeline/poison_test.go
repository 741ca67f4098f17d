package pipeline

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/sdk"
)

// This test program is also the plugin of the test below: a host starts it by a link in
// the plugin directory.
func init() {
	if os.Getenv(sdk.CookieKey) == sdk.CookieValue {
		sdk.Serve("frail", "1", sdk.Stage{Name: "frail", Handler: frail{}})
	}
}

// frail dies of poison, and takes its time with everything else, so that other posts
// are in its hands when it does.
type frail struct{}

func (frail) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	if p.Header.Get("Subject") == "poison" {
		os.Exit(9)
	}
	time.Sleep(20 * time.Millisecond)
	p.Recipients.Select([]string{"member"}, nil, nil)
	return sdk.Accept, nil
}

// frailHost runs that plugin as a process.
func frailHost(t *testing.T) *host.Host {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	plugins := t.TempDir()
	if err := os.Symlink(self, filepath.Join(plugins, "frail")); err != nil {
		t.Fatal(err)
	}
	h, err := host.Start(t.Context(), host.Config{Dir: plugins, RunDir: t.TempDir(), Stages: []string{"frail"}, Hostname: "lists.test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return h
}

func TestAPostThatKillsItsPluginFailsAndOthersGoOn(t *testing.T) {
	w := newWorld(t, frailHost(t))
	w.add(list.Member, "a@x.test")
	w.otherList("ops@lists.test", "b@x.test")

	poison := w.post(strings.Replace(hello, "Subject: hello", "Subject: poison", 1))
	var others []spool.ID
	mail := func(to string) {
		others = append(others, w.postTo(to, strings.Replace(hello, "<1@net.test>", fmt.Sprintf("<%d.%s>", len(others), to), 1)))
	}
	failed := func() bool { return len(w.entries(spool.Failed)) > 0 }
	w.eventually("the poison in failed", func() bool {
		mail("ops@lists.test") // all the time
		time.Sleep(20 * time.Millisecond)
		return failed()
	})
	mail("dev@lists.test")
	w.idle()

	f := w.entries(spool.Failed)
	if len(f) != 1 || f[0].ID != poison {
		t.Fatalf("failed: %+v, want only the poison, %s", f, poison)
	}
	if !strings.Contains(f[0].Reason, "plugin frail, stage frail: the plugin died: exit status 9") {
		t.Errorf("the reason is %q", f[0].Reason)
	}
	out := w.outgoing()
	for i, id := range others {
		if len(out[id]) == 0 {
			t.Errorf("post %d of %d, %s, did not go out", i+1, len(others), id)
		}
	}
	if len(out[poison]) > 0 {
		t.Error("the poison went out")
	}
}

// otherList makes another list, with one member.
func (w *world) otherList(name, member string) {
	w.t.Helper()
	l := &list.List{Address: addr(w.t, name), Settings: list.Defaults()}
	if err := w.store.CreateList(w.t.Context(), l); err != nil {
		w.t.Fatal(err)
	}
	_, err := w.store.AddMembers(w.t.Context(), l.ID, func(yield func(list.Membership, error) bool) {
		yield(list.Membership{Address: addr(w.t, member), Role: list.Member}, nil)
	}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
}

// postTo puts a post to a list into incoming.
func (w *world) postTo(name, text string) spool.ID {
	w.t.Helper()
	d, err := w.spool.Create(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer d.Close()
	if _, err := io.WriteString(d, text); err != nil {
		w.t.Fatal(err)
	}
	id, err := d.Put(w.t.Context(), spool.Incoming, "", spool.Envelope{Sender: "ann@net.test", Recipient: name, List: name,
		Key: segment.KeyOf(name), Role: string(address.RolePost), Received: time.Now()})
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}
