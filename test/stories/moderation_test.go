package stories

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"
)

// passes lets time pass for what a list holds: it was held so much earlier, and so were its
// moderators told. The daemon looks again when another post is held.
func passes(t *testing.T, list string, d time.Duration) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(mlist.Dir, "mlist.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	local, domain, _ := strings.Cut(list, "@")
	for _, s := range []string{
		`UPDATE held_posts SET held = held - ?1, told = max(told - ?1, 0) WHERE list_id = (SELECT id FROM lists WHERE address_key = ?2)`,
		`UPDATE tellings SET hour = hour - ?1, summary = max(summary - ?1, 0) WHERE list_id = (SELECT id FROM lists WHERE address_key = ?2)`,
	} {
		if _, err := db.Exec(s, d.Microseconds(), domain+" "+local); err != nil {
			t.Fatal(err)
		}
	}
}

// holds posts to a list that holds it, and waits until it does.
func holds(t *testing.T, list, from, subject string) {
	t.Helper()
	before := len(held(t, list))
	send(t, from, list, strings.Replace(message(t, from, list, subject), "<"+id(t), "<"+subject+"."+id(t), 1))
	eventually(t, "a held post", func() bool { return len(held(t, list)) > before })
}

// moderated is a list with members, whose moderators are named after the story.
func moderated(t *testing.T, settings []string) (list, mod, second string) {
	t.Helper()
	list = newList(t, append(settings, "respond_to_post_requests=false"), three...)
	mod, second = "mod."+id(t)+"@net.test", "second."+id(t)+"@net.test"
	command(t, "member", "add", list, mod, second, "--role", "moderator")
	return list, mod, second
}

