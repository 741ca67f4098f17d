package pipeline

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/moderate"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk"
)

// holding holds every post that no moderator has let through.
func holding(_ context.Context, p *host.Post) (host.Result, error) {
	if p.Approved {
		return verdict(sdk.Accept)(context.Background(), p)
	}
	p.Notes["posting.hits"] = "nonmember: Posts by people who are not members of this list are held.\nno-subject: Posts without a subject are held."
	return host.Result{Verdict: sdk.Hold("nonmember", "Posts by people who are not members of this list are held."), Stage: "posting"}, nil
}

// heldWorld is a list that holds every post, with one member, one owner and two moderators.
func heldWorld(t *testing.T, settings ...string) (*world, *outbox) {
	w := newWorld(t, stagesFunc(holding))
	w.add(list.Owner, "boss@x.test")
	w.add(list.Moderator, "mod@x.test", "second@x.test")
	w.add(list.Member, "reader@x.test")
	if len(settings) > 0 {
		w.set(settings...)
	}
	return w, &outbox{w: w}
}

// posted posts as somebody, number n of them, and waits until it is held.
func (w *world) posted(from string, n int) {
	w.t.Helper()
	w.put(spool.Incoming, spool.Envelope{Sender: from, Recipient: "dev@lists.test", Received: w.clock()},
		fmt.Sprintf("From: %s\r\nTo: dev@lists.test\r\nSubject: number %d\r\nMessage-ID: <%d@net.test>\r\n\r\nBuy number %d!\r\n", from, n, n, n))
	w.idle()
}

func (w *world) decisions() []store.Decision {
	w.t.Helper()
	var out []store.Decision
	for d, err := range w.store.Decisions(w.t.Context(), w.list.ID, store.AboutPost) {
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, d)
	}
	return out
}

// at sets the clock, and starts the daemon anew, which then looks what is due.
func (w *world) at(now time.Time, stages Stages) {
	w.t.Helper()
	w.stop()
	w.now = func() time.Time { return now }
	w.start(stages)
	w.looked()
}

// looked waits until the daemon has looked once more what moderators are to be told, and
// all of it is done: the channel holds one, which is taken when a look is over.
func (w *world) looked() {
	w.t.Helper()
	for range 3 {
		w.daemon.waits <- struct{}{}
	}
	w.idle()
}

func TestModeratorsDecideAboutPostsByMail(t *testing.T) {
	for _, tt := range []struct {
		name, answer, subject string
		delivered, author     string // parts of what the reader, and the author, are sent; "" for nothing
		done                  string // part of what the moderator is told
		log                   string
		action                list.Action // of the author as a nonmember
		banned                bool
	}{
		{"accept", "accept", "Re: waits", "Buy number 1!", "", "It is done: accepted.", "accept", "", false},
		{"accept, in another word and after a quotation", "> text\r\n\r\nApprove.\r\nno", "Re: waits", "Buy number 1!", "", "It is done: accepted.", "accept", "", false},
		{"by the link", "", "accept", "Buy number 1!", "", "It is done: accepted.", "accept", "", false},
		{"accept the sender from now on", "accept+", "", "Buy number 1!", "", "accepted, and what ann@net.test posts waits no more", "accept accept-sender", list.Defer, false},
		{"reject", "reject", "", "", "A moderator of the list rejected the message.", "It is done: rejected.", "reject", "", false},
		{"reject with a reason", "reject Off topic here.", "", "", "Off topic here.", "rejected, because: Off topic here.", "reject", "", false},
		{"discard", "discard", "", "", "", "It is done: discarded.", "discard", "", false},
		{"ban", "ban", "", "", "", "discarded, and ann@net.test is banned", "discard ban", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, out := heldWorld(t)
			w.posted("ann@net.test", 1)
			out.to("ann@net.test", "waits for a moderator")
			notice := out.to("mod@x.test", "number 1")
			out.to("second@x.test", "number 1")
			out.none() // the owners have moderators for it
			w.wrote(tokenIn(t, notice.text), "mod@x.test", "", tt.subject, tt.answer)
			out.to("mod@x.test", tt.done)
			if tt.delivered != "" {
				out.to("reader@x.test", tt.delivered)
			}
			if tt.author != "" {
				out.to("ann@net.test", tt.author)
			}
			out.none()
			ds := w.decisions()
			if len(ds) != 1 || strings.TrimSpace(string(ds[0].Verdict)+" "+ds[0].Also) != tt.log || ds[0].By != "mod@x.test" {
				t.Errorf("the log is %+v", ds)
			}
			ms, err := w.store.Memberships(t.Context(), w.list.ID, []address.Address{addr(t, "ann@net.test")})
			if err != nil || (len(ms) > 0) != (tt.action != "") || len(ms) > 0 && ms[0].Action != tt.action {
				t.Errorf("ann is %+v, %v", ms, err)
			}
			bans, err := w.store.MatchBans(t.Context(), w.list.ID, "lists.test", []address.Address{addr(t, "ann@net.test")})
			if err != nil || (len(bans) > 0) != tt.banned {
				t.Errorf("bans %+v, %v", bans, err)
			}
			if held := w.entries(spool.Held); len(held) != 0 {
				t.Errorf("held: %+v", held)
			}
			w.wrote(tokenIn(t, notice.text), "second@x.test", "", "", "accept") // with another's token
			out.to("second@x.test", "mod@x.test has decided already, on 20")
			out.none()
		})
	}
}

