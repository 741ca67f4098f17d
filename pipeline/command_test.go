package pipeline

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/store/sqlstore"
	"github.com/mlist/mlist/sdk"
)

// wrote puts a message to one of the list's addresses, from somebody whose envelope sender
// is env ("" is that of from), and waits until it is done.
func (w *world) wrote(to, from, env, subject, text string, extra ...string) {
	w.t.Helper()
	a := addr(w.t, to)
	c := address.Candidates(a)
	if len(c) < 2 {
		w.t.Fatalf("%s is no role address", to)
	}
	if env == "" {
		env = from
	}
	w.put(spool.Incoming, spool.Envelope{Sender: env, Recipient: to, Role: string(c[1].Role), Detail: c[1].Detail, Received: w.clock()},
		fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <x@net.test>\r\n%s\r\n%s\r\n", from, to, subject, strings.Join(extra, ""), text))
	w.idle()
}

func (w *world) clock() time.Time {
	if w.now != nil {
		return w.now()
	}
	return time.Now()
}

var confirmAddress = regexp.MustCompile(`(?m)^Reply-To: (\S+)\r$`)

// tokenIn is the address that a letter is to be answered to.
func tokenIn(t *testing.T, text string) string {
	t.Helper()
	m := confirmAddress.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no Reply-To in\n%s", text)
	}
	return m[1]
}

// none complains about mail that is left.
func (o *outbox) none() {
	o.w.t.Helper()
	if o.collect(); len(o.mail) != 0 {
		o.w.t.Errorf("there is more mail: %+v", o.mail)
	}
}

func commandWorld(t *testing.T, settings ...string) (*world, *outbox) {
	w := newWorld(t, verdict(sdk.Accept))
	w.add(list.Owner, "boss@x.test")
	if len(settings) > 0 {
		w.set(settings...)
	}
	return w, &outbox{w: w}
}

func TestJoinAndLeaveByMail(t *testing.T) {
	for _, tt := range []struct{ name, join, leave, subject string }{
		{"by addresses", "dev-join@lists.test", "dev-leave@lists.test", "whatever"},
		{"by their other names", "dev-subscribe@lists.test", "dev-unsubscribe@lists.test", ""},
		{"by addresses with a plus", "dev+join@lists.test", "dev+unsubscribe@lists.test", ""},
		{"by commands", "dev-request@lists.test", "dev-request@lists.test", "%s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, out := commandWorld(t, "admin_notify_mchanges=true")
			subject := func(verb string) string { return strings.ReplaceAll(tt.subject, "%s", verb) }
			w.wrote(tt.join, "Ann <ann@net.test>", "ann@net.test", subject("join"), "")
			if s := w.statusOf("ann@net.test"); s != "" {
				t.Fatalf("ann is %s before she has confirmed", s)
			}
			ask := out.to("ann@net.test", "Please confirm that you want to join")
			if ask.sender != "" || !strings.Contains(ask.text, "Auto-Submitted: auto-replied\r\n") || !strings.Contains(ask.text, "In-Reply-To: <x@net.test>\r\n") {
				t.Errorf("from %q:\n%s", ask.sender, ask.text)
			}
			if tt.subject == "%s" {
				out.to("ann@net.test", "> join\r\nann@net.test was sent what to do next")
			}
			out.none()
			w.wrote(tokenIn(t, ask.text), "ann@net.test", "", "Re: Please confirm", "> quoted")
			if s := w.statusOf("ann@net.test"); s != list.Enabled {
				t.Fatalf("ann is %q", s)
			}
			out.to("ann@net.test", "Welcome to dev@lists.test")
			out.to("boss@x.test", "ann@net.test has joined")
			out.none()
			w.wrote(tokenIn(t, ask.text), "ann@work.test", "", "Re: Please confirm", "again")
			out.to("ann@work.test", "Nothing waits for this token") // it was used
			out.none()

			w.wrote(tt.leave, "ann@net.test", "", subject("leave"), "")
			ask = out.to("ann@net.test", "Please confirm that you want to leave")
			if tt.subject == "%s" {
				out.to("ann@net.test", "> leave")
			}
			token := strings.TrimSuffix(strings.TrimPrefix(tokenIn(t, ask.text), "dev-confirm+"), "@lists.test")
			w.wrote("dev-request@lists.test", "ann.other@net.test", "", "", "confirm "+token)
			if s := w.statusOf("ann@net.test"); s != "" {
				t.Errorf("ann is %s", s)
			}
			out.to("ann@net.test", "has left the list")
			out.to("ann.other@net.test", "ann@net.test has left dev@lists.test")
			out.to("boss@x.test", "ann@net.test has left")
			out.none()
		})
	}
}

