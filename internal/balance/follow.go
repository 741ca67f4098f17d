package balance

import (
	"slices"
	"time"

	"github.com/mlist/mlist/internal/segment"
)

// Due tells whether it is time for another plan, when the last one is so old: as said by the
// policy, and at once when keys are nobody's by the last one.
func (p Policy) Due(s Site, age time.Duration) bool {
	if age >= p.Every || age < 0 {
		return true
	}
	keys := 0
	for _, m := range s.Members {
		keys += m.Wished.Size()
	}
	return keys < segment.All.Size()
}

// Turn is what a member is to do now.
type Turn struct {
	// Serve is what it may take entries of from now on: set it first, then ask what is busy.
	Serve segment.Set
	// Own is what it then keeps from others: what it serves, and what is in flight of what it
	// is to give up.
	Own segment.Set
}

// Cease says what a member may go on taking entries of: all that it serves, owns and is to
// have.
func Cease(me Member, serves segment.Set) segment.Set {
	return serves.Intersect(me.Owned).Intersect(me.Wished)
}

// Settled tells whether there is nothing to follow: the member serves and owns what it is to have.
func Settled(me Member, serves segment.Set) bool {
	return slices.Equal(me.Wished, me.Owned) && slices.Equal(me.Wished, serves)
}

// Follow is one turn of a member, after it has ceased to take up what it is not to have. busy
// are the keys of what is in flight, others what everybody else owns.
func Follow(me Member, busy []segment.Key, others segment.Set) Turn {
	var flying segment.Set
	busy = slices.Clone(busy)
	slices.Sort(busy)
	for _, k := range slices.Compact(busy) {
		flying = append(flying, segment.Range{First: k, Last: k})
	}
	serve := me.Wished.Without(others)
	return Turn{Serve: serve, Own: serve.Union(me.Owned.Intersect(flying))}
}
