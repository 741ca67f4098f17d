package stories

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// responder is a program that answers every mail to an address, to everybody whom the mail
// names, and does not mind whom it answered before.
type responder struct {
	address string
	marks   []string // header fields of its answers, in turn
	seen    int      // transactions that it has looked at
	answers int
}

var answerable = regexp.MustCompile(`(?mi)^(?:from|reply-to|sender|list-post|list-unsubscribe):.*?([a-z0-9+~=._-]+@lists\.test)`)

// work answers what has come since it last did, and tells whether that was anything.
func (r *responder) work(t *testing.T, list string) bool {
	t.Helper()
	name, _, _ := strings.Cut(list, "@")
	txs := out.Transactions()
	fresh := txs[r.seen:]
	r.seen = len(txs)
	worked := false
	for _, tx := range fresh {
		if !slices.Contains(tx.Recipients, r.address) || !strings.Contains(string(tx.Body), name) {
			continue
		}
		worked = true
		to := map[string]bool{}
		if tx.Sender != "" {
			to[tx.Sender] = true
		}
		head, _, _ := strings.Cut(string(tx.Body), "\r\n\r\n")
		for _, m := range answerable.FindAllStringSubmatch(head, -1) {
			to[m[1]] = true
		}
		for a := range to {
			mark := r.marks[r.answers%len(r.marks)]
			r.answers++
			send(t, r.address, a, fmt.Sprintf("From: %s\r\nTo: %s\r\n%s\r\nMessage-ID: <answer%d.%s@net.test>\r\n\r\naccept\r\nI am on holiday.\r\n", r.address, a, mark, r.answers, id(t)))
		}
	}
	return worked
}

// TestAVacationResponderThatAnswersEverything, at a member who is a moderator, too: nobody
// hears of it, nothing is decided, and it comes to rest.
func TestAVacationResponderThatAnswersEverything(t *testing.T) {
	list := newList(t, []string{"max_days_to_hold=10", "subscription_policy=confirm"}, "ann@net.test", "bob@net.test")
	vac := "vac." + id(t) + "@net.test"
	command(t, "member", "add", list, vac)
	command(t, "member", "add", list, vac, "--role", "moderator")
	r := &responder{address: vac, marks: []string{"Auto-Submitted: auto-replied", "Precedence: auto_reply", "X-Autoreply: yes", "Auto-Submitted: auto-replied (vacation)"}}

	send(t, "ann@net.test", list, message(t, "ann@net.test", list, "hello"))
	delivered(t, id(t)+"@net.test", 3)
	holds(t, list, "eve@else.test", "waits")
	received(t, vac, "waits for you", list)
	leave := strings.Replace(list, "@", "-leave@", 1)
	send(t, "eve@else.test", leave, fmt.Sprintf("From: %s\r\nTo: %s\r\nMessage-ID: <leave.%s@net.test>\r\n\r\n", vac, leave, id(t)))
	received(t, vac, "to leave the list "+list)

	name, _, _ := strings.Cut(list, "@")
	rounds := 0
	for r.work(t, list) {
		if rounds++; rounds > 5 {
			t.Fatalf("after %d answers there is still something to answer", r.answers)
		}
		eventually(t, "empty queues", func() bool {
			return !strings.Contains(command(t, "queue", "ls", "incoming", "bounces", "outgoing"), name)
		})
	}
	t.Logf("%d answers in %d rounds", r.answers, rounds)
	if r.answers < 5 {
		t.Errorf("only %d answers were sent", r.answers)
	}
	if got := deliveries(id(t) + "@net.test"); len(got) == 0 {
		t.Error("the post is gone")
	}
	for _, reader := range []string{"ann@net.test", "bob@net.test"} {
		if n := mailsTo(reader, "I am on holiday"); n != 0 {
			t.Errorf("%s hears %d times of the holiday", reader, n)
		}
	}
	if len(decisions(t, list)) != 0 || len(held(t, list)) < 1 {
		t.Error("the responder has decided")
	}
	if members := command(t, "member", "ls", list); !strings.Contains(members, vac) {
		t.Error("the responder has left the list")
	}
}

// TestAMailLoopBetweenTwoLists that are members of each other: everybody gets a post once.
func TestAMailLoopBetweenTwoLists(t *testing.T) {
	settings := []string{"default_nonmember_action=accept", "require_explicit_destination=false"}
	one := newList(t, settings, "ann@net.test", "bob@net.test")
	other := "other-" + one
	command(t, append([]string{"list", "create", other}, settings...)...)
	command(t, "member", "add", other, "cy@other.test", one)
	command(t, "member", "add", one, other)
	send(t, "ann@net.test", one, message(t, "ann@net.test", one, "round and round"))
	eventually(t, "the end of the loop", func() bool {
		discarded := func(line string) bool { return strings.Contains(line, "post discarded") && strings.Contains(line, one) }
		return slices.ContainsFunc(strings.Split(mlist.Log(), "\n"), discarded) && mailsTo("cy@other.test", id(t)) > 0 && !strings.Contains(command(t, "queue", "ls"), one)
	})
	for _, who := range []string{"ann@net.test", "bob@net.test", "cy@other.test"} {
		if n := mailsTo(who, "<"+id(t)+"@net.test>"); n != 1 {
			t.Errorf("%s gets the post %d times", who, n)
		}
	}
}