func TestWhatANoticeOfAHeldPostSays(t *testing.T) {
	w, out := heldWorld(t, "max_days_to_hold=10")
	w.put(spool.Incoming, spool.Envelope{Sender: "ann@net.test", Recipient: "dev@lists.test"},
		"From: =?utf-8?q?Ann=0D=0ABcc:_x=40y.test?= <ann@net.test>\r\nTo: dev@lists.test\r\nSubject: =?utf-8?q?a=0D=0AReply-To:_eve=40net.test?=\r\n\r\n\x1b[2Jfirst\r\n\r\nsecond\r\n"+strings.Repeat("more\r\n", 50))
	w.idle()
	n := out.to("mod@x.test", "waits for you")
	for _, want := range []string{
		"To: mod@x.test\r\n", "Subject: A message to dev@lists.test waits for you\r\n", "Auto-Submitted: auto-generated\r\n",
		"From:    Ann  Bcc: x@y.test <ann@net.test>\r\n", "Subject: a  Reply-To: eve@net.test\r\n", " octets\r\n",
		"\r\n  Posts by people who are not members of this list are held.\r\n  Posts without a subject are held.\r\n",
		"  | [2Jfirst\r\n  | second\r\n", "  | [...]\r\n", "A message about which nobody has decided by ", "Content-Type: message/rfc822\r\n", "mlist held show ",
	} {
		if !strings.Contains(n.text, want) {
			t.Errorf("no %q in\n%s", want, n.text)
		}
	}
	if n.sender != "" {
		t.Errorf("it comes from %s", n.sender)
	}
	head, _, _ := strings.Cut(n.text, "\r\n\r\n")
	if strings.Contains(head, "Bcc") || strings.Contains(head, "eve@net.test") {
		t.Errorf("the author writes the header:\n%s", head)
	}
	reply, other := tokenIn(t, n.text), tokenIn(t, out.to("second@x.test", "waits for you").text)
	if reply == other {
		t.Error("two moderators have one token")
	}
	// Each link makes a mail that decides.
	links := regexp.MustCompile(`mailto:\S+`).FindAllString(n.text, -1)
	if len(links) != 5 {
		t.Fatalf("links %q", links)
	}
	for i, verb := range []string{"accept", "accept+", "reject", "discard", "ban"} {
		u, err := url.Parse(links[i])
		if err != nil {
			t.Fatal(err)
		}
		to, err := url.PathUnescape(u.Opaque)
		if err != nil || to != reply || u.Query().Get("body") != verb || u.Query().Get("subject") != verb {
			t.Errorf("the link for %s is %s", verb, links[i])
		}
	}
}

