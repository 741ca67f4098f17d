// Package segment is the hash space that daemons share: a queue entry has a
// 16-bit Key, and a daemon serves the keys inside the Set of ranges it owns.
//
// Two daemons whose sets do not overlap never want the same entry, so they need
// no lock between them.
package segment

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
)

// Key is a point of the hash space. Its text form is four lower-case hex digits.
type Key uint16

// KeyOf hashes the parts, with a separator between them, to a key. Several parts are mixed once
// more: names that differ in a last digit, as those of a post's chunks do, would else have keys
// near to each other, and one daemon many of them. The function is part of the spool's format: it
// may never change.
func KeyOf(parts ...string) Key {
	h := fnv.New32a()
	for i, p := range parts {
		if i > 0 {
			h.Write([]byte{0})
		}
		h.Write([]byte(p))
	}
	sum := h.Sum32()
	if len(parts) > 1 {
		sum = mix(sum)
	}
	return Key(sum>>16) ^ Key(sum&0xffff)
}

// mix spreads what differs in few bits (the finalizer of MurmurHash3).
func mix(h uint32) uint32 {
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	return h ^ h>>16
}

func (k Key) String() string { return fmt.Sprintf("%04x", uint16(k)) }

// ParseKey reads four hex digits.
func ParseKey(s string) (Key, error) {
	if len(s) != 4 {
		return 0, fmt.Errorf("key %q: want four hex digits", s)
	}
	n, err := strconv.ParseUint(s, 16, 16)
	if err != nil {
		return 0, fmt.Errorf("key %q: want four hex digits", s)
	}
	return Key(n), nil
}

// Range is the keys from First to Last, both included.
type Range struct{ First, Last Key }

func (r Range) String() string { return r.First.String() + "-" + r.Last.String() }

// Set is ranges in rising order that neither overlap nor touch.
type Set []Range

// All is the whole hash space.
var All = Set{{0, 0xffff}}

// Parse reads ranges such as "0000-7fff" or "0000-3fff,8000-bfff".
func Parse(s string) (Set, error) {
	var set Set
	for part := range strings.SplitSeq(s, ",") {
		first, last, ok := strings.Cut(strings.TrimSpace(part), "-")
		if !ok {
			return nil, fmt.Errorf("segments %q: want ranges such as 0000-7fff", s)
		}
		a, err := ParseKey(first)
		if err != nil {
			return nil, fmt.Errorf("segments %q: %w", s, err)
		}
		b, err := ParseKey(last)
		if err != nil {
			return nil, fmt.Errorf("segments %q: %w", s, err)
		}
		if b < a {
			return nil, fmt.Errorf("segments %q: %s comes before %s", s, b, a)
		}
		set = append(set, Range{a, b})
	}
	slices.SortFunc(set, func(a, b Range) int { return int(a.First) - int(b.First) })
	out := set[:1]
	for _, r := range set[1:] {
		last := &out[len(out)-1]
		switch {
		case r.First <= last.Last:
			return nil, fmt.Errorf("segments %q: %s and %s overlap", s, *last, r)
		case r.First == last.Last+1:
			last.Last = r.Last
		default:
			out = append(out, r)
		}
	}
	return out, nil
}

// Contains tells whether the set has key k.
func (s Set) Contains(k Key) bool {
	for _, r := range s {
		if k >= r.First && k <= r.Last {
			return true
		}
	}
	return false
}

// Overlap returns the first range that both sets have, if any.
func (s Set) Overlap(t Set) (Range, bool) {
	for _, a := range s {
		for _, b := range t {
			if first, last := max(a.First, b.First), min(a.Last, b.Last); first <= last {
				return Range{first, last}, true
			}
		}
	}
	return Range{}, false
}

func (s Set) String() string {
	parts := make([]string, len(s))
	for i, r := range s {
		parts[i] = r.String()
	}
	return strings.Join(parts, ",")
}

// Part is how much of the hash space the set is, from 0 to 1.
func (s Set) Part() float64 { return float64(s.Size()) / (1 << 16) }

// Without returns what of the set the ranges of t, in any order, leave.
func (s Set) Without(t Set) Set {
	left := slices.Clone(s)
	for _, r := range t {
		var next Set
		for _, l := range left {
			if r.Last < l.First || r.First > l.Last {
				next = append(next, l)
				continue
			}
			if r.First > l.First {
				next = append(next, Range{l.First, r.First - 1})
			}
			if r.Last < l.Last {
				next = append(next, Range{r.Last + 1, l.Last})
			}
		}
		left = next
	}
	return left
}

// Union returns what either set has.
func (s Set) Union(t Set) Set {
	all := slices.Concat(s, t)
	slices.SortFunc(all, func(a, b Range) int { return int(a.First) - int(b.First) })
	var out Set
	for _, r := range all {
		if n := len(out); n > 0 && int(r.First) <= int(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
		} else {
			out = append(out, r)
		}
	}
	return out
}

// Intersect returns what both sets have.
func (s Set) Intersect(t Set) Set {
	var out Set
	for _, a := range s {
		for _, b := range t {
			if first, last := max(a.First, b.First), min(a.Last, b.Last); first <= last {
				out = append(out, Range{first, last})
			}
		}
	}
	slices.SortFunc(out, func(a, b Range) int { return int(a.First) - int(b.First) })
	return out
}

// Size is how many keys the set has.
func (s Set) Size() int {
	n := 0
	for _, r := range s {
		n += int(r.Last) - int(r.First) + 1
	}
	return n
}

// ParseAny is Parse, for which nothing is the empty set.
func ParseAny(s string) (Set, error) {
	if s == "" {
		return nil, nil
	}
	return Parse(s)
}
