package storetest

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// kept is what is kept of a post, with every field set.
func kept(name string) store.Kept {
	return store.Kept{MessageID: name + "@n.test", Hash: "HASH" + name, Date: at.Add(-time.Hour), From: "ann@n.test", FromName: "Ann \u00e4",
		Subject: "about " + name, Refs: []string{"root@n.test", "parent@n.test"}, Parent: "HASHparent", Place: "l.test/dev/" + name,
		Size: 100, SHA256: []byte{1, 2, 3}}
}

// forDigest is what is kept for a digest, and for the archive if it has a place there.
func forDigest(name, place string, size int64) store.Kept {
	k := kept(name)
	k.Place, k.DigestPlace, k.DigestSize = place, "l.test/digest/"+name, size
	return k
}

func (w *world) keep(l *list.List, entry string, k store.Kept) int64 {
	w.Helper()
	p := store.Post{ListID: l.ID, Entry: entry, Digest: []byte(entry), At: at, Kept: &k}
	r := w.file(p, true)
	w.same("again", w.file(p, true), r)
	return r.Number
}

func (w *world) archived(l *list.List, f store.ArchiveFilter) []store.Archived {
	w.Helper()
	return collect(w, w.Archived(w.ctx, l.ID, f))
}

func numbers(posts []store.Archived) string {
	var out []int64
	for _, p := range posts {
		out = append(out, p.Number)
	}
	return fmt.Sprint(out)
}

