package balance

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mlist/mlist/internal/segment"
)

func set(t *testing.T, text string) segment.Set {
	t.Helper()
	s, err := segment.ParseAny(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// settle makes plans until nothing changes, each followed at once.
func settle(p Policy, s *Site) (plans int) {
	for ; plans < 1000; plans++ {
		plan, same := p.Plan(*s), true
		for i := range s.Members {
			m := &s.Members[i]
			if m.Fixed {
				continue
			}
			same = same && m.Wished.String() == plan[m.ID].String()
			m.Wished = plan[m.ID]
		}
		if same {
			break
		}
	}
	return plans
}

func TestPlan(t *testing.T) {
	one := func(id int64, host, wished string, rate float64) Member {
		return Member{ID: id, Host: host, Wished: set(t, wished), Rate: rate, Sure: 1}
	}
	failing := one(2, "b", "8000-ffff", 100)
	failing.Failing = true
	fixed := one(9, "z", "0000-7fff", 0)
	fixed.Fixed = true
	unknown := one(2, "b", "", 0)
	unknown.Sure = 0
	for _, tt := range []struct {
		name string
		site Site
		want string // shares in percent
	}{
		{"one has all", Site{Members: []Member{one(1, "a", "", 5)}}, "a 100"},
		{"nobody is nobody", Site{}, ""},
		{"by what they drain", Site{Members: []Member{one(1, "a", "0000-ffff", 300), one(2, "b", "", 100)}}, "a 75 b 25"},
		{"of one that is new, the average is assumed", Site{Members: []Member{one(1, "a", "0000-ffff", 300), unknown}}, "a 50 b 50"},
		{"nothing moves for little", Site{Members: []Member{one(1, "a", "0000-7fff", 104), one(2, "b", "8000-ffff", 100)}}, "a 50 b 50"},
		{"one that fails keeps a little", Site{Members: []Member{one(1, "a", "0000-7fff", 100), failing}}, "a 98 b 2"},
		{"when all fail they share", Site{Members: []Member{failing, func() Member { m := failing; m.ID, m.Host, m.Wished = 3, "c", nil; return m }()}}, "b 50 c 50"},
		{"what the dead had", Site{Members: []Member{one(1, "a", "0000-3fff", 1), one(2, "b", "c000-ffff", 1)}}, "a 50 b 50"},
		{"fixed ones keep theirs", Site{Members: []Member{fixed, one(1, "a", "0000-ffff", 1), one(2, "b", "", 1)}}, "a 25 b 25"},
		{"a drained host", Site{Members: []Member{one(1, "a", "0000-7fff", 1), one(2, "b", "8000-ffff", 1)}, Drained: []string{"b"}}, "a 100 b 0"},
		{"all hosts drained is none", Site{Members: []Member{one(1, "a", "0000-7fff", 1), one(2, "b", "8000-ffff", 1)}, Drained: []string{"a", "b"}}, "a 50 b 50"},
		{"a pin counts", Site{Members: []Member{one(1, "a", "0000-7fff", 1), one(2, "b", "8000-ffff", 1)},
			Pins: []Pin{{segment.Range{First: 0, Last: 0x3fff}, "b"}, {segment.Range{First: 0x4000, Last: 0x4fff}, "gone"}}}, "a 50 b 50"},
		{"a pin beyond the share", Site{Members: []Member{one(1, "a", "0000-7fff", 1), one(2, "b", "8000-ffff", 1)},
			Pins: []Pin{{segment.Range{First: 0, Last: 0xbfff}, "b"}}}, "a 25 b 75"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			settle(Default, &tt.site)
			got := ""
			for _, m := range tt.site.Members {
				if m.Fixed {
					continue
				}
				if got != "" {
					got += " "
				}
				got += fmt.Sprintf("%s %.0f", m.Host, float64(m.Wished.Size())/655.36)
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			for _, p := range tt.site.Pins {
				for _, m := range tt.site.Members {
					if m.Host == p.Host && len((segment.Set{p.Range}).Without(m.Wished)) > 0 {
						t.Errorf("%s is pinned to %s, which has %s", p.Range, p.Host, m.Wished)
					}
				}
			}
		})
	}
}

// Whatever the site: every key is somebody's, none twice, a plan moves no more than it may,
// and plans come to rest near to what is right.
func TestPlansAreWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Site
		left := segment.All
		sum := 0.0
		for id := range rapid.IntRange(1, 12).Draw(t, "members") {
			a, b := segment.Key(rapid.Uint16().Draw(t, "a")), segment.Key(rapid.Uint16().Draw(t, "b"))
			wished := left.Intersect(segment.Set{{First: min(a, b), Last: max(a, b)}})
			left = left.Without(wished)
			m := Member{ID: int64(id + 1), Host: fmt.Sprint("h", id%5), Wished: wished, Rate: rapid.Float64Range(100, 2000).Draw(t, "rate"), Sure: 1}
			s.Members = append(s.Members, m)
			sum += m.Rate
		}
		if left.Size() > 0 { // else the first plan may move as much as nobody had
			s.Members[0].Wished = s.Members[0].Wished.Union(left)
		}
		plan := Default.Plan(s)
		var all segment.Set
		size, moved := 0, 0
		for _, m := range s.Members {
			all, size = all.Union(plan[m.ID]), size+plan[m.ID].Size()
			moved += plan[m.ID].Without(m.Wished).Size()
		}
		if all.String() != segment.All.String() || size != segment.All.Size() {
			t.Fatalf("the plan has %s, %d keys", all, size)
		}
		if most := int(Default.Most * 65536); moved > most {
			t.Fatalf("%d keys were moved, want %d at most", moved, most)
		}
		if plans := settle(Default, &s); plans > 40 {
			t.Fatalf("plans do not come to rest: %d", plans)
		}
		ranges := 0
		for _, m := range s.Members {
			aim := m.Rate / sum * 65536
			if off := math.Abs(float64(m.Wished.Size()) - aim); off > aim*Default.Gain+least {
				t.Fatalf("%d has %d keys, should have %.0f", m.ID, m.Wished.Size(), aim)
			}
			ranges += len(m.Wished)
		}
		if ranges > 4*len(s.Members) {
			t.Fatalf("%d ranges for %d members", ranges, len(s.Members))
		}
	})
}

