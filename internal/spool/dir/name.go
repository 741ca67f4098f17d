package dir

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// newID makes an id of 55 bits of time in microseconds and 25 random ones. Ids of
// one process rise strictly, whatever its clock does.
func (s *Spool) newID() spool.ID {
	var us int64
	for {
		last := s.lastID.Load()
		us = max(time.Now().UnixMicro(), last+1)
		if s.lastID.CompareAndSwap(last, us) {
			break
		}
	}
	var r [4]byte
	_, _ = rand.Read(r[:]) // never fails
	return spool.MakeID(uint64(us), binary.BigEndian.Uint32(r[:]))
}

// entryName names an entry's file in every queue, and its post's directory in outgoing.
type entryName struct {
	id  spool.ID
	key segment.Key
}

func (n entryName) String() string { return string(n.id) + "-" + n.key.String() }

// state is what the name of a file tells beside whose it is: how many tries have
// failed, and until when to wait. A higher number of tries is the newer state; of
// two equal ones, that without a due time is (an operator's retry took it away).
type state struct {
	tries int
	due   int64 // µs since 1970; 0 is now
	side  bool  // there is a file that tells more
}

func (a state) newer(b state) bool {
	if a.tries != b.tries {
		return a.tries > b.tries
	}
	if a.side != b.side {
		return a.side
	}
	return a.due == 0 && b.due != 0
}

func (a state) dueTime() time.Time {
	if a.due == 0 {
		return time.Time{}
	}
	return time.UnixMicro(a.due).UTC()
}

func (a state) suffix() string {
	s := ".try" + strconv.Itoa(a.tries)
	if a.due != 0 {
		s += ".due" + strconv.FormatInt(a.due, 10)
	}
	return s
}

func stateAt(tries int, due time.Time) state {
	st := state{tries: tries, side: true}
	if !due.IsZero() {
		st.due = max(due.UnixMicro(), 1)
	}
	return st
}

// parseState reads a suffix: ".try2" or ".try2.due1763990000000000".
func parseState(s string) (state, bool) {
	rest, ok := strings.CutPrefix(s, ".try")
	if !ok {
		return state{}, false
	}
	tries, due, hasDue := strings.Cut(rest, ".due")
	st := state{side: true}
	var err error
	if st.tries, err = strconv.Atoi(tries); err != nil || st.tries < 0 {
		return state{}, false
	}
	if hasDue {
		if st.due, err = strconv.ParseInt(due, 10, 64); err != nil || st.due <= 0 {
			return state{}, false
		}
	}
	return st, st.suffix() == s // one spelling only
}

const whySuffix = ".why" // beside an entry in held and failed

// parseName reads the name of a file in a queue. st.side tells that it lies beside an entry.
func parseName(s string) (n entryName, st state, err error) {
	bad := func() (entryName, state, error) {
		return entryName{}, state{}, fmt.Errorf("name %.60q: not an entry's", s)
	}
	if len(s) < 21 || s[16] != '-' || strings.ToLower(s[17:21]) != s[17:21] {
		return bad()
	}
	if n.id, err = spool.CheckID(s[:16]); err != nil {
		return bad()
	}
	if n.key, err = segment.ParseKey(s[17:21]); err != nil {
		return bad()
	}
	if n.String() != s[:21] {
		return bad()
	}
	switch rest := s[21:]; rest {
	case "":
		return n, state{}, nil
	case whySuffix:
		return n, state{side: true}, nil
	default:
		st, ok := parseState(rest)
		if !ok {
			return bad()
		}
		return n, st, nil
	}
}

// chunkFile is the name of a chunk's file: KEY-NAME, and a state after a deferral. Several
// chunks may share a file, of which each has a name that tells its part.
type chunkFile struct {
	key  segment.Key
	name string // digits
	state
	from, to int64 // its octets; to is 0 if all of the file is the chunk's
	small    bool  // the post is one file, which has this chunk alone
}

func (c chunkFile) base() string { return c.key.String() + "-" + c.name }

const partInfix = ".part" // before the octets in the name of a chunk that shares its file

func (c chunkFile) String() string {
	switch {
	case c.side:
		return c.base() + c.suffix()
	case c.to > 0:
		return c.base() + partInfix + strconv.FormatInt(c.from, 10) + "-" + strconv.FormatInt(c.to, 10)
	}
	return c.base()
}

func parseChunkFile(s string) (chunkFile, bool) {
	var c chunkFile
	base, suffix := s, ""
	if dot := strings.IndexByte(s, '.'); dot >= 0 {
		base, suffix = s[:dot], s[dot:]
	}
	if len(base) < 6 || base[4] != '-' {
		return c, false
	}
	var err error
	if c.key, err = segment.ParseKey(base[:4]); err != nil || c.key.String() != base[:4] {
		return c, false
	}
	c.name = base[5:]
	for _, r := range c.name {
		if r < '0' || r > '9' {
			return c, false
		}
	}
	if suffix == "" {
		return c, true
	}
	if part, ok := strings.CutPrefix(suffix, partInfix); ok {
		from, to, _ := strings.Cut(part, "-")
		if c.from, err = strconv.ParseInt(from, 10, 64); err == nil {
			c.to, err = strconv.ParseInt(to, 10, 64)
		}
		return c, err == nil && c.from >= 0 && c.to > c.from && c.String() == s // one spelling only
	}
	var ok bool
	c.state, ok = parseState(suffix)
	return c, ok
}
