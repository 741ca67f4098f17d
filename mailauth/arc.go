package mailauth

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/mlist/mlist/sdk/message"
)

// maxSets is how many ARC sets a message may have (RFC 8617 4.2.1).
const maxSets = 50

// Names of the three fields of an ARC set.
const (
	aarName = "ARC-Authentication-Results"
	amsName = "ARC-Message-Signature"
	asName  = "ARC-Seal"
)

// chain is the ARC sets of a message.
type chain struct {
	sets   []arcSet
	sealer string
	closed bool
	err    error // what is wrong with its form
	ams    *judged
	seals  []*judged // by instance, from 1
}

// arcSet is one set: the three fields of one instance.
type arcSet struct{ aar, ams, seal *message.Field }

// field returns where a field of that name belongs.
func (s *arcSet) field(name string) **message.Field {
	switch {
	case strings.EqualFold(name, aarName):
		return &s.aar
	case strings.EqualFold(name, amsName):
		return &s.ams
	case strings.EqualFold(name, asName):
		return &s.seal
	}
	return nil
}

// readChain collects the sets and checks their form (RFC 8617 5.2, steps 1 to 3).
func readChain(h *message.Header) *chain {
	c := &chain{}
	for f := range h.Fields() {
		if (&arcSet{}).field(f.Name) == nil {
			continue
		}
		n, err := instance(f)
		if err != nil {
			c.err = fmt.Errorf("%s: %w", f.Name, err)
			c.sets, c.closed = append(c.sets, arcSet{}), true // there is something, and nobody can say what
			return c
		}
		for len(c.sets) < n {
			c.sets = append(c.sets, arcSet{})
		}
		at := c.sets[n-1].field(f.Name)
		if *at != nil && c.err == nil {
			c.err = fmt.Errorf("two fields %s with i=%d", f.Name, n)
		}
		*at = &f
	}
	if c.err == nil && len(c.sets) > 0 {
		c.err = c.parse()
	}
	return c
}

// instance reads i= of an ARC field.
func instance(f message.Field) (int, error) {
	v := value(f)
	if strings.EqualFold(f.Name, aarName) {
		// Authentication results are no tag list; i= is what they begin with.
		first, _, ok := strings.Cut(v, ";")
		if !ok {
			return 0, errors.New("no instance")
		}
		v = first
	}
	t, err := parseTags(v)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(t["i"])
	if err != nil || n < 1 || n > maxSets {
		return 0, fmt.Errorf("i=%.20q is no instance", t["i"])
	}
	return n, nil
}

// parse reads seals and the newest message signature.
func (c *chain) parse() error {
	for i, set := range c.sets {
		if set.aar == nil || set.ams == nil || set.seal == nil {
			return fmt.Errorf("set %d is not complete", i+1)
		}
		s := &signature{field: *set.seal, limit: -1}
		if err := s.parseSeal(i + 1); err != nil {
			c.closed = c.closed || i == len(c.sets)-1 && s.tags["cv"] == "fail"
			return fmt.Errorf("seal %d: %w", i+1, err)
		}
		c.seals = append(c.seals, &judged{signature: s})
		c.sealer = s.domain
	}
	// RFC 8617 5.2 step 4: only the newest has to hold; older ones are broken by what
	// those after them changed.
	s := &signature{field: *c.sets[len(c.sets)-1].ams, limit: -1}
	if err := s.parseAMS(); err != nil {
		return fmt.Errorf("message signature %d: %w", len(c.sets), err)
	}
	c.ams = &judged{signature: s}
	return nil
}

func (s *signature) parseSeal(n int) (err error) {
	if s.tags, err = parseTags(value(s.field)); err != nil {
		return err
	}
	s.name()
	if err := s.tags.has("a", "b", "cv", "d", "s"); err != nil {
		return err
	}
	if _, ok := s.tags["h"]; ok {
		return errors.New("it has a tag h") // RFC 8617 4.1.3
	}
	want := "pass"
	if n == 1 {
		want = "none"
	}
	if cv := s.tags["cv"]; cv != want {
		return fmt.Errorf("cv=%.20q", cv)
	}
	s.header = Relaxed
	return s.common()
}

func (s *signature) parseAMS() (err error) {
	if s.tags, err = parseTags(value(s.field)); err != nil {
		return err
	}
	s.name()
	if err := s.tags.has("a", "b", "bh", "d", "s"); err != nil {
		return err
	}
	if _, ok := s.tags["h"]; !ok {
		return errors.New("tag h is missing")
	}
	if err := s.common(); err != nil {
		return err
	}
	// RFC 8617 has no default of its own, and DKIM's would be simple; but the working group's
	// test suite, and who verifies ARC, take it for relaxed.
	s.header, s.body = Relaxed, Relaxed
	if err := s.message(); err != nil {
		return err
	}
	if containsFold(s.fields, asName) {
		return errors.New("it signs seals") // RFC 8617 4.1.2
	}
	return nil
}

// signatures are those that have to be verified.
func (c *chain) signatures() []*judged {
	if c.err != nil || c.ams == nil {
		return nil
	}
	return append([]*judged{c.ams}, c.seals...)
}

// judge says what comes of the chain: RFC 8617 5.2, steps 4 to 7.
func (c *chain) judge(fields *fieldIndex, sums map[*BodyHash][]byte) Chain {
	out := Chain{Result: None, Sets: len(c.sets), Sealer: c.sealer, Closed: c.closed}
	if len(c.sets) == 0 {
		return out
	}
	result, err := Fail, c.err
	if err == nil {
		result, err = c.verify(fields, sums)
	}
	out.Result = Pass
	if err != nil {
		out.Result, out.Reason = result, err.Error()
	}
	return out
}

func (c *chain) verify(fields *fieldIndex, sums map[*BodyHash][]byte) (Result, error) {
	check := func(j *judged, hash func() []byte) (Result, error) {
		if j.err == nil {
			j.check(hash(), sums)
		}
		if j.err == nil {
			return Pass, nil
		}
		if j.result == TempError {
			return TempError, j.err
		}
		return Fail, j.err // RFC 8617 knows no other word
	}
	n := len(c.sets)
	if r, err := check(c.ams, func() []byte { return c.ams.headerHash(fields) }); err != nil {
		return r, fmt.Errorf("message signature %d: %w", n, err)
	}
	for i := n; i > 0; i-- {
		if r, err := check(c.seals[i-1], func() []byte { return sealHash(c.sets[:i]) }); err != nil {
			return r, fmt.Errorf("seal %d: %w", i, err)
		}
	}
	return Pass, nil
}

// sealHash is the hash that the newest seal of these sets signs (RFC 8617 5.1.1).
func sealHash(sets []arcSet) []byte {
	var b strings.Builder
	for i, s := range sets {
		b.WriteString(relaxedField(string(s.aar.Raw)))
		b.WriteString(relaxedField(string(s.ams.Raw)))
		if i < len(sets)-1 {
			b.WriteString(relaxedField(string(s.seal.Raw)))
		} else {
			b.WriteString(strings.TrimSuffix(relaxedField(withoutB(string(s.seal.Raw))), "\r\n"))
		}
	}
	return sum256(b.String())
}

// ChainOf is what a message's ARC sets look like: how many, and whether another can be added.
// Whether they hold is for Verify to say, or for whoever is trusted to have looked: result.
func ChainOf(h *message.Header, result Result) Chain {
	c := readChain(h)
	return Chain{Result: result, Sets: len(c.sets), Sealer: c.sealer, Closed: c.closed}
}
