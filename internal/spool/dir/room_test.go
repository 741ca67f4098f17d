package dir

import (
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/spool"
)

func TestNewMailLeavesRoomForWhatIsHere(t *testing.T) {
	const gib = 1 << 30
	tests := []struct {
		name        string
		free, total uint64
		q           spool.Queue
		ok          bool
	}{
		{"much is free", gib, 10 * gib, spool.Incoming, true},
		{"only the reserve is free", 64 << 20, 10 * gib, spool.Incoming, false},
		{"a small disk keeps a smaller reserve", 2 << 20, 6 << 20, spool.Incoming, true},
		{"and refuses at that", 300 << 10, 6 << 20, spool.Incoming, false},
		{"bounces may use it: they make room", 300 << 10, 6 << 20, spool.Bounces, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Open(t.TempDir()+"/spool", Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			s.fs.space = func(string) (uint64, uint64, error) { return tt.free, tt.total, nil }
			d, err := s.Create(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if _, err := io.WriteString(d, "Subject: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			_, err = d.Put(t.Context(), tt.q, "", spool.Envelope{List: "dev@l.test"})
			if tt.ok && err != nil || !tt.ok && !errors.Is(err, unix.ENOSPC) {
				t.Errorf("Put: %v", err)
			}
		})
	}
}

func TestADroppedPostLeavesNothingWithoutAnOwner(t *testing.T) {
	s, err := Open(t.TempDir()+"/spool", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	putFor(t, s, spool.Incoming, "", "dev@l.test")
	in, out := ownBoth(t, s)
	e := commitOne(t, in, "ann@net.test")
	if err := errors.Join(in.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
	if err := s.RemovePost(t.Context(), e.ID); err != nil {
		t.Fatal(err)
	}
	for n, err := range sortedNames(s.path(spool.Outgoing, ""), "", window) {
		inside, _ := os.ReadDir(s.path(spool.Outgoing, n))
		t.Errorf("outgoing still has %s with %v (%v)", n, inside, err)
	}
}
