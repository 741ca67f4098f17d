// Package balance decides which daemon is to serve which part of the hash space. It has
// neither clock nor storage: what it knows is handed in, and what it decides is handed out,
// so that a simulation of a thousand hours runs what serves.
//
// A member is a daemon with a lease. Every few seconds, whichever member comes first makes a
// plan ([Policy.Plan]): what each is to have, in proportion to how fast it drains. The plan
// is only a wish. Each member follows it in turns ([Follow]): it ceases to take up what it is
// not to have, gives that up when what is in flight is finished, and takes what it is to have
// as soon as nobody else has it. So two never have the same key, whatever the plan says and
// however old the plan is that one of them knows.
package balance

import (
	"cmp"
	"slices"
	"time"

	"github.com/mlist/mlist/internal/segment"
)

// Member is a daemon that lives.
type Member struct {
	ID      int64 // the epoch of its lease
	Host    string
	Fixed   bool        // it has what it was told to have, and no plan changes that
	Owned   segment.Set // what nobody else may touch
	Wished  segment.Set // of the last plan; what a fixed one was told to have
	Rate    float64     // recipients a second that it can drain
	Sure    float64     // 0 to 1: how far Rate is known
	Failing bool        // its MTA takes nothing
	Silent  bool        // it has not been heard of for longer than is usual
}

// Pin is a range that an operator wants on a host.
type Pin struct {
	segment.Range
	Host string
}

// Site is all that a plan is made of.
type Site struct {
	Members []Member
	Pins    []Pin    // those whose host has no member that may serve are void
	Drained []string // hosts that are to have nothing, as long as there are others
}

// Policy says how a plan is made. Change no part of it without a look at make simulate.
type Policy struct {
	// Every is how often a plan is made; one that leaves keys to nobody is replaced at once.
	Every time.Duration
	// Gain is how far the share of some member must be off what it should be, as a part of
	// that, before anything is moved.
	Gain float64
	// Most is how much of the space one plan may move from members that work well, and
	// Urgent how much from those that do not, or are to have nothing.
	Most, Urgent float64
	// Floor is what a member whose MTA takes nothing is taken to drain, as a part of what
	// the others do on average: mail is how it is found out that the MTA takes some again.
	Floor float64
}

// Default is the policy that mlist has.
var Default = Policy{Every: 2 * time.Second, Gain: 0.05, Most: 1.0 / 8, Urgent: 1.0 / 2, Floor: 0.02}

// least is how many keys are worth moving.
const least = 4

// Plan returns what each member that is not fixed is to have. Together with the fixed ones
// they have every key, if there is any of them, and no key twice.
func (p Policy) Plan(s Site) map[int64]segment.Set {
	free := segment.All
	var able, leaving []*share
	for _, m := range s.Members {
		if m.Fixed {
			free = free.Without(m.Wished)
			continue
		}
		sh := &share{Member: m}
		if m.Silent { // what it has not taken by now goes to others, as long as it is silent
			sh.Wished = m.Wished.Intersect(m.Owned)
		}
		if slices.Contains(s.Drained, m.Host) {
			sh.urgent = true
			leaving = append(leaving, sh)
		} else {
			able = append(able, sh)
		}
	}
	if len(able) == 0 { // better served by who is to leave than by nobody
		able, leaving = leaving, nil
		for _, sh := range able {
			sh.urgent = false
		}
	}
	all := slices.Concat(able, leaving)
	slices.SortFunc(all, func(a, b *share) int { return cmp.Compare(a.ID, b.ID) })
	space := free.Size()
	p.weigh(able)
	free = pin(able, s.Pins, free)
	aim(able, space, free.Size())
	orphans := free
	for _, sh := range all {
		sh.set = sh.Wished.Intersect(orphans)
		orphans = orphans.Without(sh.set)
	}
	if hear := heard(able); len(hear) > 0 {
		give(&share{set: orphans}, hear, 0, 1<<16)
	}
	if !p.move(all, heard(able)) {
		tidy(all, int(p.Most/4*(1<<16)))
	}
	plan := make(map[int64]segment.Set, len(all))
	for _, sh := range all {
		plan[sh.ID] = sh.set.Union(sh.pinned)
	}
	return plan
}

