package stories

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSubscribeByMailConfirmPostGoOnVacationChangeAddressLeave is a member's life on a list, all of it by mail.
func TestSubscribeByMailConfirmPostGoOnVacationChangeAddressLeave(t *testing.T) {
	old, next, work := "ann.old@net.test", "ann.new@net.test", "ann.work@net.test"
	name, other := newList(t, nil, "bob@net.test"), "elsewhere@lists.test"
	command(t, "list", "create", other)
	command(t, "member", "add", other, old)
	role := func(r string) string { return strings.Replace(name, "@", "-"+r+"@", 1) }
	mails := 0
	ask := func(from, to, subject string) {
		t.Helper()
		mails++
		send(t, from, to, fmt.Sprintf("From: Ann <%s>\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%s.%d@net.test>\r\n\r\n", from, to, subject, id(t), mails))
	}
	members := func() string {
		t.Helper()
		return command(t, "member", "ls", name, "--long")
	}
	says := func(from, subject string, readers ...string) {
		t.Helper()
		text := strings.Replace(message(t, "Ann <"+from+">", name, subject), "<"+id(t), "<"+subject+"."+id(t), 1)
		send(t, from, name, text)
		if got, _ := delivered(t, subject+"."+id(t)+"@net.test", len(readers)); !slices.Equal(got, readers) {
			t.Errorf("%s: delivered to %v, want %v", subject, got, readers)
		}
	}

	// She joins, and is no member before she has confirmed.
	ask(old, role("join"), "hello")
	confirmation := received(t, old, "to join the list "+name)
	if strings.Contains(members(), old) {
		t.Error("she is a member before she has confirmed")
	}
	answer(t, old, confirmation, "Yes.")
	received(t, old, "Welcome to the list "+name)
	says(old, "new-here", old, "bob@net.test")

	// She is away, and is sent nothing.
	until := time.Now().UTC().AddDate(0, 0, 14).Format(time.DateOnly)
	ask(old, role("request"), "set until="+until)
	answer(t, old, received(t, old, "be sent nothing until "+until), "Yes.")
	eventually(t, "a vacation", func() bool { return strings.Contains(members(), "until="+until) })
	says("bob@net.test", "anybody", "bob@net.test")

	// She comes back before, and moves: both addresses have to say so.
	ask(old, role("request"), "set delivery=on")
	answer(t, old, received(t, old, "be sent its posts again"), "Yes.")
	eventually(t, "her return", func() bool { return !strings.Contains(members(), "until=") })
	ask(old, role("request"), "move "+next)
	answer(t, old, received(t, old, "confirm your new address, "+next), "Yes.")
	moving := received(t, next, "confirm your new address, "+next)
	if strings.Contains(members(), next) {
		t.Error("she has moved before the new address has confirmed")
	}
	answer(t, next, moving, "Yes.")
	received(t, next, "is now")
	says(next, "moved", next, "bob@net.test")
	if m := command(t, "member", "ls", other); !strings.Contains(m, next) || strings.Contains(m, old) {
		t.Errorf("elsewhere members are\n%s", m)
	}

	// What she writes from work is hers, too, once both addresses say so; she gets one copy.
	ask(next, role("request"), "link "+work)
	answer(t, next, received(t, next, work+" is yours, too"), "Yes.")
	answer(t, work, received(t, work, work+" is yours, too"), "Yes.")
	received(t, next, "Two addresses are one person's")
	says(work, "from-work", next, "bob@net.test")

	// She leaves, and hears no more.
	ask(next, role("request"), "leave")
	answer(t, next, received(t, next, "to leave the list "+name), "Yes.")
	received(t, next, "has left the list "+name)
	says("bob@net.test", "gone", "bob@net.test")
	if m := members(); strings.Contains(m, "ann.") || !strings.Contains(m, "bob@net.test") {
		t.Errorf("members are\n%s", m)
	}
}