func TestPoliciesOfJoiningAndLeaving(t *testing.T) {
	for _, tt := range []struct {
		name     string
		settings []string
		env      string // of a mail from new@net.test to -join
		member   bool
		mail     map[string]string // whom, and a part of what
	}{
		{"open", []string{"subscription_policy=open"}, "new@net.test", true, map[string]string{"new@net.test": "Welcome"}},
		{"open, but the envelope does not say so", []string{"subscription_policy=open"}, "eve@net.test", false, map[string]string{"new@net.test": "Please confirm"}},
		{"open, without a greeting", []string{"subscription_policy=open", "send_welcome_message=false"}, "new@net.test", true, map[string]string{"new@net.test": "new@net.test has joined"}},
		{"confirm", nil, "new@net.test", false, map[string]string{"new@net.test": "Please confirm"}},
		{"closed", []string{"subscription_policy=closed"}, "new@net.test", false, map[string]string{"new@net.test": "Its owners can help"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, out := commandWorld(t, tt.settings...)
			w.wrote("dev-join@lists.test", "new@net.test", tt.env, "", "")
			if is := w.statusOf("new@net.test") != ""; is != tt.member {
				t.Errorf("a member: %t, want %t", is, tt.member)
			}
			for who, what := range tt.mail {
				out.to(who, what)
			}
			out.none()
		})
	}
	t.Run("leave a list that is open", func(t *testing.T) {
		w, out := commandWorld(t, "unsubscription_policy=open")
		w.add(list.Member, "ann@net.test")
		w.wrote("dev-leave@lists.test", "ann@net.test", "", "", "")
		out.to("ann@net.test", "has left the list")
		out.none()
		w.wrote("dev-leave@lists.test", "ann@net.test", "", "", "")
		out.to("ann@net.test", "no member of dev@lists.test")
		out.none()
	})
}

func TestWhoIsBannedCannotJoin(t *testing.T) {
	w, out := commandWorld(t)
	w.wrote("dev-join@lists.test", "eve@net.test", "", "", "")
	token := tokenIn(t, out.to("eve@net.test", "Please confirm").text)
	if err := w.store.AddBan(t.Context(), list.Ban{Scope: list.Scope{ListID: w.list.ID}, What: "@net.test", Reason: "sells watches"}); err != nil {
		t.Fatal(err)
	}
	w.wrote(token, "eve@net.test", "", "Re:", "")
	w.wrote("dev-join@lists.test", "eve2@net.test", "", "", "")
	for _, who := range []string{"eve@net.test", "eve2@net.test"} {
		if strings.Contains(out.to(who, "cannot join").text, "watches") {
			t.Error("the reason of a ban is told")
		}
	}
	out.none()
	if s := w.statusOf("eve@net.test"); s != "" {
		t.Errorf("eve is %s", s)
	}
}