var archiveTests = []test{
	{"a post is entered with its number, once, and comes back whole", func(w *world) {
		l := w.list("dev@l.test")
		w.file(store.Post{ListID: l.ID, Entry: "e0", Digest: []byte("e0"), At: at}, true)
		w.keep(l, "e1", kept("a"))
		want := store.Archived{ListID: l.ID, Number: 2, Entry: "e1", Received: at, Kept: kept("a")}
		if got := w.archived(l, store.ArchiveFilter{}); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			w.Errorf("archive has\n%+v, want\n%+v", got, want)
		}
	}},
	{"text that is none is kept as well as may be", func(w *world) {
		l := w.list("dev@l.test")
		k := store.Kept{MessageID: "\xff\x00@x", Subject: "\xfe", From: "\x00", FromName: "\xfd", Refs: []string{"\xff"}, Place: "p"}
		w.keep(l, "e1", k)
		if got := w.archived(l, store.ArchiveFilter{}); len(got) != 1 || got[0].Subject != "\ufffd" || got[0].MessageID != "\ufffd\ufffd@x" || got[0].Refs[0] != "\ufffd" {
			w.Errorf("archive has %+v", got)
		}
	}},
	{"a held post is entered when it is accepted, a duplicate never", func(w *world) {
		l := w.list("dev@l.test")
		k := kept("a")
		p := store.Post{ListID: l.ID, Entry: "e1", Digest: []byte("d"), At: at, Kept: &k}
		w.file(p, false)
		if got := w.archived(l, store.ArchiveFilter{}); len(got) != 0 {
			w.Errorf("held, and in the archive: %+v", got)
		}
		w.file(p, true)
		p.Entry = "e2"
		w.file(p, true)
		if got := numbers(w.archived(l, store.ArchiveFilter{})); got != "[1]" {
			w.Errorf("archive has %s", got)
		}
	}},
	{"a filter chooses", func(w *world) {
		l, other := w.list("dev@l.test"), w.list("ops@l.test")
		w.keep(other, "o", kept("o"))
		for i := range 5 {
			k := kept(fmt.Sprint(i % 2))
			k.Date = at.Add(time.Duration(i) * time.Hour)
			w.keep(l, fmt.Sprint("e", i), k)
		}
		w.keep(l, "d", forDigest("d", "", 1))
		for _, c := range []struct {
			f    store.ArchiveFilter
			want string
		}{
			{store.ArchiveFilter{}, "[1 2 3 4 5]"},
			{store.ArchiveFilter{First: 2, Last: 4}, "[2 3 4]"},
			{store.ArchiveFilter{First: 6}, "[]"},
			{store.ArchiveFilter{Since: at.Add(time.Hour), Until: at.Add(3 * time.Hour)}, "[2 3]"},
			{store.ArchiveFilter{Hash: "HASH1"}, "[2 4]"},
			{store.ArchiveFilter{Hash: "HASH1", First: 3}, "[4]"},
			{store.ArchiveFilter{Unarchived: true, First: 5}, "[5 6]"},
		} {
			if got := numbers(w.archived(l, c.f)); got != c.want {
				w.Errorf("%+v: %s, want %s", c.f, got, c.want)
			}
		}
		for range w.Archived(w.ctx, l.ID, store.ArchiveFilter{}) {
			break
		}
	}},
	{"imported posts get the next numbers, each entry once", func(w *world) {
		l := w.list("dev@l.test")
		w.keep(l, "e1", kept("a"))
		batch := []store.Archived{{Entry: "i1", Received: at, Kept: kept("b")}, {Entry: "i2", Received: at, Kept: kept("c")}}
		for i, want := range []int{2, 0} {
			n, err := w.ImportPosts(w.ctx, l.ID, batch)
			w.ok(err)
			if n != want {
				w.Errorf("import %d added %d, want %d", i+1, n, want)
			}
		}
		w.keep(l, "e2", kept("d"))
		if got := w.archived(l, store.ArchiveFilter{}); numbers(got) != "[1 2 3 4]" || got[2].Entry != "i2" {
			w.Errorf("archive has %+v", got)
		}
		_, err := w.ImportPosts(w.ctx, 4711, batch)
		w.wants(err, store.ErrNotFound)
	}},
	{"of a removed post a tombstone is left", func(w *world) {
		l := w.list("dev@l.test")
		both := forDigest("a", "l.test/dev/a", 1)
		w.keep(l, "e1", both)
		for i, want := range [][]string{{"l.test/dev/a", "l.test/digest/a"}, nil} {
			places, err := w.RemoveArchived(w.ctx, l.ID, 1, at.Add(time.Duration(i)*time.Hour))
			w.ok(err)
			if !slices.Equal(places, want) {
				w.Errorf("removal %d: places %v, want %v", i+1, places, want)
			}
		}
		want := store.Archived{ListID: l.ID, Number: 1, Entry: "e1", Received: at, Removed: at,
			Kept: store.Kept{Hash: both.Hash, Parent: both.Parent, Date: both.Date, Refs: []string{}}}
		if got := w.archived(l, store.ArchiveFilter{}); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			w.Errorf("archive has\n%+v, want\n%+v", got, want)
		}
		_, err := w.RemoveArchived(w.ctx, l.ID, 2, at)
		w.wants(err, store.ErrNotFound)
		_, err = w.CloseDigest(w.ctx, l.ID, store.CloseDigest{At: at, MaxPosts: 9, MaxSize: 9})
		w.wants(err, store.ErrNotFound)
	}},
	{"a place is in the archive as long as a row says so", func(w *world) {
		l := w.list("dev@l.test")
		w.keep(l, "e1", forDigest("a", "l.test/dev/a", 1))
		is := func(entry, place string, want bool) {
			w.Helper()
			got, err := w.InArchive(w.ctx, entry, place)
			w.ok(err)
			if got != want {
				w.Errorf("%s at %s: %t", entry, place, got)
			}
		}
		is("e1", "l.test/dev/a", true)
		is("e1", "l.test/digest/a", true)
		is("e1", "l.test/dev/b", false)
		is("e2", "l.test/dev/a", false)
		_, err := w.RemoveArchived(w.ctx, l.ID, 1, at)
		w.ok(err)
		is("e1", "l.test/dev/a", false)
		w.keep(l, "e3", kept("c"))
		w.ok(w.DeleteList(w.ctx, l.Address))
		is("e3", "l.test/dev/c", false)
	}},
}