// Whatever operators want and daemons are: every key is somebody's who lives, and nobody's twice.
func TestPlansOfAnySite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(what string) segment.Set {
			a, b := segment.Key(rapid.Uint16().Draw(t, what)), segment.Key(rapid.Uint16().Draw(t, what))
			return segment.Set{{First: min(a, b), Last: max(a, b)}}
		}
		flag := func(what string) bool { return rapid.IntRange(0, 3).Draw(t, what) == 0 }
		var s Site
		told, wished := segment.All, segment.All // nobody has been told to have these, nor is planned to
		shared := 0
		for id := range rapid.IntRange(0, 9).Draw(t, "members") {
			m := Member{ID: int64(id + 1), Host: fmt.Sprint("h", id%4), Fixed: flag("fixed"), Failing: flag("failing"), Silent: flag("silent"),
				Rate: rapid.Float64Range(0, 1e9).Draw(t, "rate"), Sure: rapid.Float64Range(0, 1).Draw(t, "sure")}
			if m.Fixed {
				m.Wished = told.Intersect(draw("told"))
				told = told.Without(m.Wished)
			} else {
				shared++
				m.Wished = wished.Intersect(draw("wished"))
				wished = wished.Without(m.Wished)
			}
			m.Owned = m.Wished.Intersect(draw("owned"))
			s.Members = append(s.Members, m)
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "pins") {
			s.Pins = append(s.Pins, Pin{draw("pin")[0], fmt.Sprint("h", i+2)})
		}
		for i := range rapid.IntRange(0, 5).Draw(t, "drained") {
			s.Drained = append(s.Drained, fmt.Sprint("h", i))
		}
		for range 3 {
			plan, all, keys := Default.Plan(s), segment.Set(nil), 0
			for i := range s.Members {
				m := &s.Members[i]
				if wish, is := plan[m.ID]; is == m.Fixed {
					t.Fatalf("member %d, fixed %v, is in the plan: %v", m.ID, m.Fixed, is)
				} else if is {
					m.Wished = wish
				}
				all, keys = all.Union(m.Wished), keys+m.Wished.Size()
			}
			if want := segment.All.Without(told); shared > 0 && (all.Size() != segment.All.Size() || keys != all.Size()) || shared == 0 && keys != want.Size() {
				t.Fatalf("%d keys of %s", keys, all)
			}
		}
	})
}

