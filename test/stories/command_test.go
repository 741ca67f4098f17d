package stories

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var replyTo = regexp.MustCompile(`(?m)^Reply-To: (\S+)\r?$`)

// answer answers a mail, as a person's program does.
func answer(t *testing.T, from string, mail []byte, text string) {
	t.Helper()
	m := replyTo.FindSubmatch(mail)
	if m == nil {
		t.Fatalf("no Reply-To in\n%s", mail)
	}
	to := string(m[1])
	send(t, from, to, fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: Re: your message\r\nMessage-ID: <%s.%d@net.test>\r\n\r\n%s\r\n", from, to, id(t), len(mail), text))
}

// TestAConfirmationBomb: whoever asks a hundred times in another's name has few mails sent.
func TestAConfirmationBomb(t *testing.T) {
	name := newList(t, nil)
	join := strings.Replace(name, "@", "-join@", 1)
	for i := range 100 {
		send(t, fmt.Sprintf("eve%d@else.test", i), join, fmt.Sprintf("From: victim@net.test\r\nTo: %s\r\nMessage-ID: <%s.%d@net.test>\r\n\r\n", join, id(t), i))
	}
	// What comes after is done after: the mail of one list keeps its order.
	send(t, "late@else.test", join, fmt.Sprintf("From: late@else.test\r\nTo: %s\r\nMessage-ID: <%s.late@net.test>\r\n\r\n", join, id(t)))
	received(t, "late@else.test", "Please confirm")
	eventually(t, "an empty queue", func() bool { return !strings.Contains(command(t, "queue", "ls"), name) })
	n := 0
	for _, tx := range out.Transactions() {
		if slices.Contains(tx.Recipients, "victim@net.test") && bytes.Contains(tx.Body, []byte(name)) {
			n++
		}
	}
	if n == 0 || n > 3 {
		t.Errorf("the victim gets %d mails of 100", n)
	}
}

// TestAnInvitation: an owner invites by mail, and whom they invited joins a list that nobody else
// can join; one who was invited on the host declines.
func TestAnInvitation(t *testing.T) {
	name := newList(t, []string{"subscription_policy=closed"}, "bob@net.test")
	boss, ann := "boss."+id(t)+"@net.test", "ann."+id(t)+"@net.test"
	command(t, "member", "add", name, boss, "--role", "owner")
	request := strings.Replace(name, "@", "-request@", 1)
	send(t, boss, request, fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: invite %s\r\nMessage-ID: <%s.1@net.test>\r\n\r\n", boss, request, ann, id(t)))
	answer(t, boss, received(t, boss, "do nothing: then nobody is invited"), "Yes.")
	received(t, boss, ann+" is invited.")
	answer(t, ann, received(t, ann, "You are invited to the list"), "accept")
	received(t, ann, "Welcome to the list "+name)

	cy := "cy." + id(t) + "@net.test"
	command(t, "member", "invite", name, cy, "--text", "Come to us.")
	answer(t, cy, received(t, cy, "  | Come to us."), "decline")
	received(t, cy, "is not invited to "+name+" any more")
	got := command(t, "member", "invitations", name)
	for _, want := range []string{"accepted", "declined"} {
		if !strings.Contains(got, want) {
			t.Errorf("invitations are\n%s", got)
		}
	}
	if members := command(t, "member", "ls", name); !strings.Contains(members, ann) || strings.Contains(members, cy) {
		t.Errorf("members are\n%s", members)
	}
}

// TestTheSitesOwnAddress: whoever knows no list asks the site, and joins one.
func TestTheSitesOwnAddress(t *testing.T) {
	name := newList(t, []string{"description=All about " + id(t)})
	ann, site := "ann."+id(t)+"@net.test", "mlist@lists.test"
	ask := func(subject string) {
		send(t, ann, site, fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%s.%d@net.test>\r\n\r\n", ann, site, subject, id(t), len(subject)))
	}
	ask("lists")
	received(t, ann, name+": All about "+id(t))
	ask("subscribe " + strings.TrimSuffix(name, "@lists.test"))
	answer(t, ann, received(t, ann, "confirm that you want to join"), "Yes.")
	received(t, ann, "Welcome to the list "+name)
	ask("which")
	received(t, ann, ann+" is a member since")
}
