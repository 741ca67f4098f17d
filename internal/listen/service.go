package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"sync"
	"sync/atomic"
)

// Service is what daemons that listen have in common: it runs once, opens the sockets that
// a configuration of type C names, serves them, and changes over to another configuration
// while it runs. Its methods may be called from any goroutine.
type Service[C any] struct {
	kind   Kind[C]
	ready  chan struct{}
	failed chan error // a listener that can no longer accept
	cfg    atomic.Pointer[C]

	mu      sync.Mutex
	state   state
	first   C // what Run starts with
	set     Set
	serving sync.WaitGroup // one for each goroutine in kind.Serve
}

// Kind is what one kind of daemon does its own way.
type Kind[C any] struct {
	Name string // of the daemon, in errors
	// Complete returns the configuration with its defaults, or what is wrong with it.
	Complete func(C) (*C, error)
	// Sockets are where a complete configuration listens, and the mode of unix sockets.
	Sockets func(*C) (addresses []string, mode fs.FileMode)
	// Serve serves what it accepts until the listener is closed. When it has returned,
	// nothing is accepted any more; connections may go on.
	Serve func(*Listener) error
}

type state int

const (
	fresh state = iota
	running
	stopped
)

// NewService makes a service that Run will start with cfg.
func NewService[C any](cfg C, kind Kind[C]) *Service[C] {
	return &Service[C]{kind: kind, first: cfg, ready: make(chan struct{}), failed: make(chan error, 1)}
}

// SetInherited names sockets that are to be taken over where the configuration has their
// address. It is to be called before Run.
func (s *Service[C]) SetInherited(in *Inherited) { s.set.Inherited = in }

// Ready is closed when all listeners are bound.
func (s *Service[C]) Ready() <-chan struct{} { return s.ready }

// Addrs are the addresses that are listened on, in the order of the configuration.
func (s *Service[C]) Addrs() []net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.set.Addrs()
}

// Config is the configuration in effect, complete. It is there once Run has started.
func (s *Service[C]) Config() *C { return s.cfg.Load() }

// Run listens and serves until ctx ends or a listener fails. When it returns nothing
// listens or accepts any more; connections are the daemon's to end. It may be called once.
func (s *Service[C]) Run(ctx context.Context) error {
	if err := s.start(); err != nil {
		return fmt.Errorf("%s: %w", s.kind.Name, err)
	}
	close(s.ready)
	var err error
	select {
	case <-ctx.Done():
	case err = <-s.failed:
	}
	s.mu.Lock()
	s.state = stopped
	s.set.Close()
	s.mu.Unlock()
	s.serving.Wait()
	return err
}

func (s *Service[C]) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != fresh {
		return errors.New("was run before")
	}
	s.state = stopped // unless all goes well
	if err := s.apply(s.first); err != nil {
		return err
	}
	s.state = running
	return nil
}

// Reload takes on a new configuration. Listeners whose address is unchanged stay open, and
// connections go on. After an error everything is as it was. Before Run it sets what Run
// starts with.
func (s *Service[C]) Reload(cfg C) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case fresh:
		if _, err := s.kind.Complete(cfg); err != nil {
			return err
		}
		s.first = cfg
		return nil
	case stopped:
		return fmt.Errorf("%s: reload: has stopped", s.kind.Name)
	}
	if err := s.apply(cfg); err != nil {
		return fmt.Errorf("%s: reload: %w", s.kind.Name, err)
	}
	return nil
}

// apply takes a configuration on, whole or not at all.
func (s *Service[C]) apply(cfg C) error {
	c, err := s.kind.Complete(cfg)
	if err != nil {
		return err
	}
	opened, err := s.set.Change(s.kind.Sockets(c))
	if err != nil {
		return err
	}
	s.cfg.Store(c)
	for _, l := range opened {
		s.serving.Go(func() { s.serve(l) })
	}
	return nil
}

func (s *Service[C]) serve(l *Listener) {
	err := s.kind.Serve(l)
	if err == nil || errors.Is(err, net.ErrClosed) {
		return
	}
	select {
	case s.failed <- fmt.Errorf("%s: accept on %s: %w", s.kind.Name, l.Addr(), err):
	default: // one is enough to end Run
	}
}
