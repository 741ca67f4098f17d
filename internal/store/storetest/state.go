package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/mlist/mlist/internal/store"
)

// state reads what a run of the post of entry sees; "-" is nothing.
func (w *world) state(listID int64, entry, plugin, key string) string {
	w.Helper()
	value, ok, err := w.PluginState(w.ctx, listID, entry, plugin, key)
	w.ok(err)
	if !ok {
		if value != nil {
			w.Errorf("no value, and yet it is %q", value)
		}
		return "-"
	}
	return string(value)
}

// sees complains unless a run of the post of entry sees want.
func (w *world) sees(what string, listID int64, entry, plugin, key, want string) {
	w.Helper()
	if got := w.state(listID, entry, plugin, key); got != want {
		w.Errorf("%s: %s is %q, want %q", what, key, got, want)
	}
}

func statePost(listID int64, entry string, edits ...store.StateEdit) store.Post {
	return store.Post{ListID: listID, Entry: entry, Digest: []byte(entry), At: at, State: edits}
}

func set(key, value string) store.StateEdit {
	return store.StateEdit{Plugin: "p", Key: key, Kind: store.StateSet, Value: []byte(value)}
}

func add(key string, n int64) store.StateEdit {
	return store.StateEdit{Plugin: "p", Key: key, Kind: store.StateAdd, Delta: n}
}

