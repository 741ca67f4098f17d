package trace

// life is what is known of how far a post has come.
type life struct {
	chunks   int // that it was prepared with; 0: not known
	finished map[string]bool
	done     bool
}

// lives follows posts, by entry.
type lives map[string]*life

// add takes an event in. When it was the last that was missing, nothing of the post is
// left to do: add returns the event that says so.
func (l lives) add(e Event) (Event, bool) {
	switch e.Kind {
	case Prepared, Sent:
	default:
		return Event{}, false
	}
	p := l[e.Entry]
	if p == nil {
		p = &life{finished: map[string]bool{}}
		l[e.Entry] = p
	}
	if e.Kind == Prepared {
		n, _ := e.Fields["chunks"].(float64)
		p.chunks = int(n)
	} else if left, ok := e.Fields["left"].(float64); ok && left == 0 {
		if name, ok := e.Fields["chunk"].(string); ok {
			p.finished[name] = true
		}
	}
	if p.done || p.chunks == 0 || len(p.finished) < p.chunks {
		return Event{}, false
	}
	p.done = true
	const reason = "every chunk has gone out"
	return Event{Time: e.Time, Entry: e.Entry, Kind: Done, List: e.List, Fields: map[string]any{
		"time": e.Time.Format(timeForm), "entry": e.Entry, "kind": Done, "list": e.List, "reason": reason,
	}}, true
}
