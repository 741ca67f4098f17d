package trace

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Event is one event as it was read.
type Event struct {
	Time   time.Time
	Entry  string
	Kind   string
	List   string
	Of     string         // the entry that this one was made for, if it was
	Fields map[string]any // all of the line, as encoding/json has it
}

// maxEntries bounds what one search follows: a post and the bounces that came of it.
const maxEntries = 10_000

// Find yields what happened to an entry, or to all entries of a message whose
// Message-ID is what, and to the entries made for them (bounces, notices), in the order
// in which it was written. It looks in the newest file first for where to begin, and
// keeps no more than the ids of the entries that it follows.
//
// Whether all of a post has gone out is seen from its chunks: after the last of them,
// Find yields an event of kind Done, which no file has.
func Find(ctx context.Context, dir, what string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if err := find(ctx, dir, what, func(e Event) bool { return yield(e, nil) }); err != nil {
			yield(Event{}, fmt.Errorf("read the trace: %w", err))
		}
	}
}

func find(ctx context.Context, dir, what string, yield func(Event) bool) error {
	names, err := days(dir)
	if err != nil {
		return err
	}
	s := newSearch(what)
	from := len(names)
	for i, extra := len(names)-1, 1; i >= 0; i-- {
		here, first := false, false
		err := lines(ctx, filepath.Join(dir, names[i]+suffix), func(line []byte) bool {
			if s.begins(line) {
				here = true
				first = first || bytes.Contains(line, []byte(`"kind":"`+Kept+`"`))
			}
			return true
		})
		if err != nil {
			return err
		}
		if here {
			from = i
		}
		// A message may have come for two lists around midnight: one more day is looked at.
		if first || from < len(names) && s.message != "" {
			if s.message == "" || extra == 0 {
				break
			}
			extra--
		}
	}
	l := lives{}
	for ; from < len(names); from++ {
		more := true
		err := lines(ctx, filepath.Join(dir, names[from]+suffix), func(line []byte) bool {
			more = s.follow(line, l, yield)
			return more
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// search is what is looked for.
type search struct {
	message string // a Message-ID as it stands in a line, or ""
	entries map[string]bool
}

func newSearch(what string) *search {
	s := &search{entries: map[string]bool{}}
	if !strings.ContainsAny(what, "@<>") {
		s.entries[what] = true
		return s
	}
	what = "<" + strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(what), "<"), ">") + ">"
	s.message = `"` + KeyMessageID + `":` + string(appendString(nil, what))
	return s
}

// begins tells whether a line is of what is looked for, and learns the entries of a message.
func (s *search) begins(line []byte) bool {
	if s.message == "" {
		return s.entries[valueOf(line, `"entry":"`)]
	}
	if !bytes.Contains(line, []byte(s.message)) {
		return false
	}
	e, ok := parse(line)
	if !ok || e.Fields[KeyMessageID] == nil || len(s.entries) >= maxEntries {
		return false // the words stood in some text
	}
	s.entries[e.Entry] = true
	return true
}

// follow yields the event of a line if it is of an entry that is followed, or of one made for it.
func (s *search) follow(line []byte, l lives, yield func(Event) bool) bool {
	if !s.entries[valueOf(line, `"entry":"`)] && !s.entries[valueOf(line, `"`+KeyOf+`":"`)] {
		return true
	}
	e, ok := parse(line)
	if !ok || !s.entries[e.Entry] && !s.entries[e.Of] {
		return true
	}
	if len(s.entries) < maxEntries {
		s.entries[e.Entry] = true
	}
	if !yield(e) {
		return false
	}
	if done, ok := l.add(e); ok {
		return yield(done)
	}
	return true
}

// valueOf reads a plain string without parsing the line: most lines are not of interest.
func valueOf(line []byte, key string) string {
	_, after, ok := bytes.Cut(line, []byte(key))
	if !ok {
		return ""
	}
	value, _, _ := bytes.Cut(after, []byte(`"`))
	return string(value)
}

// parse reads a line; one that is damaged is none.
func parse(line []byte) (Event, bool) {
	var e Event
	if json.Unmarshal(line, &e.Fields) != nil {
		return e, false
	}
	text := func(key string) string { s, _ := e.Fields[key].(string); return s }
	e.Entry, e.Kind, e.List, e.Of = text("entry"), text("kind"), text("list"), text(KeyOf)
	var err error
	e.Time, err = time.Parse(time.RFC3339Nano, text("time"))
	return e, err == nil && e.Entry != "" && e.Kind != ""
}

// lines calls do with each whole line of a file until it says no. A line that is too
// long, or not ended, is passed over; a file that is gone has none.
func lines(ctx context.Context, path string, do func(line []byte) bool) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 64<<10)
	for long := false; ; {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = true
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
		if !long && !do(line) {
			return nil
		}
		long = false
	}
}