// TestAStrangerLearnsNothing: whoever asks for another hears the same, member or not.
func TestAStrangerLearnsNothing(t *testing.T) {
	w, out := commandWorld(t)
	w.add(list.Member, "ann@net.test")
	for _, verb := range []string{"join", "leave"} {
		var said []string
		for _, who := range []string{"ann@net.test", "bob@net.test"} {
			w.wrote("dev-request@lists.test", verb+"@else.test", "", verb+" address="+who, "")
			_, answer, _ := strings.Cut(out.to(verb+"@else.test", "> ").text, "> ")
			said = append(said, strings.ReplaceAll(answer, who, "X"))
		}
		if said[0] != said[1] || strings.Count(said[0], "X") != 2 {
			t.Errorf("of a member and of somebody else it is said %q", said)
		}
	}
	w.wrote("dev-join@lists.test", "ann@net.test", "mallory@else.test", "", "")
	out.to("bob@net.test", "Please confirm that you want to join")
	out.to("ann@net.test", "Please confirm that you want to leave")
	out.none()
}

// TestMachinesGetNoAnswerToCommands: and what they seem to ask for is not done.
func TestMachinesGetNoAnswerToCommands(t *testing.T) {
	for _, tt := range []struct{ name, env, extra, subject string }{
		{"the null sender", "<>", "", "join"},
		{"an automatic reply", "ann@net.test", "Auto-Submitted: auto-replied\r\n", "join"},
		{"list mail", "ann@net.test", "List-Id: <x.y>\r\n", "join"},
		{"a vacation message of old", "ann@net.test", "X-Autoreply: yes\r\n", "join"},
		{"a robot", "mailer-daemon@net.test", "", "join"},
		{"one that wants no answer", "no_reply+17@net.test", "", "join"},
		{"and another", "shop-noreply@net.test", "", "join"},
		{"a read receipt", "ann@net.test", "Content-Type: multipart/report; report-type=disposition-notification; boundary=b\r\n", "join"},
		{"a list", "ops@lists.test", "", "join"},
		{"a list's other address", "ops-owner@lists.test", "", "join"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, out := commandWorld(t, "subscription_policy=open", "unsubscription_policy=open")
			w.add(list.Member, "ann@net.test")
			w.otherList("ops@lists.test", "bob@net.test")
			for _, to := range []string{"dev-join@lists.test", "dev-leave@lists.test"} {
				w.put(spool.Incoming, spool.Envelope{Sender: strings.Trim(tt.env, "<>"), Recipient: to, Role: string(address.Candidates(addr(t, to))[1].Role)},
					"From: ann@net.test\r\nSubject: "+tt.subject+"\r\n"+tt.extra+"\r\n")
			}
			w.idle()
			out.none()
			if s := w.statusOf("ann@net.test"); s != list.Enabled {
				t.Errorf("ann is %q", s)
			}
		})
	}
}

func TestAVacationResponderConfirmsNothing(t *testing.T) {
	w, out := commandWorld(t)
	w.wrote("dev-join@lists.test", "ann@net.test", "", "", "")
	confirm := tokenIn(t, out.to("ann@net.test", "Please confirm").text)
	w.wrote(confirm, "ann@net.test", "", "Out of office: Please confirm", "I am away.")
	w.wrote(confirm, "ann@net.test", "", "Re: Please confirm", "I am away.", "Auto-Submitted: auto-replied\r\n")
	w.wrote(confirm, "ann@net.test", "", "Read: Please confirm", "It was read.", "Content-Type: multipart/report; boundary=b;\r\n report-type=disposition-notification\r\n")
	if s := w.statusOf("ann@net.test"); s != "" {
		t.Errorf("ann is %s", s)
	}
	out.none()
	w.wrote(confirm, "ann@net.test", "", "Re: Please confirm", "Now I am back.")
	if s := w.statusOf("ann@net.test"); s != list.Enabled {
		t.Errorf("ann is %q", s)
	}
}

