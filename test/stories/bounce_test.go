package stories

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// A member's server says 550 5.1.1: to the post, and to the probe that asks whether that is
// meant. The member is warned and removed, and the owner hears of it.
func TestBouncesEndAMembership(t *testing.T) {
	list := newList(t, []string{"--owner", "boss@net.test"}, append(slices.Clone(three), "gone@net.test")...)
	// One bounce is enough, and nobody waits for days.
	command(t, "list", "set", list, "bounce_score_threshold=1", "bounce_you_are_disabled_warnings_interval=0")
	send(t, "ann@net.test", list, message(t, "ann@net.test", list, "x"))
	delivered(t, id(t)+"@net.test", 3)
	received(t, "boss@net.test", "Delivery of "+list+" to this member is disabled", "gone@net.test", "the probe came back: 5.1.1")
	received(t, "boss@net.test", "This member of "+list+" is removed", "gone@net.test")

	var said struct {
		Receives bool
		Roles    []any
		Why      string
		History  []struct{ What string }
	}
	if err := json.Unmarshal([]byte(command(t, "why", "gone@net.test", "--list", list, "--json")), &said); err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, h := range said.History {
		steps = append(steps, h.What)
	}
	if got := strings.Join(steps, " "); said.Receives || len(said.Roles) > 0 || got != "joined score probe disabled warning warning warning removed" {
		t.Errorf("why says %+v, the steps were %s", said, got)
	}
	if text := command(t, "why", "ann@net.test", "--list", list); !strings.HasPrefix(text, "ann@net.test receives ") {
		t.Errorf("ann is told of as %s", text)
	}
}

// With a return path for each copy the bounce proves itself, and so needs no probe; a list
// that trusts nothing else takes nothing else for true.
func TestABounceToAKeyCounts(t *testing.T) {
	list := newList(t, []string{"--owner", "boss@net.test"}, "ann@net.test", "gone@net.test")
	command(t, "list", "set", list, "verp_delivery_interval=1", "bounce_score_threshold=1", "verp_probes=false", "bounce_unkeyed=ignore")
	send(t, "ann@net.test", list, message(t, "ann@net.test", list, "x"))
	received(t, "boss@net.test", "Delivery of "+list+" to this member is disabled", "gone@net.test")
	for _, tx := range deliveries(id(t) + "@net.test") {
		if !strings.Contains(tx.Sender, "-bounces+") || !strings.Contains(tx.Sender, "+ann=net.test@") {
			t.Errorf("a copy came from %s", tx.Sender)
		}
	}
	if text := command(t, "bounce", "show", list, "gone@net.test", "--json"); !strings.Contains(text, `"proven":true`) {
		t.Errorf("bounces: %s", text)
	}
}
