package stories

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk/password"
	"github.com/mlist/mlist/test/harness"
)

// withMilter is a Postfix that asks the milter of a site, beside the one of all stories.
func withMilter(t *testing.T, site *harness.Mlist) *harness.Postfix {
	t.Helper()
	dir, remove, err := harness.TempDir("milter")
	if err != nil {
		t.Fatal(err)
	}
	p, err := harness.StartPostfix(t.Context(), filepath.Join(dir, "postfix"), harness.PostfixOptions{
		Domain: "lists.test", LMTP: site.LMTP, Relay: out.Addr().String(), Milter: site.Milter,
	})
	if err != nil {
		remove()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Postfix's log:\n%s", p.Log())
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		remove()
	})
	return p
}

// ownSite is another mlist, set otherwise than that of all stories, with a Postfix of its own.
func ownSite(t *testing.T, set map[string]string) (*harness.Mlist, *harness.Postfix) {
	t.Helper()
	dir, remove, err := harness.TempDir("site")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remove)
	site, err := harness.Install(dir, filepath.Dir(mlist.Bin), harness.Options{MTA: postfix.HandBack, DNS: records, Set: set})
	if err != nil {
		t.Fatal(err)
	}
	if err := site.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("its log:\n%s", site.Log())
		}
		if err := site.Stop(); err != nil {
			t.Error(err)
		}
	})
	return site, withMilter(t, site)
}

