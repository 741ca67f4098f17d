// Package archivetest is the suite that every implementation of archive.Archive passes.
package archivetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/archive"
)

var march = time.Date(2026, 3, 31, 23, 59, 0, 0, time.UTC)

// key is that of a message of the list dev.
func key(name string) archive.Key {
	return archive.Key{List: "dev@lists.test", At: march, Name: name}
}

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

// Run runs the suite; open opens one more handle on the archive of a test.
func Run(t *testing.T, name string, fresh func(t *testing.T) (open func() archive.Archive)) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, open func() archive.Archive)
	}{
		{"what was put is read back, octet for octet", readBack},
		{"a second put changes nothing", putTwice},
		{"a put that fails leaves nothing", putFails},
		{"messages of lists of any name keep apart", names},
		{"a removed message is gone, and may be removed again", remove},
		{"places that are none are refused", badPlaces},
		{"many at once", together},
	} {
		t.Run(name+"/"+c.name, func(t *testing.T) { c.run(t, fresh(t)) })
	}
}

func put(t *testing.T, a archive.Archive, k archive.Key, s string) archive.Message {
	t.Helper()
	m, err := a.Put(t.Context(), k, text(s))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func get(t *testing.T, a archive.Archive, place string) string {
	t.Helper()
	r, err := a.Open(t.Context(), place)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func places(t *testing.T, a archive.Archive) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for p, err := range a.Places(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(p.Changed); d < -time.Minute || d > time.Hour {
			t.Errorf("%s changed %s ago", p.Name, d)
		}
		if !strings.Contains(p.Name, p.Key) || p.Key == "" || strings.Contains(p.Key, "/") {
			t.Errorf("%s is that of %q", p.Name, p.Key)
		}
		out[p.Name] = true
	}
	return out
}

func readBack(t *testing.T, open func() archive.Archive) {
	a := open()
	if n := len(places(t, a)); n > 0 {
		t.Fatalf("%d messages in a new archive", n)
	}
	for i, s := range []string{"", "Subject: x\r\n\r\nbody\r\n", "\x00\xff\r\rlone\n", strings.Repeat("a long one ", 1<<17)} {
		m := put(t, a, key(fmt.Sprint("m", i)), s)
		sum := sha256.Sum256([]byte(s))
		if m.Size != int64(len(s)) || !bytes.Equal(m.SHA256, sum[:]) {
			t.Errorf("%d octets are described as %d, %x", len(s), m.Size, m.SHA256)
		}
		if got := get(t, open(), m.Place); got != s {
			t.Errorf("%d octets come back as %d", len(s), len(got))
		}
		if all := places(t, open()); !all[m.Place] || len(all) != i+1 {
			t.Errorf("places %v", all)
		}
	}
}

func putTwice(t *testing.T, open func() archive.Archive) {
	first := put(t, open(), key("m"), "first")
	second := put(t, open(), key("m"), "second, and longer")
	if second.Place != first.Place || second.Size != first.Size || !bytes.Equal(second.SHA256, first.SHA256) {
		t.Errorf("%+v, then %+v", first, second)
	}
	if got := get(t, open(), first.Place); got != "first" {
		t.Errorf("it reads %q", got)
	}
}

func putFails(t *testing.T, open func() archive.Archive) {
	a, bad := open(), errors.New("the disk is on fire")
	_, err := a.Put(t.Context(), key("m"), func(w io.Writer) error {
		io.WriteString(w, "half a ")
		return bad
	})
	if !errors.Is(err, bad) {
		t.Errorf("error %v", err)
	}
	if n := len(places(t, a)); n > 0 {
		t.Errorf("%d messages are left", n)
	}
	if m := put(t, a, key("m"), "whole"); get(t, a, m.Place) != "whole" {
		t.Error("the next try does not count")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Put(ctx, key("n"), text("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v of a put that was cancelled", err)
	}
}

func names(t *testing.T, open func() archive.Archive) {
	a, seen := open(), map[string]bool{}
	for _, list := range []string{"dev@lists.test", "dev@other.test", "dév@bücher.test", "x/y=z@lists.test", "..@lists.test", ".@lists.test", "%2E@lists.test",
		"a b@lists.test", "a%20b@lists.test", "-rf@lists.test", `c:\x@lists.test`, "dev@[192.0.2.1]", strings.Repeat("l", 52) + "@" + strings.Repeat("d", 60) + ".test"} {
		for _, at := range []time.Time{march, march.Add(2 * time.Minute)} {
			m, err := a.Put(t.Context(), archive.Key{List: list, At: at, Name: "m"}, text(list+at.String()))
			if err != nil {
				t.Errorf("%s: %v", list, err)
				continue
			}
			if seen[m.Place] || get(t, a, m.Place) != list+at.String() {
				t.Errorf("%s at %s shares its place %s", list, at, m.Place)
			}
			seen[m.Place] = true
		}
	}
	if all := places(t, a); len(all) != len(seen) {
		t.Errorf("%d places of %d messages", len(all), len(seen))
	}
	for _, k := range []archive.Key{{List: "dev", At: march, Name: "m"}, {List: "dev@lists.test", At: march}, {List: "dev@lists.test", At: march, Name: "../m"}} {
		if _, err := a.Put(t.Context(), k, text("x")); err == nil {
			t.Errorf("%+v was taken", k)
		}
	}
}

func remove(t *testing.T, open func() archive.Archive) {
	a := open()
	m, other := put(t, a, key("m"), "x"), put(t, a, key("other"), "y")
	for range 2 {
		if err := open().Remove(t.Context(), m.Place); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Open(t.Context(), m.Place); !errors.Is(err, archive.ErrNotFound) {
		t.Errorf("error %v", err)
	}
	if all := places(t, a); len(all) != 1 || !all[other.Place] {
		t.Errorf("places %v", all)
	}
	if put(t, a, key("m"), "new"); get(t, a, m.Place) != "new" {
		t.Error("it cannot come back")
	}
}

func badPlaces(t *testing.T, open func() archive.Archive) {
	a := open()
	put(t, a, key("m"), "x")
	for _, p := range []string{"", "/", "../../etc/passwd", "/etc/passwd", "a/b/c/../../../x.eml.gz", "lists.test/dev/2026-03/\x00.eml.gz"} {
		if r, err := a.Open(t.Context(), p); err == nil {
			r.Close()
			t.Errorf("%q was opened", p)
		}
		if err := a.Remove(t.Context(), p); err == nil {
			t.Errorf("%q was removed", p)
		}
	}
}

func together(t *testing.T, open func() archive.Archive) {
	var g sync.WaitGroup
	for w := range 4 {
		a := open()
		g.Go(func() {
			for i := range 20 {
				name := fmt.Sprintf("m%d", i) // all write the same
				if _, err := a.Put(t.Context(), key(name), text(name)); err != nil {
					t.Errorf("writer %d: %v", w, err)
				}
			}
		})
	}
	g.Wait()
	a := open()
	if n := len(places(t, a)); n != 20 {
		t.Errorf("%d messages", n)
	}
	for p := range places(t, a) {
		if got := get(t, a, p); !strings.Contains(p, "/"+got+".") {
			t.Errorf("%s reads %q", p, got)
		}
	}
}
