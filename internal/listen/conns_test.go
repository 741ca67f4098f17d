package listen

import (
	"slices"
	"testing"
)

func TestConns(t *testing.T) {
	var conns Conns[string]
	conns.Wait() // there are none
	for _, c := range []string{"a", "b"} {
		if !conns.Admit(c, 2) {
			t.Fatalf("%s is one too many", c)
		}
	}
	if conns.Admit("c", 2) || conns.Len() != 2 {
		t.Fatalf("a third of two is let in; there are %d", conns.Len())
	}
	var seen []string
	conns.Each(func(c string) {
		seen = append(seen, c)
		conns.Forget(c) // while they are gone through
	})
	if slices.Sort(seen); !slices.Equal(seen, []string{"a", "b"}) {
		t.Errorf("open were %v", seen)
	}
	conns.Wait()
	if !conns.Admit("c", 1) {
		t.Error("there is no room again")
	}
}