// dial opens an SMTP session that ends with the test.
func dial(t *testing.T, p *harness.Postfix) *smtp.Client {
	t.Helper()
	c, err := smtp.Dial(p.SMTP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// code is the SMTP code of an answer: 250 if it is no error.
func code(t *testing.T, err error) int {
	t.Helper()
	var reply *textproto.Error
	switch {
	case err == nil:
		return 250
	case errors.As(err, &reply):
		return reply.Code
	}
	t.Fatal(err)
	return 0
}

// post sends a message in a session that goes on, and returns what was said to its end.
func post(t *testing.T, c *smtp.Client, from string, to []string, text string) error {
	t.Helper()
	if err := c.Mail(from); err != nil {
		t.Fatal(err)
	}
	for _, a := range to {
		if err := c.Rcpt(a); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return w.Close()
}

// With the milter, and all else at its default, whoever is refused is told by their own server, and no mail
// about it leaves this machine, whatever the post is refused for.
func TestARefusedPostLeavesNoBounceBehind(t *testing.T) {
	p := withMilter(t, mlist)
	list := newList(t, []string{"default_nonmember_action=reject", "dmarc_fail_action=reject", "filter_content=true", "filter_extensions=exe", "filter_action=reject"}, three...)
	closed, frozen, news := "closed-"+list, "frozen-"+list, "news-"+list
	for _, name := range []string{closed, frozen} {
		command(t, "list", "create", name)
		command(t, "member", "add", name, "ann@net.test")
	}
	command(t, "list", "close", closed)
	command(t, "list", "freeze", frozen)
	command(t, "list", "create", news, "--style", "announce")
	command(t, "member", "add", news, "ann@net.test")
	command(t, "ban", "add", "--list", list, "banned@else.test")
	c := dial(t, p)
	var refused []string
	for i, tt := range []struct{ from, to, header, body string }{
		{from: "eve0@else.test", to: list},                                      // a nonmember
		{from: "eve1@else.test", to: closed},                                    // at RCPT
		{from: "eve2@else.test", to: frozen},                                    // at RCPT
		{from: "eve3@else.test", to: news},                                      // an announcement list
		{from: "eve4@else.test", to: strings.Replace(list, "@", "-nosuch@", 1)}, // at RCPT
		{from: "banned@else.test", to: list},                                    // at RCPT
		{from: "eve6@bank.test", to: list},                                      // forged: nobody vouches for bank.test
		{from: "eve7@else.test", to: list, header: "From: " + list + "\r\n"},    // in the list's own name
		{from: "ann@net.test", to: news, header: "X-Case: a member\r\n"},        // who may read there alone
		{from: "ann@net.test", to: list, header: strings.Repeat("Received: from a by b; Tue, 24 Nov 2026 12:00:00 +0000\r\n", 35)},
		{from: "ann@net.test", to: list, header: "Content-Type: application/octet-stream; name=x.exe\r\n"},
	} {
		text := strings.Replace(message(t, tt.from, tt.to, "buy"), "<"+id(t), fmt.Sprintf("<%d.%s", i, id(t)), 1)
		if strings.HasPrefix(tt.header, "From:") {
			_, text, _ = strings.Cut(text, "\r\n")
		}
		err := post(t, c, tt.from, []string{tt.to}, tt.header+text)
		if got := code(t, err); got != 550 || !strings.Contains(err.Error(), "5.7.1") && !strings.Contains(err.Error(), "5.1.1") {
			t.Errorf("from %s to %s: %v, want 550 and why", tt.from, tt.to, err)
		}
		if err := c.Reset(); err != nil {
			t.Fatal(err)
		}
		refused = append(refused, tt.from)
	}
	// In the same session, a member's goes through; so by then the others would have bounced.
	if err := post(t, c, "ann@net.test", []string{list}, message(t, "ann@net.test", list, "lunch")); err != nil {
		t.Fatal(err)
	}
	delivered(t, id(t)+"@net.test", 3)
	q, err := p.Queue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range refused {
		if strings.Contains(q, who) && who != "ann@net.test" {
			t.Errorf("Postfix's queue has mail to %s: %s", who, q)
		}
		for _, tx := range out.Transactions() {
			if slices.Contains(tx.Recipients, who) && strings.Contains(string(tx.Body), list) && tx.MessageID != id(t)+"@net.test" {
				t.Errorf("mail to %s:\n%s", who, tx.Body)
			}
		}
	}
}

func TestARefusedRecipientCostsOthersNothing(t *testing.T) {
	p := withMilter(t, mlist)
	list := newList(t, nil, three...)
	other := strings.Replace(list, "@", "-owner@", 1)
	c := dial(t, p)
	if err := c.Mail("ann@net.test"); err != nil {
		t.Fatal(err)
	}
	for _, to := range []struct {
		address string
		want    int
	}{{"nosuch@lists.test", 550}, {list, 250}, {"nosuch2@lists.test", 550}, {other, 250}} {
		if got := code(t, c.Rcpt(to.address)); got != to.want {
			t.Errorf("RCPT %s: %d, want %d", to.address, got, to.want)
		}
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, message(t, "ann@net.test", list, "lunch"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	delivered(t, id(t)+"@net.test", 3)
}

// strict is a site on which every rule rejects that can.
var strict = map[string]string{
	"plugin.posting.reject": `["no-sender", "emergency", "banned", "header-match", "nonmember", "member-moderated", "first-posts", "rate", "null-sender", "auto-reply"]`,
	"plugin.limits.rules":   `["bad-from", "administrivia", "implicit-dest", "too-many-recipients", "too-big", "no-subject", "suspicious-header", "digest-reply"]`,
	"plugin.limits.reject":  `["bad-from", "administrivia", "implicit-dest", "too-many-recipients", "too-big", "no-subject", "suspicious-header", "digest-reply"]`,
}

// The milter and the pipeline judge by the same stages: what one says of a message, the
// other says, too. There is a row for each code that a post can be refused with.
func TestMilterAndPipelineSayTheSame(t *testing.T) {
	p := withMilter(t, mlist)
	other, op := ownSite(t, strict)
	const (
		ann, eve = "ann@net.test", "eve@else.test"
		html     = "MIME-Version: 1.0\r\nContent-Type: text/html\r\n"
	)
	envelope := []string{"sender_headers=envelope"}
	reject := []string{"default_nonmember_action=reject"}
	big := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1000)
	secret, err := password.Hash("sesame")
	if err != nil {
		t.Fatal(err)
	}
	var many strings.Builder
	for i := range 600 {
		fmt.Fprintf(&many, "X-%d: y\r\n", i)
	}
	codes := map[string]bool{}
	rows := 0
	for i, tt := range []struct {
		name, from string
		code       string // of the verdict: "" of what is let in
		settings   []string
		header     string   // before the usual one; or, with bare, all of it
		body       string   // after the usual one
		also       []string // a command before; LIST stands for the list
		envelope   string   // the envelope sender, if it is not from; <> is the null one
		bare       bool
		strict     bool // at the site where every rule rejects
	}{
		{name: "a member", from: ann},
		{name: "a nonmember that is held", from: eve, code: "nonmember"},
		{name: "a nonmember that is rejected", from: eve, code: "nonmember", settings: reject},
		{name: "a nonmember that is rejected in the list's words", from: eve, code: "nonmember", settings: append(reject, "nonmember_rejection_notice=100% members, naïve ones.")},
		{name: "a nonmember that is discarded", from: eve, code: "nonmember", settings: []string{"default_nonmember_action=discard"}},
		{name: "a member that is rejected", from: ann, code: "member-moderated", settings: []string{"default_member_action=reject"}},
		{name: "a member that is held", from: ann, code: "member-moderated", settings: []string{"default_member_action=hold"}},
		{name: "a member with an action", from: ann, code: "member-moderated", also: []string{"member", "set", "LIST", ann, "--action", "reject"}},
		{name: "a pattern that rejects", from: eve, code: "nonmember", settings: []string{"reject_these_nonmembers=^eve@"}},
		{name: "a pattern that accepts", from: eve, settings: append(reject, "accept_these_nonmembers=^eve@")},
		{name: "a pattern that discards", from: eve, code: "nonmember", settings: []string{"discard_these_nonmembers=^eve@"}},
		{name: "a member who is a nonmember in From", from: ann, header: "Sender: eve@else.test\r\n", settings: reject},
		{name: "too big", from: ann, code: "too-big", body: big},
		{name: "too big, strictly", from: ann, code: "too-big", body: big, strict: true},
		{name: "too many hops", from: ann, code: "too-many-hops", header: strings.Repeat("Received: from a by b; Tue, 24 Nov 2026 12:00:00 +0000\r\n", 35)},
		{name: "a loop", from: ann, code: "loop", header: "X-BeenThere: LIST\r\n"},
		{name: "a loop through an older address", from: ann, code: "loop", header: "X-BeenThere: old-LIST\r\n", also: []string{"list", "alias", "add", "LIST", "old-LIST"}},
		{name: "an emergency", from: ann, code: "emergency", settings: []string{"emergency=true"}},
		{name: "an emergency, strictly", from: ann, code: "emergency", settings: []string{"emergency=true"}, strict: true},
		{name: "a list that is frozen", from: ann, code: "frozen", also: []string{"list", "freeze", "LIST"}},
		{name: "a list that is closed", from: eve, code: "closed", also: []string{"list", "close", "LIST"}},
		{name: "somebody who is banned", from: ann, code: "banned", envelope: eve, also: []string{"ban", "add", "--list", "LIST", eve}},
		{name: "somebody whose domain is banned", from: eve, code: "banned", also: []string{"ban", "add", "--list", "LIST", "@else.test"}},
		{name: "an author who is banned", from: eve, code: "banned", envelope: ann, also: []string{"ban", "add", "--list", "LIST", eve}},
		{name: "an author who is banned, strictly", from: eve, code: "banned", envelope: ann, also: []string{"ban", "add", "--list", "LIST", "^ev.@"}, strict: true},
		{name: "the list itself", from: "LIST", code: "forged-list", envelope: ann},
		{name: "the list's owners, as the envelope has them", from: ann, code: "forged-list", envelope: "owner-of-LIST"},
		{name: "what fails DMARC", from: "ann@bank.test", code: "dmarc-fail", settings: []string{"dmarc_fail_action=reject"}, also: []string{"member", "add", "LIST", "ann@bank.test"}},
		{name: "what fails DMARC and is held", from: "ann@bank.test", code: "dmarc-fail", settings: []string{"dmarc_fail_action=hold"}},
		{name: "what receivers would refuse", from: "ann@bank.test", code: "dmarc", settings: []string{"dmarc_mitigate_action=reject"}, also: []string{"member", "add", "LIST", "ann@bank.test"}},
		{name: "few write, by the envelope", from: ann, code: "member-moderated", settings: append(envelope, "default_member_action=reject")},
		{name: "few write, and this is one", from: eve, envelope: ann, settings: append(envelope, "default_nonmember_action=reject")},
		{name: "an announcement list", from: ann, code: "member-moderated", settings: []string{"--style=announce"}},
		{name: "an announcement list, by the envelope", from: ann, code: "member-moderated", settings: append(envelope, "--style=announce")},
		{name: "an announcement list, and one who may", from: ann, settings: []string{"--style=announce"}, also: []string{"member", "set", "LIST", ann, "--action", "accept"}},
		{name: "a folded subject", from: eve, code: "nonmember", header: "Subject: one\r\n two\r\n", settings: reject},
		{name: "a header that is rejected", from: ann, code: "header-match", header: "X-Spam: yes\r\n", settings: []string{"header_matches=reject X-Spam: yes"}},
		{name: "a header that is held, strictly", from: ann, code: "header-match", header: "X-Spam: yes\r\n", settings: []string{"header_matches=hold X-Spam: yes"}, strict: true},
		{name: "first posts", from: ann, code: "first-posts", settings: []string{"moderate_until_posts=1"}, strict: true},
		{name: "a bounce", from: ann, code: "null-sender", envelope: "<>", strict: true},
		{name: "a bounce, held", from: ann, code: "null-sender", envelope: "<>"},
		{name: "a holiday answer", from: ann, code: "auto-reply", header: "Auto-Submitted: auto-replied\r\n", strict: true},
		{name: "nobody", code: "no-sender", envelope: "<>", bare: true, header: "To: LIST\r\nSubject: x\r\n", strict: true},
		{name: "two authors", from: ann, code: "bad-from", header: "From: eve@else.test\r\n", strict: true},
		{name: "a command", from: ann, code: "administrivia", bare: true, header: "From: ann@net.test\r\nTo: LIST\r\nSubject: unsubscribe\r\n", strict: true},
		{name: "a list that is not named", from: ann, code: "implicit-dest", bare: true, header: "From: ann@net.test\r\nTo: you@net.test\r\nSubject: x\r\n", strict: true},
		{name: "too many recipients", from: ann, code: "too-many-recipients", header: "Cc: " + strings.Repeat("a@b.test, ", 12) + "c@d.test\r\n", strict: true},
		{name: "no subject", from: ann, code: "no-subject", bare: true, header: "From: ann@net.test\r\nTo: LIST\r\n", strict: true},
		{name: "a header of old", from: ann, code: "suspicious-header", header: "X-Mailer: bulk\r\n", settings: []string{"bounce_matching_headers=X-Mailer: bulk"}, strict: true},
		{name: "an answer to a digest", from: ann, code: "digest-reply", bare: true, header: "From: ann@net.test\r\nTo: LIST\r\nSubject: Re: Dev Digest, Vol 3, Issue 14\r\n", strict: true},
		{name: "a type that is rejected", from: ann, code: "filtered-type", header: html, settings: []string{"filter_content=true", "filter_types=text/html", "filter_action=reject"}},
		{name: "nothing is left", from: ann, code: "filtered-empty", bare: true, settings: []string{"filter_content=true", "filter_types=image", "filter_action=reject"},
			header: "From: ann@net.test\r\nTo: LIST\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n", body: "--b\r\nContent-Type: image/gif\r\n\r\nx\r\n--b--\r\n"},
		{name: "signed, and filtered", from: ann, code: "filtered-signed", bare: true, settings: []string{"filter_content=true", "filter_types=image", "filter_signed_action=reject"},
			header: "From: ann@net.test\r\nTo: LIST\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; protocol=\"application/pgp-signature\"; boundary=b\r\n",
			body:   "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nHello.\r\n--c\r\nContent-Type: image/gif\r\n\r\nx\r\n--c--\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--b--\r\n"},
		{name: "urgent, they say", from: ann, code: "urgent-password", header: "Urgent: please\r\n", settings: []string{"moderator_password=" + secret}},
		{name: "not anonymous", from: ann, code: "not-anonymous", settings: []string{"anonymous_list=true"}, header: many.String()},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "-"), func(t *testing.T) {
			rows++
			site, p := mlist, p
			if tt.strict {
				site, p = other, op
			}
			run := func(args ...string) {
				t.Helper()
				if text, err := site.Command(t.Context(), nil, args...); err != nil {
					t.Fatal(text, err)
				}
			}
			list := fmt.Sprintf("same%d@lists.test", i)
			named := func(s string) string {
				s = strings.ReplaceAll(s, "owner-of-LIST", strings.Replace(list, "@", "-owner@", 1))
				return strings.ReplaceAll(s, "LIST", list)
			}
			run(append([]string{"list", "create", list}, tt.settings...)...)
			run(append([]string{"member", "add", list}, three...)...)
			if tt.also != nil {
				run(strings.Fields(named(strings.Join(tt.also, " ")))...)
			}
			from := named(cmp.Or(tt.envelope, tt.from))
			if from == "<>" {
				from = ""
			}
			text := named(tt.header) + message(t, named(tt.from), list, "hello") + tt.body
			if tt.bare {
				text = named(tt.header) + "\r\n" + tt.body
			}
			c := dial(t, p)
			if err := c.Mail(from); err != nil {
				t.Fatal(err)
			}
			early := code(t, c.Rcpt(list))
			said := post(t, dial(t, p), from, []string{list}, text)
			verdict := tried(t, site, list, from, text)
			if verdict.Code != tt.code {
				t.Errorf("the pipeline's verdict is %+v, want code %q", verdict, tt.code)
			}
			want := 250
			// What is refused at RCPT fares no better later; a discard needs no words there.
			switch {
			case verdict.Kind == "reject", verdict.Kind == "discard" && early == 550:
				want = 550
				codes[tt.code] = true
			case early != 250:
				t.Errorf("RCPT was answered with %d, and the pipeline's verdict is %+v", early, verdict)
			}
			if got := code(t, said); got != want {
				t.Errorf("the milter said %d (%v), the pipeline's verdict is %+v", got, said, verdict)
			}
		})
	}
	if t.Failed() || rows < 50 { // not all were asked for
		return
	}
	codes["loop"], codes["approved"] = true, true // one discards, and is no reason to refuse; the other lets in
	codes["rate"] = true                          // TestWhoPostsTooMuchIsRefused
	for _, rule := range rulesOfThePage(t) {
		if !codes[rule] {
			t.Errorf("no row is refused by rule %s", rule)
		}
	}
}

// rulesOfThePage are the rules that plugins/README.md names.
func rulesOfThePage(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("../../plugins/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "## Who may post")
	posting, rest, _ := strings.Cut(text, "## What may be posted")
	var out []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*`) \\|").FindAllStringSubmatch(posting, -1) {
		out = append(out, strings.Split(strings.ReplaceAll(row[1], "`", ""), ", ")...)
	}
	limits, _, _ := strings.Cut(rest, "The order is the site's")
	_, limits, _ = strings.Cut(limits, ":")
	for _, name := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(limits, -1) {
		out = append(out, name[1])
	}
	if len(out) < 20 {
		t.Fatalf("the page names %q", out)
	}
	return out
}

// verdict is what the stages say of a post.
type verdict struct{ Kind, Stage, Code, Reason string }

// tried is what `mlist try` says that the pipeline would.
func tried(t *testing.T, site *harness.Mlist, list, from, text string) verdict {
	t.Helper()
	var report struct{ Verdict verdict }
	shown, err := site.Command(t.Context(), strings.NewReader(text), "try", "--json", "--list", list, "--from", from)
	if bad := json.Unmarshal([]byte(shown), &report); bad != nil {
		t.Fatal(bad, err)
	}
	return report.Verdict
}

// Over-quota senders are refused where the site says that this rejects: at RCPT if the list goes by the
// envelope, else at the end, and while other recipients of the same message are taken.
func TestWhoPostsTooMuchIsRefused(t *testing.T) {
	site, p := ownSite(t, strict)
	for name, early := range map[string]int{"by-envelope@lists.test": 550, "by-from@lists.test": 250} {
		set := []string{"list", "create", name, "max_posts_per_hour=1"}
		if early == 550 {
			set = append(set, "sender_headers=envelope")
		}
		for _, args := range [][]string{set, {"member", "add", name, "ann@net.test", "bob@net.test"}} {
			if _, err := site.Command(t.Context(), nil, args...); err != nil {
				t.Fatal(err)
			}
		}
		first := strings.Replace(message(t, "ann@net.test", name, "one"), "<", "<"+name+".", 1)
		if err := post(t, dial(t, p), "ann@net.test", []string{name}, first); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the first post", func() bool { return mailsTo("bob@net.test", "<"+name+"."+id(t)) > 0 })
		c := dial(t, p)
		if err := c.Mail("ann@net.test"); err != nil {
			t.Fatal(err)
		}
		if got := code(t, c.Rcpt(name)); got != early {
			t.Errorf("%s, RCPT: %d, want %d", name, got, early)
		}
		if got := code(t, c.Rcpt(strings.Replace(name, "@", "-owner@", 1))); got != 250 {
			t.Errorf("%s, RCPT of its owners: %d", name, got)
		}
		again := message(t, "ann@net.test", name, "two")
		if err := post(t, dial(t, p), "ann@net.test", []string{name}, again); code(t, err) != 550 || !strings.Contains(err.Error(), "within an hour") {
			t.Errorf("%s, a second post: %v", name, err)
		}
		if err := post(t, dial(t, p), "bob@net.test", []string{name}, strings.ReplaceAll(again, "ann@net.test", "bob@net.test")); err != nil {
			t.Errorf("%s, somebody else: %v", name, err)
		}
	}
}

func TestWithoutTheMilterMailWaits(t *testing.T) {
	p := withMilter(t, mlist)
	list := newList(t, []string{"default_nonmember_action=reject"}, three...)
	if err := mlist.Stop(); err != nil {
		t.Fatal(err)
	}
	c := dial(t, p)
	err := c.Mail("ann@net.test")
	if err == nil {
		err = c.Rcpt(list)
	}
	if got := code(t, err); got/100 != 4 {
		t.Errorf("with mlist stopped: %v, want 4xx", err)
	}
	if err := mlist.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := post(t, dial(t, p), "ann@net.test", []string{list}, message(t, "ann@net.test", list, "lunch")); err != nil {
		t.Fatal(err)
	}
	delivered(t, id(t)+"@net.test", 3)
}
