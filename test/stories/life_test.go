package stories

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestAMemberGoesOnVacationAndChangesTheAddress is what else happens in a member's life.
func TestAMemberGoesOnVacationAndChangesTheAddress(t *testing.T) {
	old, next := "ann.old@net.test", "ann.new@net.test"
	name := newList(t, nil, "bob@net.test", old)
	request := strings.Replace(name, "@", "-request@", 1)
	ask := func(from, subject string) {
		t.Helper()
		send(t, from, request, fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%s.%d@net.test>\r\n\r\n", from, request, subject, id(t), len(subject)))
	}
	until := time.Now().UTC().AddDate(0, 0, 14).Format(time.DateOnly)
	ask(old, "set until="+until)
	answer(t, old, received(t, old, "be sent nothing until "+until), "Yes.")
	eventually(t, "a vacation", func() bool { return strings.Contains(command(t, "member", "ls", name, "--long"), "until="+until) })
	send(t, "bob@net.test", name, message(t, "bob@net.test", name, "who is there?"))
	if got, _ := delivered(t, id(t)+"@net.test", 1); !slices.Equal(got, []string{"bob@net.test"}) {
		t.Errorf("delivered to %v", got)
	}

	ask(old, "move "+next)
	answer(t, old, received(t, old, "confirm your new address, "+next), "Yes.")
	answer(t, next, received(t, next, "confirm your new address, "+next), "Yes.")
	received(t, next, "is now")
	if members := command(t, "member", "ls", name, "--long"); !strings.Contains(members, next) || strings.Contains(members, old) || !strings.Contains(members, "until="+until) {
		t.Errorf("members are\n%s", members)
	}
	ask(next, "leave")
	answer(t, next, received(t, next, "to leave the list "+name), "Yes.")
	received(t, next, "has left the list "+name)
}