// Answers as programs write them: HTML alone, the token's address in capitals, notices of several posts quoted
// with all their tokens, very long ones.
func TestAnswersAsProgramsWriteThem(t *testing.T) {
	const html = "MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n"
	quoted := "\r\n\r\nOn Tue, 24 Nov 2026 at 10:00, Dev <dev-owner@lists.test> wrote:\r\n> discard  mailto:dev-confirm%2Baaaaaaaaaaaaaaaa@lists.test\r\n> accept\r\n> Reply-To: dev-confirm+bbbbbbbbbbbbbbbb@lists.test\r\n"
	for _, tt := range []struct{ name, header, text, done string }{
		{"HTML alone", html, "<html><head><style>discard</style></head><body><div dir=3Dauto><p>Accept</p></div><hr><blockquote>discard</blockquote></body></html>", "accepted"},
		{"HTML, quoted in a block", html, "<div>reject Not <b>here</b>.</div><br><div>On Tue, Dev wrote:<br><blockquote>accept</blockquote></div>", "rejected, because: Not here."},
		{"HTML beside a text without anything", "MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n",
			"--b\r\nContent-Type: text/plain\r\n\r\n \r\n--b\r\nContent-Type: text/html\r\n\r\n<p>discard</p>\r\n--b--\r\n", "discarded"},
		{"quoted-printable, with a line in the middle of the word", "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n", "acc=\r\nept\r\n", "accepted"},
		{"several tokens quoted", "", "accept" + quoted, "accepted"},
		{"below the quotation", "", strings.TrimLeft(quoted, "\r\n") + "\r\ndiscard\r\n", "discarded"},
		{"very much below it", "", "accept" + quoted + strings.Repeat("> x\r\n", 1<<18), "accepted"},
		{"HTML without an answer", html, "<p>On Tue, Dev wrote:</p><blockquote>accept</blockquote>", ""},
		{"what HTML hides", html, "<script>accept</script><!-- accept --><p>Well, hm.</p>", ""},
	} {
		for _, upper := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, capitals %t", tt.name, upper), func(t *testing.T) {
				w, out := heldWorld(t)
				w.posted("ann@net.test", 1)
				to := tokenIn(t, out.to("mod@x.test", "number 1").text)
				if upper {
					to = strings.ToUpper(to)
				}
				w.wrote(to, "mod@x.test", "", "Re: waits", tt.text, tt.header)
				if tt.done != "" {
					out.to("mod@x.test", "It is done: "+tt.done)
				} else if out.to("mod@x.test", "To decide, answer with one of these"); len(w.decisions()) != 0 {
					t.Error("something is decided")
				}
			})
		}
	}
}