// share is a member while a plan is made.
type share struct {
	Member
	weight float64     // what it drains, compared with others
	pinned segment.Set // stays out of all else
	set    segment.Set
	aim    int  // how many keys set should have
	urgent bool // it does badly, or is to leave
}

// heard are those that can take something now; all of them if there is none.
func heard(able []*share) []*share {
	out := slices.DeleteFunc(slices.Clone(able), func(s *share) bool { return s.Silent })
	if len(out) == 0 {
		return able
	}
	return out
}

func (s *share) excess() int { return s.set.Size() - s.aim }

// off is how far the share is off its aim, as a part of that.
func (s *share) off() float64 { return float64(s.excess()) / float64(max(s.aim, 1)) }

// weigh gives each member its weight. Of what is not known yet, the average of the others is
// assumed.
func (p Policy) weigh(able []*share) {
	sum, known := 0.0, 0.0
	for _, s := range able {
		if !s.Failing && s.Rate > 0 {
			sum, known = sum+s.Rate*s.Sure, known+s.Sure
		}
	}
	mean := 1.0
	if known > 0 && sum > 0 {
		mean = sum / known
	}
	for _, s := range able {
		s.weight = max(s.Rate*s.Sure+mean*(1-s.Sure), mean*p.Floor)
		if s.Failing {
			s.weight, s.urgent = mean*p.Floor, true
		}
	}
}

// pin gives members what is pinned to their hosts, and returns what is left.
func pin(able []*share, pins []Pin, free segment.Set) segment.Set {
	for _, p := range pins {
		var to *share
		has := func(s *share) int { return s.Wished.Intersect(segment.Set{p.Range}).Size() }
		for _, s := range able {
			if s.Host == p.Host && (to == nil || has(s) > has(to)) {
				to = s
			}
		}
		if to != nil {
			mine := free.Intersect(segment.Set{p.Range})
			to.pinned, free = to.pinned.Union(mine), free.Without(mine)
		}
	}
	return free
}

// aim says how many of the free keys each is to have: of the whole space what fits its weight,
// less what is pinned to it.
func aim(able []*share, space, free int) {
	weights := 0.0
	for _, s := range able {
		weights += s.weight
	}
	wanted, sum := make([]float64, len(able)), 0.0
	for i, s := range able {
		wanted[i] = max(0, s.weight/weights*float64(space)-float64(s.pinned.Size()))
		sum += wanted[i]
	}
	// The rounding of each is carried to the next, so that all together is exactly what is free.
	done, upTo := 0, 0.0
	for i, s := range able {
		if sum > 0 {
			upTo += wanted[i] / sum * float64(free)
		} else {
			upTo += float64(free) / float64(len(able)) // everybody has more than its part pinned
		}
		s.aim = min(int(upTo+0.5), free) - done
		done += s.aim
	}
	if n := len(able); n > 0 {
		able[n-1].aim += free - done
	}
}

// move brings shares nearer to their aims, if one of them is off by enough.
func (p Policy) move(all, able []*share) bool {
	off := func(s *share) bool {
		e := s.excess()
		return max(e, -e) >= least && max(s.off(), -s.off()) > p.Gain
	}
	if !slices.ContainsFunc(all, func(s *share) bool { return off(s) || s.urgent && s.excess() > 0 }) {
		return false
	}
	left, leftUrgent := int(p.Most*float64(1<<16)), int(p.Urgent*float64(1<<16))
	givers := slices.Clone(all)
	slices.SortStableFunc(givers, func(a, b *share) int { return cmp.Compare(b.off(), a.off()) })
	for _, s := range givers {
		n := s.excess()
		if n <= 0 || n < least && !s.urgent {
			continue
		}
		if s.urgent {
			leftUrgent -= give(s, able, n, leftUrgent)
		} else {
			left -= give(s, able, n, left)
		}
	}
	return true
}