func TestATokenEnds(t *testing.T) {
	w, out := commandWorld(t)
	w.stop()
	c := &clock{at: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)}
	w.now = c.now
	w.start(verdict(sdk.Accept))
	w.wrote("dev-join@lists.test", "ann@net.test", "", "", "")
	confirm := tokenIn(t, out.to("ann@net.test", "within\r\n3 days").text)
	c.days(3)
	w.wrote(confirm, "ann@net.test", "", "late", "")
	out.to("ann@net.test", "Nothing waits for this token")
	c.days(1)
	w.wrote("dev-request@lists.test", "ann@net.test", "", "confirm "+strings.TrimPrefix(confirm, "dev-confirm+"), "")
	out.to("ann@net.test", "Nothing waits for this token")
	if s := w.statusOf("ann@net.test"); s != "" {
		t.Errorf("ann is %s", s)
	}
}

// TestAConfirmationBomb: however often and wherever it is asked for in one victim's name,
// few mails come of it.
func TestAConfirmationBomb(t *testing.T) {
	for _, tt := range []struct {
		name string
		ask  func(w *world, i int)
	}{
		{"to -join", func(w *world, i int) {
			w.wrote("dev-join@lists.test", "victim@net.test", fmt.Sprintf("eve%d@else.test", i), "", "")
		}},
		{"with the victim's envelope", func(w *world, i int) { w.wrote("dev-join@lists.test", "victim@net.test", "", "", "") }},
		{"by commands", func(w *world, i int) {
			w.wrote("dev-request@lists.test", fmt.Sprintf("eve%d@else.test", i), "", "", "join address=victim@net.test\njoin address=VICTIM@net.test digest=mime")
		}},
		{"by leaving", func(w *world, i int) { w.wrote("dev-leave@lists.test", "victim@net.test", "", "", "") }},
		{"of an open list", func(w *world, i int) {
			if i == 0 {
				w.set("subscription_policy=open", "unsubscription_policy=open")
			}
			w.wrote([]string{"dev-join@lists.test", "dev-leave@lists.test"}[i%2], "victim@net.test", "", "", "")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, out := commandWorld(t)
			for i := range 100 {
				tt.ask(w, i)
			}
			out.collect()
			n := 0
			for _, m := range out.mail {
				if strings.EqualFold(m.to, "victim@net.test") {
					n++
				}
			}
			if n == 0 || n > 2*2 { // notices_per_day is 2 here; one entry may lead to two mails
				t.Errorf("the victim gets %d mails", n)
			}
		})
	}
}

// TestNobodyHasAllTheWorldAsked: notices_per_day is 2 here, and so 20 for others.
func TestNobodyHasAllTheWorldAsked(t *testing.T) {
	w, out := commandWorld(t)
	for i := range 3 {
		var lines []string
		for j := range 10 {
			lines = append(lines, fmt.Sprintf("join address=v%d-%d@net.test", i, j))
		}
		w.wrote("dev-request@lists.test", "eve@else.test", "", "", strings.Join(lines, "\n"))
	}
	w.wrote("dev-request@lists.test", "fay@else.test", "", "", "join address=gil@net.test")
	out.collect()
	got := map[string]int{}
	for _, m := range out.mail {
		got[m.to[:1]]++
	}
	if got["v"] != 20 || got["e"] != 2 || got["g"] != 1 {
		t.Errorf("mail to %v, want 20 to those whom eve names, two to her, and one to gil", got)
	}
}