// TestNobodyElseDecidesAboutAPost: what is not a moderator's own token, or is not written by
// a person, changes nothing.
func TestNobodyElseDecidesAboutAPost(t *testing.T) {
	w, out := heldWorld(t)
	w.posted("eve@net.test", 1)
	out.to("eve@net.test", "waits for a moderator")
	token := tokenIn(t, out.to("mod@x.test", "number 1").text)
	out.to("second@x.test", "number 1")
	const prefix, suffix = "dev-confirm+", "@lists.test"
	detail := strings.TrimSuffix(strings.TrimPrefix(token, prefix), suffix)
	handle, mac := detail[:store.HandleLen], detail[store.HandleLen:]
	flip := func(s string) string { return map[bool]string{true: "b", false: "a"}[s[0] == 'a'] + s[1:] }
	for _, tt := range []struct{ name, detail, from, header string }{
		{"the handle alone", handle, "mod@x.test", ""},
		{"another hash", handle + flip(mac), "mod@x.test", ""},
		{"another handle", flip(handle) + mac, "mod@x.test", ""},
		{"a longer token", detail + "a", "mod@x.test", ""},
		{"the entry's id", string(w.entries(spool.Held)[0].ID), "mod@x.test", ""},
		{"an automatic reply", detail, "mod@x.test", "Auto-Submitted: auto-replied\r\n"},
		{"a bounce", detail, "<>", ""},
		{"list mail", detail, "mod@x.test", "List-Id: <x>\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			to := prefix + tt.detail + suffix
			if tt.from == "<>" {
				w.put(spool.Incoming, spool.Envelope{Recipient: to, Role: string(address.RoleConfirm), Detail: tt.detail}, "From: mod@x.test\r\n\r\naccept\r\n")
				w.idle()
			} else {
				w.wrote(to, tt.from, "", "accept", "accept", tt.header)
			}
			if held := w.entries(spool.Held); len(held) != 1 || len(w.decisions()) != 0 {
				t.Errorf("held %+v, decided %+v", held, w.decisions())
			}
		})
	}
	t.Run("an out-of-office message", func(t *testing.T) {
		w.wrote(token, "mod@x.test", "", "Out of office", "accept")
		if len(w.decisions()) != 0 {
			t.Error("it was taken")
		}
	})
	t.Run("prose", func(t *testing.T) {
		out.collect()
		out.mail = nil
		w.wrote(token, "mod@x.test", "", "Re: waits", "I cannot accept this.")
		out.to("mod@x.test", "To decide, answer with one of these")
		if len(w.decisions()) != 0 {
			t.Error("it was taken")
		}
	})
	t.Run("who is moderator no more", func(t *testing.T) {
		_, err := w.store.RemoveMembers(t.Context(), w.list.ID, list.Moderator, func(yield func(address.Address, error) bool) { yield(addr(t, "mod@x.test"), nil) })
		if err != nil {
			t.Fatal(err)
		}
		w.wrote(token, "mod@x.test", "", "", "accept")
		if len(w.decisions()) != 0 {
			t.Error("it was taken")
		}
	})
	t.Run("another list's token", func(t *testing.T) {
		l := &list.List{Address: addr(t, "ops@lists.test"), Settings: list.Defaults()}
		if err := w.store.CreateList(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		tokens, err := w.daemon.desk().Tokens(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		w.wrote(prefix+tokens.Post(addr(t, "second@x.test"), handle)+suffix, "second@x.test", "", "", "accept")
		if len(w.decisions()) != 0 {
			t.Error("it was taken")
		}
	})
}

// TestASecondRunOfADecisionAboutAPost: the first dies when all is done, and before anybody
// is told.
func TestASecondRunOfADecisionAboutAPost(t *testing.T) {
	w, out := heldWorld(t)
	w.posted("ann@net.test", 1)
	token := tokenIn(t, out.to("mod@x.test", "number 1").text)
	w.stop()
	w.startWith(&forgettingStore{Store: w.store}, stagesFunc(holding))
	w.wrote(token, "mod@x.test", "", "", "accept")
	out.to("mod@x.test", "It is done: accepted.")
	out.to("reader@x.test", "Buy number 1!")
	out.to("second@x.test", "number 1")
	out.to("ann@net.test", "waits for a moderator")
	out.none()
	if ds := w.decisions(); len(ds) != 1 {
		t.Errorf("decided %+v", ds)
	}
}

// forgettingStore fails once after a decision, before the spool has done it.
type forgettingStore struct {
	Store
	failed bool
}

func (s *forgettingStore) DecideHeld(ctx context.Context, step store.Step, entry string, h store.HeldDecision) (store.Decision, bool, error) {
	d, first, err := s.Store.DecideHeld(ctx, step, entry, h)
	if err == nil && !s.failed {
		s.failed = true
		return d, first, context.DeadlineExceeded
	}
	return d, first, err
}

// TestADecisionWhoseProcessDied: the spool does it all the same, a minute later.
func TestADecisionWhoseProcessDied(t *testing.T) {
	w, out := heldWorld(t)
	w.posted("ann@net.test", 1)
	held := w.entries(spool.Held)
	if _, _, err := w.store.DecideHeld(t.Context(), store.Step{ListID: w.list.ID, At: time.Now().Add(-2 * unsettled)}, string(held[0].ID), store.HeldDecision{Verdict: store.VerdictAccept}); err != nil {
		t.Fatal(err)
	}
	w.at(time.Now(), stagesFunc(holding))
	out.to("reader@x.test", "Buy number 1!")
}

// morning is a time at which no list of what waits is due.
var morning = time.Date(2026, 11, 25, 10, 30, 0, 0, time.UTC)

// TestAWaveOfSpam: the moderator is told of the first posts one by one, and of the rest at
// once; one answer throws all of them away.
func TestAWaveOfSpam(t *testing.T) {
	w, out := heldWorld(t, "respond_to_post_requests=false")
	w.at(morning, stagesFunc(holding))
	const wave = 60
	for n := range wave {
		w.posted(fmt.Sprintf("spam%d@net.test", n), n)
	}
	for n := range noticesPerHour {
		out.to("mod@x.test", fmt.Sprintf("Buy number %d!", n))
		out.to("second@x.test", fmt.Sprintf("Buy number %d!", n))
	}
	out.none()
	w.at(morning.Add(time.Hour), stagesFunc(holding))
	list := out.to("mod@x.test", "Messages: 60\r\n  Requests: 0").text
	out.to("second@x.test", "Messages: 60")
	out.none()
	if n := strings.Count(list, "Subject: number "); n != maxListed || !strings.Contains(list, "and 10 more") {
		t.Errorf("%d are listed:\n%s", n, list)
	}
	if _, lines, _ := strings.Cut(list, "\r\n\r\n"); strings.Count(lines, "mailto:") != 3*maxListed {
		t.Errorf("%d links", strings.Count(lines, "mailto:"))
	}
	w.posted("late@net.test", 99)
	out.to("mod@x.test", "Buy number 99!")
	out.to("second@x.test", "Buy number 99!")
	good := regexp.MustCompile(`(?m)^([a-z2-7]{6})  since`).FindAllStringSubmatch(list, 3)
	w.wrote(tokenIn(t, list), "mod@x.test", "", "Re: What waits", fmt.Sprintf("accept %s\r\nreject %s: Not here.\r\naccept all\r\naccept zzzzzz\r\ndiscard all\r\nThanks!\r\ndiscard all\r\n", good[0][1], good[1][1]))
	answer := out.to("mod@x.test", "It is done. Accepted: 1, rejected: 1, discarded: 58.").text
	for _, want := range []string{"> accept all\r\nNothing is done", "zzzzzz: no such message waits", "> Thanks!\r\nNot understood"} {
		if !strings.Contains(answer, want) {
			t.Errorf("no %q in\n%s", want, answer)
		}
	}
	out.to("reader@x.test", "Buy number 0!")
	out.to("spam1@net.test", "Not here.")
	out.none()
	if held := w.entries(spool.Held); len(held) != 1 {
		t.Errorf("%d are held, want the late one", len(held))
	}
	w.wrote(tokenIn(t, list), "second@x.test", "", "", "discard all") // all that was listed is gone
	if held := w.entries(spool.Held); len(held) != 1 {
		t.Errorf("%d are held, want the late one", len(held))
	}
}

// TestWhenModeratorsAreTold: at once, or in a list when it is time and something is new.
func TestWhenModeratorsAreTold(t *testing.T) {
	eight := time.Date(2026, 11, 26, 8, 5, 0, 0, time.UTC)
	for _, tt := range []struct {
		name     string
		settings []string
		atOnce   bool
		lists    []time.Time // at which of the times below a list comes
	}{
		{"at once, and once more if it waits a day", nil, true, []time.Time{eight.Add(24 * time.Hour)}},
		{"at once alone", []string{"moderation_summary=none"}, true, nil},
		{"hourly", []string{"admin_immed_notify=false", "moderation_summary=hourly"}, false, []time.Time{morning.Add(time.Hour)}},
		{"daily", []string{"admin_immed_notify=false"}, false, []time.Time{eight}},
		{"never", []string{"admin_immed_notify=false", "moderation_summary=none", "max_days_to_hold=1000"}, false, nil},
		{"at once, with a reminder", []string{"moderation_summary=none", "max_days_to_hold=2"}, true, []time.Time{eight.Add(24 * time.Hour)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, out := heldWorld(t, append(tt.settings, "respond_to_post_requests=false", "subscription_policy=moderate")...)
			w.at(morning, stagesFunc(holding))
			w.posted("ann@net.test", 1)
			if tt.atOnce {
				out.to("mod@x.test", "Buy number 1!")
				out.to("second@x.test", "Buy number 1!")
			}
			out.none()
			lists := tt.lists
			for _, now := range []time.Time{morning.Add(20 * time.Minute), morning.Add(time.Hour), morning.Add(2 * time.Hour), eight, eight.Add(time.Hour), eight.Add(24 * time.Hour), eight.Add(25 * time.Hour)} {
				w.at(now, stagesFunc(holding))
				if len(lists) > 0 && lists[0].Equal(now) {
					lists = lists[1:]
					out.to("mod@x.test", "Messages: 1\r\n")
					out.to("second@x.test", "Messages: 1\r\n")
				}
				out.none()
			}
		})
	}
}

// TestNobodyDecidesInTime: a reminder, and then the post waits no longer.
func TestNobodyDecidesInTime(t *testing.T) {
	for _, tt := range []struct {
		action, author string
		verdict        store.Verdict
	}{{"discard", "", store.VerdictDiscard}, {"reject", "No moderator has decided within 10 days.", store.VerdictReject}} {
		t.Run(tt.action, func(t *testing.T) {
			w, out := heldWorld(t, "max_days_to_hold=10", "expired_held_action="+tt.action, "respond_to_post_requests=false", "moderation_summary=none")
			w.at(morning, stagesFunc(holding))
			w.posted("ann@net.test", 1)
			token := tokenIn(t, out.to("mod@x.test", "Buy number 1!").text)
			out.to("second@x.test", "Buy number 1!")
			w.at(morning.AddDate(0, 0, 4), stagesFunc(holding))
			out.none()
			w.at(morning.AddDate(0, 0, 5), stagesFunc(holding))
			out.to("mod@x.test", "Messages: 1\r\n")
			out.to("second@x.test", "within 10 days is "+tt.action+"ed.")
			w.at(morning.AddDate(0, 0, 9), stagesFunc(holding))
			out.none()
			w.at(morning.AddDate(0, 0, 10), stagesFunc(holding))
			if tt.author != "" {
				out.to("ann@net.test", tt.author)
			}
			out.none()
			if ds := w.decisions(); len(ds) != 1 || ds[0].Verdict != tt.verdict || ds[0].By != "mlist" {
				t.Errorf("decided %+v", ds)
			}
			if len(w.entries(spool.Held)) != 0 {
				t.Error("it is held")
			}
			w.wrote(token, "mod@x.test", "", "", "accept")
			out.to("mod@x.test", "mlist has decided already")
			out.none()
		})
	}
}

// TestNobodyDecidesAboutARequestInTime: a reminder, and then the request waits no longer, which is
// written down.
func TestNobodyDecidesAboutARequestInTime(t *testing.T) {
	for _, tt := range []struct{ action, told string }{{"discard", ""}, {"reject", "No moderator has decided within 10 days."}} {
		t.Run(tt.action, func(t *testing.T) {
			w, out := commandWorld(t, "subscription_policy=moderate", "max_days_for_requests=10", "moderation_summary=none", "expired_held_action="+tt.action)
			w.at(morning, verdict(sdk.Accept))
			w.wrote("dev-join@lists.test", "ann@net.test", "", "", "")
			token := tokenIn(t, out.to("boss@x.test", "within 10 days").text)
			out.to("ann@net.test", "A moderator decides")
			w.at(morning.AddDate(0, 0, 4), verdict(sdk.Accept))
			out.none()
			w.at(morning.AddDate(0, 0, 5), verdict(sdk.Accept))
			if again := out.to("boss@x.test", "ann@net.test  since "); !strings.Contains(again.text, "Requests: 1") {
				t.Errorf("reminded by\n%s", again.text)
			}
			w.at(morning.AddDate(0, 0, 9), verdict(sdk.Accept))
			out.none()
			w.at(morning.AddDate(0, 0, 10), verdict(sdk.Accept))
			if tt.told != "" {
				out.to("ann@net.test", tt.told)
			}
			out.none()
			var log []store.Decision
			for dec, err := range w.store.Decisions(t.Context(), w.list.ID, store.AboutRequest) {
				if err != nil {
					t.Fatal(err)
				}
				log = append(log, dec)
			}
			if len(log) != 1 || string(log[0].Verdict) != tt.action || log[0].By != "mlist" || log[0].Why != "No moderator has decided within 10 days." || log[0].Address.String() != "ann@net.test" {
				t.Errorf("decided %+v", log)
			}
			w.wrote(token, "boss@x.test", "", "", "accept")
			out.to("boss@x.test", "mlist has decided already")
			out.none()
		})
	}
}

// TestATokenForAPostEnds: with its life, or when the post is taken away on the list's host.
func TestATokenForAPostEnds(t *testing.T) {
	w, out := heldWorld(t, "respond_to_post_requests=false", "moderation_summary=none")
	w.at(morning, stagesFunc(holding))
	w.posted("ann@net.test", 1)
	token := tokenIn(t, out.to("mod@x.test", "Buy number 1!").text)
	out.to("second@x.test", "Buy number 1!")
	w.at(morning.Add(ticketLife+time.Minute), stagesFunc(holding))
	w.wrote(token, "mod@x.test", "", "", "accept")
	out.to("mod@x.test", "does not wait any more")
	w.at(morning.Add(time.Hour), stagesFunc(holding))
	if err := w.spool.Remove(t.Context(), w.entries(spool.Held)[0]); err != nil {
		t.Fatal(err)
	}
	w.wrote(token, "mod@x.test", "", "", "accept")
	out.to("mod@x.test", "does not wait any more")
	out.none()
	if _, err := w.store.HeldPost(t.Context(), w.list.ID, "", strings.TrimPrefix(token, "dev-confirm+")[:store.HandleLen]); err == nil {
		t.Error("it is not forgotten")
	}
}

// TestOwnersModerateWhereNobodyElseDoes, and requests are on the list, too.
func TestOwnersModerateWhereNobodyElseDoes(t *testing.T) {
	w := newWorld(t, stagesFunc(holding))
	out := &outbox{w: w}
	w.add(list.Owner, "boss@x.test")
	w.set("admin_immed_notify=false", "respond_to_post_requests=false", "subscription_policy=moderate", "moderation_summary=hourly")
	w.at(morning, stagesFunc(holding))
	w.wrote("dev-join@lists.test", "new@net.test", "", "", "")
	out.to("new@net.test", "A moderator decides")
	w.posted("ann@net.test", 1)
	w.at(morning.Add(time.Hour), stagesFunc(holding))
	text := out.to("boss@x.test", "Messages: 1\r\n  Requests: 1\r\n").text
	out.none()
	links := regexp.MustCompile(`mailto:(\S+)\?subject=(\S+)&`).FindAllStringSubmatch(text, -1)
	if len(links) != 6 {
		t.Fatalf("links %q", links)
	}
	for _, i := range []int{3, 0} { // the request, the post
		to, err := url.PathUnescape(links[i][1])
		if err != nil {
			t.Fatal(err)
		}
		w.wrote(to, "boss@x.test", "", "accept", "accept")
		out.to("boss@x.test", "It is done")
	}
	out.to("new@net.test", "Welcome")
	out.to("new@net.test", "Buy number 1!")
	out.none()
}

func TestADigestOfNothingIsNotSent(t *testing.T) {
	w, out := heldWorld(t)
	w.put(spool.Incoming, spool.Envelope{Role: roleWaiting, Detail: moderate.Minute(time.Now())}, "\r\n")
	w.idle()
	w.put(spool.Incoming, spool.Envelope{Role: roleHeld, Detail: "aaaaaaaaaaaaaaaa"}, "\r\n")
	w.idle()
	w.put(spool.Incoming, spool.Envelope{Role: roleWaiting, Detail: "!"}, "\r\n")
	w.idle()
	out.none()
	if failed := w.entries(spool.Failed); len(failed) != 1 || !strings.Contains(failed[0].Reason, "no time") {
		t.Errorf("failed: %+v", failed)
	}
}