var stateTests = []test{
	{"state is changed in order, with the post's number, and once", func(w *world) {
		l := w.list("dev@l.test")
		first := statePost(l.ID, "e1", set("a", "1"), set("a", "\x00\xff"), add("n", 4), add("n", -1), set("gone", "x"),
			store.StateEdit{Plugin: "p", Key: "gone", Kind: store.StateDelete}, set("empty", ""), set("word", "seven"), add("word", 7))
		w.sees("before", l.ID, "e1", "p", "n", "-")
		for range 2 {
			w.same("file", w.file(first, true), store.PostRecord{Number: 1, Entry: "e1"})
			for key, want := range map[string]string{"a": "\x00\xff", "n": "3", "gone": "-", "empty": "", "word": "7", "other": "-"} {
				w.sees("another post", l.ID, "e2", "p", key, want)
			}
		}
	}},
	{"a post that is run again sees what was there before it", func(w *world) {
		l := w.list("dev@l.test")
		w.file(statePost(l.ID, "e1", set("a", "old"), add("n", 1), set("empty", "")), true)
		w.file(statePost(l.ID, "e2", set("a", "new"), set("a", "newer"), add("n", 1), set("fresh", "x"), set("empty", "x")), true)
		for key, want := range map[string]string{"a": "old", "n": "1", "fresh": "-", "empty": ""} {
			w.sees("the second", l.ID, "e2", "p", key, want)
		}
		for key, want := range map[string]string{"a": "newer", "n": "2", "fresh": "x"} {
			w.sees("a third", l.ID, "e3", "p", key, want)
		}
	}},
	{"a held post changes state when it is accepted", func(w *world) {
		l := w.list("dev@l.test")
		held := statePost(l.ID, "held", add("n", 1))
		w.file(held, false)
		w.sees("held", l.ID, "x", "p", "n", "-")
		w.file(held, true)
		w.file(held, true)
		w.sees("accepted", l.ID, "x", "p", "n", "1")
		w.sees("accepted, run again", l.ID, "held", "p", "n", "-")
	}},
	{"a duplicate changes no state", func(w *world) {
		l := w.list("dev@l.test")
		first := statePost(l.ID, "e1", add("n", 1))
		w.file(first, true)
		first.Entry = "e2"
		if r := w.file(first, true); !r.Duplicate {
			w.Errorf("record %+v", r)
		}
		w.sees("after", l.ID, "x", "p", "n", "1")
	}},
	{"lists and plugins do not see each other's state", func(w *world) {
		l, other := w.list("dev@l.test"), w.list("ops@l.test")
		w.file(statePost(l.ID, "e1", set("a", "mine")), true)
		w.sees("another list", other.ID, "x", "p", "a", "-")
		w.sees("another plugin", l.ID, "x", "q", "a", "-")
		w.sees("the same", l.ID, "x", "p", "a", "mine")
	}},
	{"a change of no kind files nothing", func(w *world) {
		l := w.list("dev@l.test")
		_, err := w.FilePost(w.ctx, statePost(l.ID, "e1", add("n", 1), store.StateEdit{Plugin: "p", Key: "k"}), true, window)
		w.fails(err)
		w.sees("after", l.ID, "x", "p", "n", "-")
		w.same("the next", w.file(statePost(l.ID, "e2"), true), store.PostRecord{Number: 1, Entry: "e2"})
	}},
	{"state stays when its posts are pruned, and goes with the list", func(w *world) {
		l := w.list("dev@l.test")
		for i := range 3 {
			w.file(statePost(l.ID, fmt.Sprint("e", i), add("n", 1)), true)
		}
		w.ok(w.Prune(w.ctx, at.Add(time.Second)))
		w.sees("a pruned post", l.ID, "e0", "p", "n", "3")
		w.ok(w.DeleteList(w.ctx, l.Address))
		w.sees("a deleted list", l.ID, "x", "p", "n", "-")
	}}, {"what one plugin keeps for a list is bounded", func(w *world) {
		l, other := w.list("dev@l.test"), w.list("ops@l.test")
		limits := store.StateLimits{Keys: 3, Bytes: 20}
		n := 0
		file := func(listID int64, edits ...store.StateEdit) error {
			n++
			p := statePost(listID, fmt.Sprint("e", n), edits...)
			p.StateLimits = limits
			r, err := w.FilePost(w.ctx, p, true, window)
			if err == nil && r.Number == 0 {
				w.Errorf("post %d has no number", n)
			}
			return err
		}
		full := func(what string, err error, keys, bytes int64) {
			w.Helper()
			var f *store.StateFullError
			if !errors.As(err, &f) || f.Plugin != "p" || f.Keys != keys || f.Bytes != bytes {
				w.Errorf("%s: %v, want that there would be %d keys with %d bytes", what, err, keys, bytes)
			}
		}
		w.ok(file(l.ID, set("a", "1"), set("b", "22"), set("b", "2"), set("c", ""), set("d", ""), store.StateEdit{Plugin: "p", Key: "d", Kind: store.StateDelete}))
		full("a fourth key", file(l.ID, add("n", 1)), 4, 7)
		w.sees("after that", l.ID, "x", "p", "n", "-")
		full("a long value", file(l.ID, set("a", "0123456789abcdefg")), 3, 21)
		w.ok(file(l.ID, set("a", "0123456789abcdef"))) // 20 bytes
		full("one byte more", file(l.ID, set("c", "x")), 3, 21)
		w.ok(file(l.ID, set("a", "0123456789abcde"), set("c", "x"))) // as many as before
		w.ok(file(other.ID, set("a", "1")))
		q := set("a", "1")
		q.Plugin = "q"
		w.ok(file(l.ID, q))
		limits = store.StateLimits{Keys: 1, Bytes: 5}
		w.ok(file(l.ID, store.StateEdit{Plugin: "p", Key: "b", Kind: store.StateDelete}, set("a", "shorter"))) // less than before, and still too much
		full("more again", file(l.ID, set("a", "longer a")), 2, 11)
		w.ok(file(l.ID)) // a post that changes nothing
		limits = store.StateLimits{}
		w.ok(file(l.ID, set("a", "0123456789abcdefghijklmnopqrstuvwxyz"), set("x", "y"), set("z", "y")))
		w.sees("without limits", l.ID, "x", "p", "z", "y")
		if r := w.file(statePost(l.ID, "last"), true); r.Number != 8 {
			w.Errorf("the next post has number %d: those that were refused have taken one", r.Number)
		}
	}},
}
