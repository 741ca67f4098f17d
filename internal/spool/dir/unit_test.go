package dir

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

func TestIDsSortByTime(t *testing.T) {
	s := &Spool{}
	last := spool.ID("")
	for range 10000 {
		id := s.newID()
		if _, err := spool.CheckID(string(id)); err != nil {
			t.Fatal(err)
		}
		if id <= last {
			t.Fatalf("%s follows %s", id, last)
		}
		last = id
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Uint64Range(0, 1<<55-1).Draw(t, "a"), rapid.Uint64Range(0, 1<<55-1).Draw(t, "b")
		if x, y := spool.MakeID(a, 0)[:11], spool.MakeID(b, 0)[:11]; (a < b) != (x < y) {
			t.Fatalf("%d is %s, %d is %s", a, x, b, y)
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	t.Run("a file in the place of a queue", func(t *testing.T) {
		path := t.TempDir()
		if err := os.WriteFile(filepath.Join(path, "held"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), "not a directory") {
			t.Fatalf("error %v", err)
		}
	})
	t.Run("a link in the place of a queue", func(t *testing.T) {
		path := t.TempDir()
		if err := os.Symlink(t.TempDir(), filepath.Join(path, "incoming")); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), "not a directory") {
			t.Fatalf("error %v", err)
		}
	})
}

func TestDirectoriesAreForTheOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	storage(path).Open(t)
	for _, d := range []string{"", "tmp", "owners", "incoming", "outgoing", "bounces", "held", "failed"} {
		info, err := os.Stat(filepath.Join(path, d))
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", d, info.Mode(), err)
		}
	}
}

func TestDamagedAndForeignFiles(t *testing.T) {
	good := func(env spool.Envelope, size int64) []byte {
		h := entryHead(spool.Incoming, env, size)
		h.WriteByte('\n')
		return h.Bytes()
	}
	tests := []struct {
		name  string
		plant func(path string) error
	}{
		{"an empty file", func(p string) error { return os.WriteFile(p, nil, 0o600) }},
		{"a header without an end", func(p string) error { return os.WriteFile(p, []byte("mlist: entry 1\nlist: dev"), 0o600) }},
		{"a cut message", func(p string) error { return os.WriteFile(p, good(spool.Envelope{}, 100), 0o600) }},
		{"a later format", func(p string) error { return os.WriteFile(p, []byte("mlist: entry 2\n\n"), 0o600) }},
		{"a header of a megabyte", func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte("a: b\n"), 200000), 0o600) }},
		{"a link", func(p string) error { return os.Symlink("/etc/passwd", p) }},
		{"a pipe", func(p string) error { return unix.Mkfifo(p, 0o600) }},
		{"a directory", func(p string) error { return os.Mkdir(p, 0o700) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := storage(t.TempDir()).Open(t).(*Spool)
			n := entryName{s.newID(), segment.KeyOf("dev@l.test")}
			for _, foreign := range []string{"README", n.String() + ".tar", ".nfs000", strings.ToUpper(n.String())} {
				if err := os.WriteFile(s.path(spool.Incoming, foreign), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := tt.plant(s.path(spool.Incoming, n.String())); err != nil {
				t.Fatal(err)
			}
			x := &world{t: t, s: s, puts: 1}
			if err := x.put(t.Context(), 10); err != nil {
				t.Fatal(err)
			}
			o, err := s.Own(t.Context(), spool.Incoming, segment.All, "test")
			if err != nil {
				t.Fatal(err)
			}
			e, err := o.Next(t.Context())
			if err != nil || e.ID == n.id {
				t.Fatalf("next is %+v, %v", e, err)
			}
			e, err = s.Find(t.Context(), n.id)
			if err != nil || e.Queue != spool.Failed || !strings.Contains(e.Reason, "damaged") {
				t.Fatalf("the damaged entry is %+v, %v", e, err)
			}
			if names, _ := os.ReadDir(s.path(spool.Incoming, "")); len(names) != 5 {
				t.Errorf("incoming has %v, want the good entry and the foreign files", names)
			}
		})
	}
}

func TestNamesInWindows(t *testing.T) {
	path := t.TempDir()
	var want []string
	for i := range 500 {
		want = append(want, fmt.Sprintf("%03d", i))
		if err := os.WriteFile(filepath.Join(path, want[i]), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int{1, 7, 100, 499, 500, 501, 5000} {
		var got []string
		for n, err := range sortedNames(path, "009", size) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, n)
		}
		if !slices.Equal(got, want[10:]) {
			t.Errorf("windows of %d: %d names", size, len(got))
		}
	}
}

