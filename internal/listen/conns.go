package listen

import (
	"maps"
	"slices"
	"sync"
)

// Conns are the connections of one daemon that are open. The zero value has none; its methods
// may be called from any goroutine.
type Conns[C comparable] struct {
	mu   sync.Mutex
	open map[C]struct{}
	all  sync.WaitGroup
}

// Admit takes a connection in, unless there are as many as may be. Each that is taken in must
// be forgotten once.
func (s *Conns[C]) Admit(c C, most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= most {
		return false
	}
	if s.open == nil {
		s.open = map[C]struct{}{}
	}
	s.open[c] = struct{}{}
	s.all.Add(1)
	return true
}

// Forget is for a connection that has ended.
func (s *Conns[C]) Forget(c C) {
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
	s.all.Done()
}

// Len tells how many are open.
func (s *Conns[C]) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// Each calls do for each that is open, or was a moment ago.
func (s *Conns[C]) Each(do func(C)) {
	s.mu.Lock()
	open := slices.Collect(maps.Keys(s.open))
	s.mu.Unlock()
	for _, c := range open {
		do(c)
	}
}

// Wait waits until all are forgotten. By then none may be new.
func (s *Conns[C]) Wait() { s.all.Wait() }
