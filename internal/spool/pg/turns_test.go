package pg

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// Something new rings a bell, and what is ready is read anew: that gives nobody two turns.
func TestTurnsGoOnWhenSomethingIsNew(t *testing.T) {
	s := open(t, freshSchema(t, startServer(t)), Options{Rescan: time.Hour})
	in, err := s.Own(t.Context(), spool.Incoming, segment.All, "one")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		write(t, s, "dev@l.test", "hello")
		commit(t, in, "a@x.test", "b@x.test", "c@x.test", "d@x.test")
	}
	owner, err := s.OwnOutgoing(t.Context(), segment.All, "one")
	if err != nil {
		t.Fatal(err)
	}
	o := owner.(*outgoing)
	turns := map[spool.ID]int{}
	for i := range 12 {
		if err := o.fill(t.Context()); err != nil {
			t.Fatal(err)
		}
		c, err := o.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if turns[c.Post]++; turns[c.Post] > i/3+1 {
			t.Errorf("post %s has had %d turns of %d", c.Post, turns[c.Post], i+1)
		}
	}
}

// Both ways to find what is ready find the same.
func TestWaysToFindWhatIsReady(t *testing.T) {
	s := open(t, freshSchema(t, startServer(t)), Options{Rescan: time.Hour})
	in, err := s.Own(t.Context(), spool.Incoming, segment.All, "one")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		write(t, s, "dev@l.test", "hello")
		var to []string
		for n := range 1 + 15*(i%2) {
			to = append(to, fmt.Sprint(n, "@x.test"))
		}
		commit(t, in, to...)
	}
	for _, change := range []string{
		`UPDATE spool_chunks SET due = 1 WHERE post = (SELECT min(number) FROM spool_posts)`,                    // is due by now
		`UPDATE spool_chunks SET due = 9000000000000000 WHERE post = (SELECT min(number) + 1 FROM spool_posts)`, // is not
		`UPDATE spool_chunks SET due = 9000000000000000 WHERE name = '000007'`,
		`UPDATE spool_posts SET paused = true WHERE number = (SELECT min(number) + 3 FROM spool_posts)`,
	} {
		if _, err := s.pool.Exec(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	for _, set := range []segment.Set{segment.All, {{First: 0, Last: 0x3fff}, {First: 0x8000, Last: 0xbfff}}} {
		owner, err := s.OwnOutgoing(t.Context(), set, "one")
		if err != nil {
			t.Fatal(err)
		}
		o := owner.(*outgoing)
		var found [2][]place
		for i := range found {
			o.byKey = i == 1
			if err := o.fill(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, turn := range o.turns {
				found[i] = append(found[i], turn.chunks...)
			}
		}
		if len(found[0]) == 0 || !slices.Equal(found[0], found[1]) {
			t.Errorf("%s: post by post %v, by keys %v", set, found[0], found[1])
		}
		if set.Size() == segment.All.Size() && len(found[0]) != 1+1+15+1 {
			t.Errorf("%d are ready", len(found[0]))
		}
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
