package trace

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// Post is how far a post of a list has come, as its events tell.
type Post struct {
	Entry      string
	At         time.Time // when it was prepared
	Recipients int
	Accepted   int     // of these, by the MTA so far
	Done       bool    // nothing is left of it
	Recalled   bool    // an operator took the rest back
	Named      []Reply // those who were refused or deferred, as far as they were named; in the order of time
}

// Posts returns the newest posts of a list, n at most, oldest first. It reads the newest
// files until it has found so many.
func Posts(ctx context.Context, dir, list string, n int) ([]Post, error) {
	out, err := posts(ctx, dir, list, n)
	if err != nil {
		return nil, fmt.Errorf("read the trace: %w", err)
	}
	return out, nil
}

func posts(ctx context.Context, dir, list string, n int) ([]Post, error) {
	names, err := days(dir)
	if err != nil {
		return nil, err
	}
	var found []Post
	from := len(names)
	for ; from > 0 && len(found) < n; from-- {
		var here []Post
		err := lines(ctx, filepath.Join(dir, names[from-1]+suffix), func(line []byte) bool {
			if p, ok := prepared(line, list); ok {
				here = append(here, p)
				here = here[max(0, len(here)-n):]
			}
			return true
		})
		if err != nil {
			return nil, err
		}
		found = append(here, found...)
	}
	found = slices.Clip(found[max(0, len(found)-n):])
	is := map[string]*Post{}
	for i := range found {
		is[found[i].Entry] = &found[i]
	}
	l := lives{}
	for ; from < len(names); from++ {
		err := lines(ctx, filepath.Join(dir, names[from]+suffix), func(line []byte) bool {
			p := is[valueOf(line, `"entry":"`)]
			if p == nil {
				return true
			}
			if e, ok := parse(line); ok && e.Entry == p.Entry {
				p.add(e)
				_, done := l.add(e)
				p.Done = p.Done || done
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// prepared reads the event that a post of the list is about to go out. Only posts have a
// number.
func prepared(line []byte, list string) (Post, bool) {
	if !bytes.Contains(line, []byte(`"kind":"`+Prepared+`"`)) {
		return Post{}, false
	}
	e, ok := parse(line)
	if !ok || e.Kind != Prepared || e.List != list || e.Fields["number"] == nil {
		return Post{}, false
	}
	return Post{Entry: e.Entry, At: e.Time, Recipients: number(e.Fields["recipients"])}, true
}

// add takes in what became of some of its recipients.
func (p *Post) add(e Event) {
	switch e.Kind {
	case Recalled:
		p.Recalled = true
	case Sent:
		p.Accepted += number(e.Fields["accepted"])
		replies, _ := e.Fields["replies"].([]any)
		for _, r := range replies {
			f, _ := r.(map[string]any)
			text := func(key string) string { s, _ := f[key].(string); return s }
			p.Named = append(p.Named, Reply{Recipient: text("recipient"), Outcome: text("outcome"), Reply: text("reply")})
		}
		p.Named = p.Named[max(0, len(p.Named)-maxNamed):]
	}
}

// maxNamed bounds the recipients of a post that are remembered.
const maxNamed = 10_000

func number(v any) int {
	n, _ := v.(float64)
	return int(n)
}
