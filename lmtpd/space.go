package lmtpd

import (
	"sync"
	"time"
)

// lookEvery is for how long it is believed how much is free.
const lookEvery = 500 * time.Millisecond

// space watches what is free where entries are kept, so that mail is refused while there is
// still room for what is here to be worked on: settling what went out takes some, too.
type space struct {
	free func() (int64, error) // nil: there is no telling
	now  func() time.Time

	mu     sync.Mutex
	looked time.Time
	left   int64
	full   bool
}

// SetSpace makes free tell how many octets can still be kept; it is called before Run.
func (d *Daemon) SetSpace(free func() (octets int64, err error)) { d.space.free = free }

// Full tells whether mail is refused because there is less room than Config.MinFree.
func (d *Daemon) Full() bool {
	if d.Config() == nil {
		return false // it does not run yet
	}
	return d.room(0) != nil
}

// room is the refusal of a message of that size, which may be unknown, if there is no room.
func (d *Daemon) room(size int64) error {
	least := d.Config().MinFree
	s := &d.space
	if s.free == nil || least <= 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.looked.IsZero() || now.Sub(s.looked) >= lookEvery || now.Before(s.looked) {
		left, err := s.free()
		if err != nil {
			return nil // whoever keeps the message finds out what is wrong
		}
		s.left, s.looked = left, now
		d.noticeSpace(least)
	}
	if s.full || s.left-size < least {
		return replyFull
	}
	return nil
}

// noticeSpace logs that there is no room any more, or again: a sixteenth more than is
// needed, so that it does not go to and fro. s.mu is held.
func (d *Daemon) noticeSpace(least int64) {
	s := &d.space
	switch {
	case !s.full && s.left < least:
		s.full = true
		d.log.Error("the disk of the spool is nearly full: mail is answered with 452, and waits in the MTA, until there is room", "free", s.left, "min_free", least)
	case s.full && s.left >= least+least/16:
		s.full = false
		d.log.Info("the disk of the spool has room again: mail is taken", "free", s.left)
	}
}