// TestCommandsAreNoWayIntoAHeader: whatever names, subjects and addresses hold, what goes
// out has the fields that mlist wrote, and a text.
func TestCommandsAreNoWayIntoAHeader(t *testing.T) {
	for _, tt := range []struct{ name, from, subject, text string }{
		{"a name with an encoded line break", "=?utf-8?q?Ann=0D=0ABcc:_evil@x.test?= <ann@net.test>", "join", ""},
		{"a name with a line separator", "=?utf-8?q?Ann=E2=80=A8Bcc:_evil@x.test?= <ann@net.test>", "join", ""},
		{"a quoted name", `"Ann\" <evil@x.test>, \"" <ann@net.test>`, "join", ""},
		{"a subject with an encoded line break", "ann@net.test", "=?utf-8?q?echo_x=0D=0ABcc:_evil@x.test?=", ""},
		{"an echo", "ann@net.test", "", "echo x =0D=0ABcc: evil@x.test \x1b[2J\u2028\u202e"},
		{"an option", "ann@net.test", "", "join address=\"a\r\nBcc:evil\"@x.test"},
		{"an address with quotes", "ann@net.test", "", `join address="a>\"<evil@x.test>"@net.test`},
		{"a token", "ann@net.test", "=?utf-8?q?confirm_x=0D=0ABcc:evil=40x.test?=\r\n ", "confirm x\u2028"},
		{"a message's id", "ann@net.test", "help", "\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, out := commandWorld(t, "subscription_policy=open")
			w.wrote("dev-request@lists.test", tt.from, "ann@net.test", tt.subject, tt.text, "References: <a@b>\r\n\tBcc:evil@x.test\r\n")
			if out.collect(); len(out.mail) == 0 {
				t.Error("no answer")
			}
			for _, m := range out.mail {
				head, body, _ := strings.Cut(m.text, "\r\n\r\n")
				if strings.Contains(strings.ToLower(head), "bcc") || strings.Contains(head, "evil@x.test>,") {
					t.Errorf("the header is\n%s", head)
				}
				if strings.ContainsAny(strings.ReplaceAll(body, "\r\n", ""), "\x00\x1b\r\n\u2028\u202e") {
					t.Errorf("the text is %q", body)
				}
				if m.to == "evil@x.test" {
					t.Error("evil is a recipient")
				}
			}
			for m, err := range w.store.Members(t.Context(), w.list.ID, store.Filter{}) {
				if err != nil || strings.ContainsAny(m.DisplayName, "\r\n\u2028") {
					t.Errorf("a member is called %q, %v", m.DisplayName, err)
				}
			}
		})
	}
}

func TestCommandsByMail(t *testing.T) {
	for _, tt := range []struct {
		name, subject, text string
		want                []string // in one answer
		owners              bool     // it goes to them
	}{
		{"help", "help", "", []string{"> help\r\n", "join [digest="}, false},
		{"nothing at all", "", "", []string{"join [digest="}, false},
		{"echo", "echo Hello", "", []string{"> echo Hello\r\nHello\r\n"}, false},
		{"several", "", "echo one\necho two\nend\necho three", []string{"one\r\n", "two\r\n"}, false},
		{"a line that is no command", "", "echo one\nwhatever\necho two", []string{"> whatever\r\nNo command."}, false},
		{"options that are wrong", "join colour=red", "", []string{"Not understood: join"}, false},
		{"an address that is none", "leave address=ann", "", []string{"Not understood: leave"}, false},
		{"the list itself", "join address=dev@lists.test", "", []string{"cannot join"}, false},
		{"one of the list's addresses", "join address=dev-request@lists.test", "", []string{"cannot join"}, false},
		{"another list", "join address=ops@lists.test", "", []string{"cannot join"}, false},
		{"another list, to leave", "leave address=ops@lists.test", "", []string{"cannot leave"}, false},
		{"a token of nothing", "confirm abcdefgh", "", []string{"Nothing waits"}, false},
		{"a letter", "A question", "How do I join?", nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, out := commandWorld(t)
			w.otherList("ops@lists.test", "bob@net.test")
			w.wrote("dev-request@lists.test", "ann@net.test", "", tt.subject, tt.text)
			if tt.owners {
				out.to("boss@x.test", tt.text)
			} else {
				text := out.to("ann@net.test", "Subject: Your message to dev-request@lists.test").text
				for _, want := range tt.want {
					if !strings.Contains(text, want) {
						t.Errorf("no %q in\n%s", want, text)
					}
				}
				if strings.Contains(text, "three") || strings.Count(text, "end\r\n    What follows") > 1 {
					t.Errorf("there is too much in\n%s", text)
				}
			}
			out.none()
		})
	}
}