// few is how many ranges a member may have before they are made fewer.
const few = 6

// tidy exchanges a few keys between members so that they have fewer ranges.
func tidy(all []*share, most int) {
	for _, s := range all {
		if len(s.set) <= few || s.Silent || s.urgent {
			continue
		}
		ranges := slices.Clone(s.set)
		slices.SortFunc(ranges, func(a, b segment.Range) int { return cmp.Compare(size(a), size(b)) })
		for _, r := range ranges {
			n := size(r)
			if n > most {
				break
			}
			for _, o := range all {
				if o != s && !o.Silent && !o.urgent && touches(r, o.set) != touchesNot && exchange(s, o, segment.Set{r}) {
					most -= n
					break
				}
			}
		}
	}
}

// exchange gives what touches another's range to that, and takes as much from there, if that
// makes their ranges fewer.
func exchange(s, o *share, piece segment.Set) bool {
	mine, theirs := s.set.Without(piece), o.set.Union(piece)
	back := cut(o.set, mine, piece.Size())
	mine, theirs = mine.Union(back), theirs.Without(back)
	if len(mine)+len(theirs) >= len(s.set)+len(o.set) || back.Size() != piece.Size() {
		return false
	}
	s.set, o.set = mine, theirs
	return true
}

// give moves up to n keys, and no more than most, to those who have too few, and returns how
// many it has moved. From nobody, everything goes.
func give(from *share, able []*share, n, most int) int {
	if from.ID == 0 {
		n = from.set.Size()
	}
	n = min(n, most)
	moved := 0
	for moved < n {
		to := taker(from, able)
		if to == nil {
			break
		}
		lack := -to.excess()
		if lack <= 0 { // those who lack something are silent: somebody must have what is nobody's
			lack = n - moved
		}
		piece := cut(from.set, to.set, min(lack, n-moved))
		from.set, to.set = from.set.Without(piece), to.set.Union(piece)
		moved += piece.Size()
	}
	return moved
}

// taker chooses who gets something: the one that lacks most, but one next to what is given
// comes first, so that its range grows before another's begins.
func taker(from *share, able []*share) *share {
	var best *share
	var bestNext bool
	for _, s := range able {
		if s == from || s.excess() >= 0 && from.ID != 0 {
			continue
		}
		next := slices.ContainsFunc(from.set, func(r segment.Range) bool { return touches(r, s.set) != touchesNot })
		if best == nil || next && !bestNext || next == bestNext && s.off() < best.off() {
			best, bestNext = s, next
		}
	}
	return best
}

// cut chooses n keys of a set for another: such that touch what that has, and else from the
// smallest ranges, so that sets stay a few ranges each.
func cut(from, to segment.Set, n int) segment.Set {
	var out segment.Set
	for n > 0 && len(from) > 0 {
		r := slices.MinFunc(from, func(a, b segment.Range) int {
			return cmp.Or(cmp.Compare(touches(b, to), touches(a, to)), cmp.Compare(size(a), size(b)))
		})
		if have := size(r); have > n {
			if touches(r, to) == touchesAbove {
				r.First = r.Last - segment.Key(n-1)
			} else {
				r.Last = r.First + segment.Key(n-1)
			}
		}
		piece := segment.Set{r}
		out, to, from = out.Union(piece), to.Union(piece), from.Without(piece)
		n -= size(r)
	}
	return out
}

const (
	touchesNot   = 0
	touchesAbove = 1
	touchesBelow = 2
)

// touches tells on which side of r the set goes on.
func touches(r segment.Range, set segment.Set) int {
	for _, s := range set {
		switch {
		case int(s.Last)+1 == int(r.First):
			return touchesBelow
		case int(r.Last)+1 == int(s.First):
			return touchesAbove
		}
	}
	return touchesNot
}

func size(r segment.Range) int { return int(r.Last) - int(r.First) + 1 }