// decisions are what `mlist held log --json` says.
func decisions(t *testing.T, list string) (out []struct{ Verdict, By, Subject string }) {
	t.Helper()
	if err := json.Unmarshal([]byte(command(t, "held", "log", list, "--json")), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// mailsTo counts the mails to somebody that have a text.
func mailsTo(recipient, text string) int {
	n := 0
	for _, tx := range out.Transactions() {
		if slices.Contains(tx.Recipients, recipient) && bytes.Contains(tx.Body, []byte(text)) {
			n++
		}
	}
	return n
}

// settled waits until a list's mail is done: what comes after is done after.
func settled(t *testing.T, list string) {
	t.Helper()
	eventually(t, "an empty queue", func() bool { return !strings.Contains(command(t, "queue", "ls", "incoming"), list) })
}

// TestAModeratorAwayForAWeek: an autoresponder decides nothing, a reminder comes, the second
// moderator decides; and what nobody decides about expires.
func TestAModeratorAwayForAWeek(t *testing.T) {
	list, away, second := moderated(t, []string{"max_days_to_hold=14", "moderation_summary=none"})
	holds(t, list, "eve@else.test", "first")
	notice := received(t, away, "waits for you", "first")
	to := string(replyTo.FindSubmatch(notice)[1])
	for i, header := range []string{"Auto-Submitted: auto-replied", "X-Autoreply: yes", "Subject: Out of office: accept"} {
		send(t, away, to, fmt.Sprintf("From: %s\r\nTo: %s\r\n%s\r\nMessage-ID: <away%d.%s@net.test>\r\n\r\naccept\r\n", away, to, header, i, id(t)))
	}
	eventually(t, "the answers", func() bool { return strings.Count(mlist.Log(), "no person confirms, dropped") >= 3 })
	settled(t, list)
	if len(held(t, list)) != 1 || len(decisions(t, list)) != 0 {
		t.Fatal("a machine has decided")
	}

	passes(t, list, 7*24*time.Hour+time.Minute)
	holds(t, list, "dan@else.test", "second")
	reminder := received(t, second, "This waits for the moderators of "+list, "first")
	received(t, away, "This waits for the moderators of "+list, "first")
	handle := regexp.MustCompile(`(?m)^([a-z2-7]{6})  since`).FindSubmatch(reminder)
	if handle == nil {
		t.Fatalf("nothing is listed in\n%s", reminder)
	}
	answer(t, second, reminder, "accept "+string(handle[1]))
	received(t, second, "Accepted: 1")
	if got, _ := delivered(t, "first."+id(t)+"@net.test", 3); !slices.Equal(got, three) {
		t.Errorf("delivered to %v", got)
	}

	passes(t, list, 14*24*time.Hour)
	send(t, "cy@else.test", list, strings.Replace(message(t, "cy@else.test", list, "third"), "<"+id(t), "<third."+id(t), 1))
	eventually(t, "the end of the second", func() bool { h := held(t, list); return len(h) == 1 && h[0]["subject"] == "third" })
	if d := decisions(t, list); len(d) != 2 || d[0].By != "mlist" || d[0].Subject != "second" || d[0].Verdict != "discard" || d[1].By != second {
		t.Errorf("the log is %+v", d)
	}
	answer(t, away, notice, "reject")
	received(t, away, second+" has decided already", "accepted")
}

// TestTwoModeratorsAtOnce: one decides, and the other is told what.
func TestTwoModeratorsAtOnce(t *testing.T) {
	list, one, other := moderated(t, nil)
	holds(t, list, "eve@else.test", "both")
	notices := map[string][]byte{one: received(t, one, "waits for you", "both"), other: received(t, other, "waits for you", "both")}
	var wg sync.WaitGroup
	for who, word := range map[string]string{one: "accept", other: "reject No."} {
		wg.Go(func() { answer(t, who, notices[who], word) })
	}
	wg.Wait()
	eventually(t, "both answers", func() bool {
		return mailsTo(one, "It is done")+mailsTo(other, "It is done") == 1 && mailsTo(one, "has decided already")+mailsTo(other, "has decided already") == 1
	})
	d := decisions(t, list)
	if len(d) != 1 {
		t.Fatalf("the log is %+v", d)
	}
	if mailsTo(d[0].By, "It is done") != 1 {
		t.Errorf("%s has decided, and another is told that it is done", d[0].By)
	}
	if d[0].Verdict == "accept" {
		if got, _ := delivered(t, "both."+id(t)+"@net.test", 3); !slices.Equal(got, three) {
			t.Errorf("delivered to %v", got)
		}
	} else {
		received(t, "eve@else.test", "was rejected", "No.")
	}
}

// TestASpamWave: moderators get few mails, and one answer throws all of it away.
func TestASpamWave(t *testing.T) {
	list, mod, _ := moderated(t, []string{"moderation_summary=none"})
	const wave = 40
	for i := range wave {
		from := fmt.Sprintf("spam%d@else.test", i)
		send(t, from, list, strings.Replace(message(t, from, list, "buy now"), "<"+id(t), fmt.Sprintf("<%d.%s", i, id(t)), 1))
	}
	eventually(t, "held posts", func() bool { return len(held(t, list)) == wave })
	received(t, mod, "waits for you", list)
	settled(t, list)
	passes(t, list, time.Hour)
	holds(t, list, "late@else.test", "late")
	summary := received(t, mod, "This waits for the moderators of "+list, fmt.Sprintf("Messages: %d", wave))
	if n := mailsTo(mod, list+" waits for you"); n > 11 { // ten, and the late one
		t.Errorf("%d notices of single posts", n)
	}
	answer(t, mod, summary, "discard all")
	received(t, mod, fmt.Sprintf("discarded: %d", wave))
	if left := held(t, list); len(left) != 1 || left[0]["subject"] != "late" {
		t.Errorf("held: %v", left)
	}
	for i := range wave {
		if n := mailsTo(fmt.Sprintf("spam%d@else.test", i), list); n != 0 {
			t.Fatalf("a spammer gets %d mails", n)
		}
	}
}

// TestAModeratedSubscriptionIsDecidedByMail from the wish to join to the welcome.
func TestAModeratedSubscriptionIsDecidedByMail(t *testing.T) {
	list, mod, second := moderated(t, []string{"subscription_policy=confirm_then_moderate"})
	join := strings.Replace(list, "@", "-join@", 1)
	ann := "ann." + id(t) + "@net.test"
	send(t, ann, join, fmt.Sprintf("From: Ann <%s>\r\nTo: %s\r\nMessage-ID: <join.%s@net.test>\r\n\r\n", ann, join, id(t)))
	answer(t, ann, received(t, ann, "to join the list "+list), "Yes.")
	notice := received(t, mod, ann, "wants to")
	received(t, second, ann, "wants to")
	answer(t, mod, notice, "accept")
	received(t, ann, "Welcome to the list "+list)
	answer(t, second, notice, "reject")
	received(t, second, mod+" has decided already", "accepted")
	if members := command(t, "member", "ls", list); !strings.Contains(members, ann) {
		t.Errorf("members are\n%s", members)
	}
	if log := command(t, "request", "log", list); !strings.Contains(log, "accepted   by "+mod+"  join "+ann) {
		t.Errorf("the log is\n%s", log)
	}
}

// TestAForgedApproval: whoever writes in a moderator's name, and does not have the moderator's
// mail, lets nothing through.
func TestAForgedApproval(t *testing.T) {
	list, mod, _ := moderated(t, nil)
	holds(t, list, "eve@else.test", "forged")
	received(t, mod, "waits for you", "forged")
	entry := held(t, list)[0]["id"].(string)
	confirm := strings.Replace(list, "@", "-confirm+TOKEN@", 1)
	for i, token := range []string{entry, "aaaaaaaaaaaaaaaa", entry[:6] + "aaaaaaaaaa", "accept", "x"} {
		to := strings.Replace(confirm, "TOKEN", token, 1)
		send(t, mod, to, fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: accept\r\nMessage-ID: <%d.%s@net.test>\r\n\r\naccept\r\n", mod, to, i, id(t)))
	}
	request := strings.Replace(list, "@", "-request@", 1)
	send(t, mod, request, fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: confirm %s\r\nMessage-ID: <r.%s@net.test>\r\n\r\naccept\r\n", mod, request, entry, id(t)))
	received(t, mod, "Nothing waits for this token")
	settled(t, list)
	if len(held(t, list)) != 1 || len(decisions(t, list)) != 0 {
		t.Error("a forged answer was taken")
	}
	if n := len(deliveries("forged." + id(t) + "@net.test")); n != 0 {
		t.Errorf("the post was delivered %d times", n)
	}
}