func TestFollow(t *testing.T) {
	me := Member{Owned: set(t, "0000-7fff"), Wished: set(t, "4000-bfff")}
	serves := Cease(me, set(t, "0000-7fff"))
	if serves.String() != "4000-7fff" {
		t.Fatalf("goes on with %s", serves)
	}
	turn := Follow(me, []segment.Key{0x1000, 0x5000, 0x1000, 0x9999}, set(t, "8000-ffff"))
	if turn.Serve.String() != "4000-7fff" || turn.Own.String() != "1000-1000,4000-7fff" {
		t.Errorf("while others have what it wants: serves %s, owns %s", turn.Serve, turn.Own)
	}
	me.Owned = turn.Own
	turn = Follow(me, nil, set(t, "c000-ffff"))
	if turn.Serve.String() != "4000-bfff" || turn.Own.String() != "4000-bfff" {
		t.Errorf("when it can: serves %s, owns %s", turn.Serve, turn.Own)
	}
}

func TestMeter(t *testing.T) {
	var m Meter
	now, done, busy := time.Unix(0, 0), int64(0), time.Duration(0)
	for range 600 { // a tenth of its time it works, at 500 a second
		now, done, busy = now.Add(time.Second), done+50, busy+100*time.Millisecond
		m.Add(now, done, busy, false)
	}
	if flow := m.Flow(); math.Abs(flow-50) > 1 {
		t.Errorf("flow %.1f", flow)
	}
	if rate, sure := m.Rate(); math.Abs(rate-500) > 1 || sure < 0.7 {
		t.Errorf("rate %.1f, sure %.2f", rate, sure)
	}
	for range 30 { // all of it, and half as fast
		now, done, busy = now.Add(time.Second), done+250, busy+time.Second
		m.Add(now, done, busy, false)
	}
	if rate, _ := m.Rate(); rate < 250 || rate > 400 {
		t.Errorf("after half a minute of 250 a second: %.1f", rate)
	}
	tell := func(d time.Duration, failing bool) {
		for range int(d / time.Second) {
			now = now.Add(time.Second)
			m.Add(now, done, busy, failing)
		}
	}
	tell(3*time.Second, true)
	if m.Failing() {
		t.Error("a restart of the MTA is taken for more")
	}
	// An MTA that comes and goes is left alone for longer each time.
	changes := 0
	for range 60 {
		before := m.Failing()
		tell(time.Minute, true)
		during := m.Failing()
		tell(time.Minute, false)
		for _, is := range []bool{during, m.Failing()} {
			if is != before {
				changes++
			}
			before = is
		}
	}
	if changes > 6 {
		t.Errorf("%d changes of mind in two hours", changes)
	}
	tell(10*time.Minute, false)
	if m.Failing() {
		t.Error("never forgiven")
	}
}

func TestDue(t *testing.T) {
	whole := Site{Members: []Member{{ID: 1, Wished: segment.All}}}
	hole := Site{Members: []Member{{ID: 1, Wished: set(t, "0000-7fff")}}}
	if Default.Due(whole, Default.Every/2) || !Default.Due(whole, Default.Every) || !Default.Due(hole, 0) {
		t.Error("a plan is made when it is time, or somebody is missing")
	}
}
