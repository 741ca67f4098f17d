package listen

import (
	"io/fs"
	"net"
)

// Set is what one daemon listens on, which can change while it serves. Its methods are
// for one goroutine at a time.
type Set struct {
	// Inherited are sockets that are taken over where their address is wanted, not opened.
	Inherited *Inherited

	addresses []string
	open      map[string]*Listener // by address
}

// Change opens what is new among the addresses, and closes what is no longer among them;
// what stays gets the mode. It returns the new listeners, to be served. After an error
// everything is as it was, but for modes.
func (s *Set) Change(addresses []string, mode fs.FileMode) ([]*Listener, error) {
	next := map[string]*Listener{}
	var opened []*Listener
	for _, a := range addresses {
		l := s.open[a]
		var err error
		if l != nil {
			err = l.SetMode(mode)
		} else if l, err = s.listen(a, mode); err == nil {
			opened = append(opened, l)
		}
		if err != nil {
			for _, l := range opened {
				l.Close()
			}
			return nil, err
		}
		next[a] = l
	}
	for a, l := range s.open {
		if next[a] == nil {
			l.Close()
		}
	}
	s.addresses, s.open = addresses, next
	return opened, nil
}

func (s *Set) listen(address string, mode fs.FileMode) (*Listener, error) {
	if l, err := s.Inherited.open(address); l != nil || err != nil {
		return l, err
	}
	return Open(address, mode)
}

// Addrs are the addresses that are listened on, in the order of Change.
func (s *Set) Addrs() []net.Addr {
	var out []net.Addr
	for _, a := range s.addresses {
		out = append(out, s.open[a].Addr())
	}
	return out
}

// Close closes all.
func (s *Set) Close() {
	for _, l := range s.open {
		l.Close()
	}
}
