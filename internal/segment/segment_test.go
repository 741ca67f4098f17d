package segment

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPart(t *testing.T) {
	half, err := Parse("0000-3fff,8000-bfff")
	if err != nil {
		t.Fatal(err)
	}
	if All.Part() != 1 || half.Part() != 0.5 || (Set{}).Part() != 0 || (Set{{7, 7}}).Part() != 1.0/65536 {
		t.Errorf("%v %v", All.Part(), half.Part())
	}
}

func TestParse(t *testing.T) {
	tests := []struct{ name, in, want, err string }{
		{"the whole space", "0000-ffff", "0000-ffff", ""},
		{"ranges are put in order", "8000-bfff, 0000-3fff", "0000-3fff,8000-bfff", ""},
		{"touching ranges become one", "0000-7fff,8000-ffff", "0000-ffff", ""},
		{"overlap is refused", "0000-8000,8000-ffff", "", "overlap"},
		{"backwards is refused", "8000-0000", "", "comes before"},
		{"short digits are refused", "0-ffff", "", "four hex digits"},
		{"words are refused", "auto", "", "want ranges"},
		{"empty is refused", "", "", "want ranges"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set, err := Parse(tt.in)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("Parse(%q) = %v, %v; want an error with %q", tt.in, set, err, tt.err)
				}
				return
			}
			if err != nil || set.String() != tt.want {
				t.Fatalf("Parse(%q) = %v, %v; want %s", tt.in, set, err, tt.want)
			}
		})
	}
}

func TestContainsAndOverlapAgree(t *testing.T) {
	draw := func(t *rapid.T, name string) Set {
		a := Key(rapid.Uint16().Draw(t, name+" a"))
		b := Key(rapid.Uint16().Draw(t, name+" b"))
		return Set{{min(a, b), max(a, b)}}
	}
	rapid.Check(t, func(t *rapid.T) {
		s, u := draw(t, "s"), draw(t, "u")
		r, ok := s.Overlap(u)
		if ok != (s.Contains(u[0].First) || u.Contains(s[0].First)) {
			t.Fatalf("Overlap(%s, %s) = %v", s, u, ok)
		}
		if ok && !(s.Contains(r.First) && u.Contains(r.Last)) {
			t.Fatalf("Overlap(%s, %s) = %s, which is not in both", s, u, r)
		}
	})
}

func TestKeysSpread(t *testing.T) {
	var quarters [4]int
	for i := range 4000 {
		quarters[KeyOf("01abcdefghijklmn", string(rune('a'+i%26))+strings.Repeat("x", i%40), string(rune(i)))>>14]++
	}
	for q, n := range quarters {
		if n < 800 || n > 1200 {
			t.Errorf("quarter %d of the hash space has %d of 4000 keys", q, n)
		}
	}
}

// The chunks of one post spread over daemons as if by chance, few as they may be.
func TestChunksOfAPostSpread(t *testing.T) {
	const posts, chunks, daemons = 400, 20, 8
	worst := 0.0
	for post := range posts {
		var each [daemons]int
		for i := range chunks {
			each[int(KeyOf("3n33mmjpq54s"+strings.Repeat(string(rune('a'+post%26)), post/26), string(rune('0'+(i+1)/10))+string(rune('0'+(i+1)%10))))*daemons/65536]++
		}
		worst += float64(slices.Max(each[:])) / (float64(chunks) / daemons) / posts
	}
	if worst > 2.2 { // 2.0 by chance
		t.Errorf("the daemon with the most has %.2f times its part of a post", worst)
	}
}

// The hash is part of the spool's format.
func TestKeyOfNeverChanges(t *testing.T) {
	if got := KeyOf("dev@lists.example.org").String(); got != "0762" {
		t.Errorf("KeyOf = %s", got)
	}
	if got := KeyOf("3n33mmjpq54snqoo", "000001").String(); got != "ca7a" {
		t.Errorf("KeyOf of a chunk = %s", got)
	}
}

func TestWithout(t *testing.T) {
	for _, tt := range []struct{ from, take, want string }{
		{"0000-ffff", "0000-ffff", ""},
		{"0000-ffff", "0000-7fff", "8000-ffff"},
		{"0000-ffff", "1000-1fff,f000-ffff", "0000-0fff,2000-efff"},
		{"0000-0fff,2000-2fff", "0800-27ff", "0000-07ff,2800-2fff"},
		{"0000-0fff", "2000-2fff", "0000-0fff"},
	} {
		from, err := Parse(tt.from)
		if err != nil {
			t.Fatal(err)
		}
		take, err := Parse(tt.take)
		if err != nil {
			t.Fatal(err)
		}
		if got := from.Without(take).String(); got != tt.want {
			t.Errorf("%s without %s is %s, want %s", tt.from, tt.take, got, tt.want)
		}
	}
}

// Sets as bits are slow and plain: both must agree.
func TestSetsAreSets(t *testing.T) {
	draw := rapid.Custom(func(t *rapid.T) Set {
		var s Set
		for range rapid.IntRange(0, 4).Draw(t, "ranges") {
			a, b := Key(rapid.Uint16Range(0, 300).Draw(t, "a")), Key(rapid.Uint16Range(0, 300).Draw(t, "b"))
			s = s.Union(Set{{min(a, b), max(a, b)}})
		}
		return s
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw.Draw(t, "s"), draw.Draw(t, "u")
		union, both, left := a.Union(b), a.Intersect(b), a.Without(b)
		for _, s := range []Set{union, both, left} {
			if back, err := ParseAny(s.String()); err != nil || back.String() != s.String() || back.Size() != s.Size() {
				t.Fatalf("%s is not in its one form: %v, %v", s, back, err)
			}
		}
		for k := Key(0); k <= 301; k++ {
			inA, inB := a.Contains(k), b.Contains(k)
			if union.Contains(k) != (inA || inB) || both.Contains(k) != (inA && inB) || left.Contains(k) != (inA && !inB) {
				t.Fatalf("key %s of %s and %s", k, a, b)
			}
		}
	})
	if n := All.Size(); n != 1<<16 {
		t.Errorf("the whole space has %d keys", n)
	}
}
