package dir

import (
	"errors"
	"io"
	"iter"
	"os"
	"slices"
)

// window is how many names of a directory are held at once. A directory with more is
// read again for each window.
const window = 64 << 10

// sortedNames yields the names in a directory after a name, in order, however many there are, in
// bounded memory.
func sortedNames(path, after string, size int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for {
			names, more, err := smallest(path, after, size)
			if err != nil {
				yield("", err)
				return
			}
			for _, n := range names {
				if !yield(n, nil) {
					return
				}
			}
			if !more {
				return
			}
			after = names[len(names)-1]
		}
	}
}

// smallest returns the first size names after a name, and whether there are more.
func smallest(path, after string, size int) (names []string, more bool, err error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer d.Close()
	limit := "" // names from here on are not among them
	cut := func() {
		slices.Sort(names)
		if len(names) > size {
			limit, more = names[size], true
			names = names[:size]
		}
	}
	for {
		batch, err := d.Readdirnames(1024)
		for _, n := range batch {
			if n > after && (limit == "" || n < limit) {
				names = append(names, n)
			}
		}
		if len(names) >= 2*size {
			cut()
		}
		if errors.Is(err, io.EOF) {
			cut()
			return names, more, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
}

// group is an entry's file and what lies beside it.
type group struct {
	name   entryName
	exists bool  // the entry itself is there
	st     state // the newest beside it
	why    bool  // there is a .why
	sides  []string
}

// groups yields what a queue's directory holds, oldest first. Foreign names go to odd.
func groups(path string, odd func(name string)) iter.Seq2[group, error] {
	return func(yield func(group, error) bool) {
		var g group
		open := false
		for s, err := range sortedNames(path, "", window) {
			if err != nil {
				yield(group{}, err)
				return
			}
			n, st, err := parseName(s)
			if err != nil {
				odd(s)
				continue
			}
			if open && n != g.name {
				if !yield(g, nil) {
					return
				}
				open = false
			}
			if !open {
				g, open = group{name: n}, true
			}
			switch {
			case !st.side:
				g.exists = true
			case s[21:] == whySuffix:
				g.why = true
				g.sides = append(g.sides, s)
			default:
				g.sides = append(g.sides, s)
				if st.newer(g.st) {
					g.st = st
				}
			}
		}
		if open {
			yield(g, nil)
		}
	}
}