func TestCommandsInEveryKindOfText(t *testing.T) {
	for _, tt := range []struct{ name, header, body string }{
		{"base64", "Content-Transfer-Encoding: base64\r\n", "ZWNobyBoZWxsbwo="},
		{"a multipart", "Content-Type: multipart/alternative; boundary=b\r\n", "--b\r\nContent-Type: text/html\r\n\r\n<p>echo html\r\n--b\r\nContent-Type: text/plain\r\n\r\necho hello\r\n--b--"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, out := commandWorld(t)
			w.wrote("dev-request@lists.test", "ann@net.test", "", "", tt.body, "MIME-Version: 1.0\r\n", tt.header)
			out.to("ann@net.test", "> echo hello\r\nhello\r\n")
			out.none()
		})
	}
}

func TestARequestThatTheListRespondsTo(t *testing.T) {
	w, out := commandWorld(t, "autorespond_requests=respond_and_continue")
	w.wrote("dev-request@lists.test", "ann@net.test", "", "echo hello", "")
	out.to("ann@net.test", "Automatic answer to your message")
	out.to("ann@net.test", "> echo hello")
	out.none()
}

// dyingStore loses what comes after the first answer or request.
type dyingStore struct {
	*sqlstore.Store
	left atomic.Int64
}

func (s *dyingStore) AllowNotice(ctx context.Context, a address.Address, entry string, at time.Time, limit int, window time.Duration) (bool, error) {
	if s.left.Add(-1) >= 0 {
		return false, errors.New("the store is gone")
	}
	return s.Store.AllowNotice(ctx, a, entry, at, limit, window)
}

// TestASecondRunOfACommandDoesNothingTwice: the first run dies when all is done, and before
// anybody is told.
func TestASecondRunOfACommandDoesNothingTwice(t *testing.T) {
	w, out := commandWorld(t, "subscription_policy=open", "unsubscription_policy=open", "admin_notify_mchanges=true")
	w.stop()
	dying := &dyingStore{Store: w.store}
	dying.left.Store(2)
	w.startWith(dying, verdict(sdk.Accept))
	w.wrote("dev-request@lists.test", "ann@net.test", "", "", "join\nleave\njoin digest=plain")
	m, err := w.store.Memberships(t.Context(), w.list.ID, []address.Address{addr(t, "ann@net.test")})
	if err != nil || len(m) != 1 || m[0].Mode != list.PlaintextDigest {
		t.Errorf("ann is %+v, %v", m, err)
	}
	h, err := w.store.MemberHistory(t.Context(), w.list.ID, addr(t, "ann@net.test"), 10)
	if err != nil || len(h) != 3 {
		t.Errorf("history %+v, %v", h, err)
	}
	if text := out.to("ann@net.test", "> join").text; strings.Contains(text, "already") || strings.Contains(text, "no member") {
		t.Errorf("the answer knows of a first run:\n%s", text)
	}
	out.to("ann@net.test", "Welcome")
	out.to("ann@net.test", "has left the list")
	out.to("boss@x.test", "has joined")
	out.to("boss@x.test", "has left")
	out.none()
}

// Without welcome and goodbye, who asked is told what was done; nobody else is told anything.
func TestAListWithoutWelcomeAndGoodbye(t *testing.T) {
	w, out := commandWorld(t, "subscription_policy=open", "unsubscription_policy=open", "send_welcome_message=false", "send_goodbye_message=false")
	w.wrote("dev-join@lists.test", "Ann <ann@net.test>", "ann@net.test", "", "")
	if s := w.statusOf("ann@net.test"); s != list.Enabled {
		t.Errorf("ann is %q", s)
	}
	out.to("ann@net.test", "ann@net.test has joined dev@lists.test")
	out.none()
	w.wrote("dev-leave@lists.test", "Ann <ann@net.test>", "ann@net.test", "", "")
	if s := w.statusOf("ann@net.test"); s != "" {
		t.Errorf("ann is %q", s)
	}
	out.to("ann@net.test", "ann@net.test has left dev@lists.test")
	out.none()
}
