package metrics

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// lists counts by list, where that is wanted: for a bounded number of them, those that get
// mail first. Zero counts none.
type lists struct {
	entries, recipients *prometheus.CounterVec

	mu    sync.Mutex
	most  int
	known map[string]bool
}

// CountLists says how many lists have counters of their own. Those that have them keep them.
func (m *Metrics) CountLists(most int) {
	l := &m.Pipeline.lists
	l.mu.Lock()
	defer l.mu.Unlock()
	l.most = most
}

// label is the list if it is one of those that are counted; ok is false if none are.
func (l *lists) label(list string) (label string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.most <= 0 {
		return "", false
	}
	list = strings.ToValidUTF8(list, "?")
	if !l.known[list] {
		if len(l.known) >= l.most {
			return "other", true
		}
		if l.known == nil {
			l.known = map[string]bool{}
		}
		l.known[list] = true
	}
	return list, true
}

func (l *lists) entry(list, outcome string) {
	if label, ok := l.label(list); ok {
		l.entries.WithLabelValues(label, outcome).Inc()
	}
}

func (l *lists) sent(list string, recipients int64) {
	if label, ok := l.label(list); ok {
		l.recipients.WithLabelValues(label).Add(float64(recipients))
	}
}