// A table too small for the queue hands out everything all the same, and lets no
// list wait for a flood of another.
func TestSmallTableServesALongQueue(t *testing.T) {
	s, err := Open(t.TempDir(), Options{MaxReady: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 120 {
		list := "flood@l.test"
		if i%10 == 9 {
			list = fmt.Sprintf("l%d@l.test", i)
		}
		d, _ := s.Create(t.Context())
		if _, err := d.Put(t.Context(), spool.Incoming, "", spool.Envelope{List: list}); err != nil {
			t.Fatal(err)
		}
		d.Close()
	}
	o, err := s.Own(t.Context(), spool.Incoming, segment.All, "test")
	if err != nil {
		t.Fatal(err)
	}
	var last spool.ID
	for i := range 120 {
		e, err := o.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if e.List == "flood@l.test" {
			if e.ID <= last {
				t.Fatalf("entry %d: %s comes after %s", i, e.ID, last)
			}
			last = e.ID
		}
		if err := o.Done(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if !empty(t, s) {
		t.Error("something is left")
	}
}

func TestSmallTableServesManyPosts(t *testing.T) {
	s, err := Open(t.TempDir(), Options{MaxReady: 4, Rescan: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.OwnOutgoing(t.Context(), segment.All, "test")
	if err != nil {
		t.Fatal(err)
	}
	in, err := s.Own(t.Context(), spool.Incoming, segment.All, "test")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for range 20 {
		x := &world{t: t, s: s, puts: 1}
		if err := x.put(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		e, err := in.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p, err := in.Prepare(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		w, _ := p.Content("plain")
		w.Close()
		for i := range 30 {
			r := fmt.Sprintf("%s-%d", e.ID, i)
			want[r] = true
			if err := p.AddChunk(t.Context(), spool.Chunk{Variant: "plain", Recipients: []string{r}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for len(want) > 0 {
		c, err := out.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !want[c.Recipients[0]] {
			t.Fatalf("%s came twice", c.Recipients[0])
		}
		r := spool.Settlement{}
		if c.Tries == 0 && c.Name == "000007" {
			r = spool.Settlement{Deferred: c.Recipients, Due: time.Now().Add(20 * time.Millisecond)}
		} else {
			delete(want, c.Recipients[0])
		}
		if err := out.Settle(t.Context(), c, r); err != nil {
			t.Fatal(err)
		}
	}
	// Whoever waits for the next chunk also looks at what the scans find.
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error)
	go func() { _, err := out.Next(ctx); waiting <- err }()
	defer func() {
		cancel()
		if err := <-waiting; !errors.Is(err, context.Canceled) {
			t.Errorf("next after all was sent: %v", err)
		}
	}()
	for deadline := time.Now().Add(time.Minute); !empty(t, s); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("posts that are done are not removed")
		}
	}
}

// A crash between the two steps of a deferral leaves the old chunk beside the new.
func TestOutdoneChunkIsNotSentAgain(t *testing.T) {
	f := &faults{}
	x := newWorld(t, f, "settle")
	post := entryName{x.entry.ID, x.entry.Key}
	old := filepath.Join(t.TempDir(), "old")
	out := x.out.(*outgoing)
	if _, err := out.spread(x.chunk, out.out[x.chunk.ID()]); err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob(filepath.Join(x.s.chunksPath(post), "*"))
	if err := os.Link(names[0], old); err != nil {
		t.Fatal(err)
	}
	err := x.out.Settle(t.Context(), x.chunk, spool.Settlement{Deferred: []string{"r2"}, Due: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	x.out.Close()
	if err := os.Link(old, names[0]); err != nil {
		t.Fatal(err)
	}
	again, err := x.s.OwnOutgoing(t.Context(), segment.All, "test")
	if err != nil {
		t.Fatal(err)
	}
	c, err := again.Next(t.Context())
	if err != nil || !slices.Equal(c.Recipients, []string{"r2"}) {
		t.Fatalf("got %+v, %v", c, err)
	}
	if err := again.Settle(t.Context(), c, spool.Settlement{}); err != nil {
		t.Fatal(err)
	}
	if got := x.look(); got != "" {
		t.Fatalf("left: %s", got)
	}
}

func TestOrphansAreSwept(t *testing.T) {
	s := storage(t.TempDir()).Open(t).(*Spool)
	n := entryName{s.newID(), 7}
	old := time.Now().Add(-2 * orphanAge)
	for _, name := range []string{n.String() + ".try1.due17", n.String() + ".try2"} {
		if err := os.WriteFile(s.path(spool.Incoming, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(s.path(spool.Incoming, n.String()+".try1.due17"), old, old); err != nil {
		t.Fatal(err)
	}
	if err := s.eachGroup(spool.Incoming, func(group) bool { return true }); err != nil {
		t.Fatal(err)
	}
	left, _ := os.ReadDir(s.path(spool.Incoming, ""))
	if len(left) != 1 || left[0].Name() != n.String()+".try2" {
		t.Fatalf("left: %v", left)
	}
}

func TestEventsOfInotify(t *testing.T) {
	event := func(mask uint32, name string) []byte {
		var b bytes.Buffer
		padded := make([]byte, (len(name)+16)/16*16)
		copy(padded, name)
		_ = binary.Write(&b, binary.NativeEndian, []uint32{1, mask, 0, uint32(len(padded))}) // a Buffer never fails
		b.Write(padded)
		return b.Bytes()
	}
	names, lost := parseEvents(slices.Concat(event(unix.IN_MOVED_TO, "a"), event(unix.IN_Q_OVERFLOW, ""), event(unix.IN_CREATE, "bb")))
	if !slices.Equal(names, []string{"a", "bb"}) || !lost {
		t.Errorf("got %v, %v", names, lost)
	}
	if _, lost := parseEvents(event(unix.IN_MOVED_TO, "a")[:20]); !lost {
		t.Error("a cut record was not noticed")
	}
}

func TestHeadersComeBack(t *testing.T) {
	text := rapid.StringOf(rapid.RuneFrom([]rune(`ab:\ ns` + "\n\r\t.é")))
	rapid.Check(t, func(t *rapid.T) {
		env := spool.Envelope{List: text.Draw(t, "list"), Role: text.Draw(t, "role"), Detail: text.Draw(t, "detail"),
			Sender: text.Draw(t, "sender"), Recipient: text.Draw(t, "recipient"), Peer: text.Draw(t, "peer"),
			Received: time.UnixMicro(rapid.Int64Range(0, 1<<52).Draw(t, "received")).UTC()}
		if notes := rapid.MapOf(text, text).Draw(t, "notes"); len(notes) > 0 {
			env.Notes = notes
		}
		env.Key = segment.KeyOf(env.List)
		h := entryHead(spool.Bounces, env, 42)
		h.WriteByte('\n')
		lines, offset, err := readHead(bytes.NewReader(append(h.Bytes(), "\n\nbody"...)), maxHead)
		if err != nil || offset != int64(h.Len()) {
			t.Fatalf("offset %d, want %d, %v", offset, h.Len(), err)
		}
		q, got, size, err := parseEntryHead(lines)
		if err != nil || q != spool.Bounces || size != 42 || !reflect.DeepEqual(got, env) {
			t.Fatalf("got %q %d %+v, %v\nwant %+v", q, size, got, err, env)
		}
		c := &spool.Chunk{List: env.List, Variant: "v", Sender: env.Sender, Created: env.Received, Reason: env.Peer,
			Recipients: rapid.SliceOfN(text, 1, 5).Draw(t, "recipients"), ReturnKey: env.Detail,
			Slots: []spool.Slot{{Offset: 3, Length: 4, Field: "name", Encoding: "qp"}, {Offset: 7, Length: 1, Field: "address", Encoding: "plain"}},
			Sign:  []spool.SignKey{{Domain: "l.test", Selector: "s", File: "/etc/a key"}}}
		for range c.Recipients {
			c.Names = append(c.Names, text.Draw(t, "name"))
		}
		back, _, err := parseChunk(chunkBytes(c))
		if err != nil || !reflect.DeepEqual(back, c) {
			t.Fatalf("got %+v, %v, want %+v", back, err, c)
		}
		i := rapid.IntRange(0, len(c.Recipients)-1).Draw(t, "served")
		cut := progressLine(i)
		torn := string(chunkBytes(c)) + string(cut[:rapid.IntRange(0, len(cut)-1).Draw(t, "cut")])
		if back, _, err = parseChunk([]byte(torn)); err != nil || len(back.Recipients) != len(c.Recipients) {
			t.Fatalf("with a line that was cut: %+v, %v", back, err)
		}
		back, index, err := parseChunk([]byte(torn + "\n" + string(cut)))
		if err != nil || !slices.Equal(back.Recipients, slices.Delete(slices.Clone(c.Recipients), i, i+1)) ||
			!slices.Equal(back.Names, slices.Delete(slices.Clone(c.Names), i, i+1)) || slices.Contains(index, i) || len(index) != len(back.Recipients) {
			t.Fatalf("with %d served: %+v, %v, %v", i, back, index, err)
		}
	})
}

func FuzzFiles(f *testing.F) {
	env := spool.Envelope{List: "dev@l.test", Flags: []string{"a", "b"}, Notes: map[string]string{"k": "v"}, Received: time.Now()}
	f.Add(append(entryHead(spool.Incoming, env, 1).Bytes(), "\nx"...))
	f.Add(chunkBytes(&spool.Chunk{Variant: "plain", Recipients: []string{"a@x.test", "b@x.test"}}))
	f.Add(append(chunkBytes(&spool.Chunk{Variant: "plain", ReturnKey: "00", Recipients: []string{"a@x.test", "b@x.test"}, Names: []string{"A", ""},
		Slots: []spool.Slot{{Offset: 1, Length: 2, Field: "a", Encoding: "b"}}}), "done 1.\ndone"...))
	f.Add(note{reason: "why", flags: []string{"approved"}, notes: env.Notes}.bytes())
	f.Add([]byte("mlist: chunk 1\nvariant: v\nrecipients: 99999999999\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lines, offset, err := readHead(bytes.NewReader(data), maxHead)
		if err == nil {
			if offset > int64(len(data)) || len(lines) > len(data) {
				t.Fatalf("offset %d of %d", offset, len(data))
			}
			if _, _, _, err := parseEntryHead(lines); err != nil && !isDamaged(err) {
				t.Fatal(err)
			}
		} else if !isDamaged(err) {
			t.Fatal(err)
		}
		if _, err := parseNote(data); err != nil && !isDamaged(err) {
			t.Fatal(err)
		}
		c, _, err := parseChunk(data)
		if err != nil {
			return
		}
		again, _, err := parseChunk(chunkBytes(c))
		if err != nil || !slices.Equal(again.Recipients, c.Recipients) {
			t.Fatalf("%+v came back as %+v, %v", c, again, err)
		}
	})
}

func FuzzNames(f *testing.F) {
	n := entryName{spool.MakeID(1763990000000000, 5), 0x0762}
	f.Add(n.String())
	f.Add(n.String() + ".try2.due1763990000000000")
	f.Add(n.String() + whySuffix)
	f.Add("0762-000001.try1")
	f.Add("0762-000001.part0-27104")
	f.Add(n.String() + ".try02")
	f.Fuzz(func(t *testing.T, s string) {
		if n, st, err := parseName(s); err == nil {
			if strings.ContainsAny(s, "/\x00") {
				t.Fatalf("%q is a name", s)
			}
			want := n.String()
			if strings.HasSuffix(s, whySuffix) {
				want += whySuffix
			} else if st.side {
				want += st.suffix()
			}
			if want != s {
				t.Fatalf("%q is read as %q", s, want)
			}
		}
		if c, ok := parseChunkFile(s); ok && c.String() != s {
			t.Fatalf("%q is read as %q", s, c)
		}
	})
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte("0123456789abcdef"))
	f.Add(make([]byte, 40))
	f.Fuzz(func(_ *testing.T, b []byte) { parseEvents(b) })
}

// The wait for a put by another spool object, through the directory alone: no scan comes in time.
func TestAPutElsewhereWakes(t *testing.T) {
	path := t.TempDir()
	s, err := Open(path, Options{Rescan: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	other := storage(path).Open(t).(*Spool)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o, err := s.Own(ctx, spool.Incoming, segment.All, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	var took []time.Duration
	for range 20 {
		x := &world{t: t, s: other, puts: 1}
		woke := make(chan time.Time, 1)
		go func() {
			e, err := o.Next(ctx)
			woke <- time.Now()
			if err == nil {
				err = o.Done(ctx, e)
			}
			if err != nil {
				t.Error(err)
			}
			close(woke)
		}()
		if err := x.put(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		put := time.Now()
		took = append(took, (<-woke).Sub(put))
		<-woke
	}
	slices.Sort(took)
	t.Logf("median %v after Put returned, worst %v", took[10], took[19])
}
