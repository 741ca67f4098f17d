package checks

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
)

const plainHead = "From: ann@example.org\r\nTo: dev@lists.example.org\r\n"

func TestWhatIsSaidOfABannedSender(t *testing.T) {
	ann := sdk.Sender{Address: "ann@example.org", Source: "from", Memberships: []sdk.Membership{role("member", "accept")}}
	eve := sdk.Sender{Address: "eve@example.net", Source: "sender", Ban: "@example.net, of the whole site"}
	for _, tt := range []struct {
		name   string
		config map[string]any
		list   []string
		want   string
	}{
		{name: "any of them is enough", want: "discard banned"},
		{name: "also one that counts for nothing else", list: []string{"sender_headers", "from"}, want: "discard banned"},
		{name: "who is told", config: map[string]any{"reject": []string{"banned"}}, want: "reject banned"},
		{name: "a site that does not ask", config: map[string]any{"rules": []string{"no-sender", "member-moderated"}}, want: "accept"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := handlertest.Run(t, stage(t, "posting"), handlertest.Case{Message: plainHead + "\r\n", Config: tt.config,
				Settings: settings(tt.list...), Senders: []sdk.Sender{ann, eve}, Envelope: sdk.Envelope{Sender: "a@b.example"}})
			verdict(t, got.Verdict, tt.want)
			reason, why := got.Verdict.Reason, "eve@example.net is banned: @example.net, of the whole site."
			if got.Verdict.Kind == sdk.KindDiscard && reason != why || got.Verdict.Kind == sdk.KindReject && reason != "eve@example.net may not post to this list." {
				t.Errorf("reason %q", reason)
			}
			if tt.want != "accept" && got.Notes["posting.hits"] != "banned: "+why {
				t.Errorf("notes %q", got.Notes)
			}
		})
	}
}

func TestAPostInTheNameOfTheListItself(t *testing.T) {
	const list = "dev@lists.example.org"
	boss := sdk.Sender{Address: "boss@example.org", Source: "from", Memberships: []sdk.Membership{role("member", "accept")}}
	as := func(source, addr string, roles ...sdk.Membership) sdk.Sender {
		return sdk.Sender{Address: addr, Source: source, Memberships: roles}
	}
	for _, tt := range []struct {
		name      string
		senders   []sdk.Sender
		settings  []string
		notes     map[string]string
		submitted []string
		want      string
	}{
		{name: "From", senders: []sdk.Sender{from("Dev@Lists.example.org")}, want: "reject forged-list"},
		{name: "From, and the list takes everybody's posts", senders: []sdk.Sender{from(list)}, settings: []string{"default_nonmember_action", "accept"}, want: "reject forged-list"},
		{name: "From, and a member in the envelope", senders: []sdk.Sender{from(list), as("envelope", "boss@example.org", role("member", "accept"))}, want: "reject forged-list"},
		{name: "the envelope", senders: []sdk.Sender{boss, as("envelope", list)}, want: "reject forged-list"},
		{name: "Sender, a role, with a detail", senders: []sdk.Sender{boss, as("sender", "dev-bounces+x=y.example@lists.example.org")}, want: "reject forged-list"},
		{name: "a role", senders: []sdk.Sender{from("dev-owner@lists.example.org")}, want: "reject forged-list"},
		{name: "an older address", senders: []sdk.Sender{from("devel-owner@old.example")}, settings: []string{sdk.OtherAddresses, "devel@old.example"}, want: "reject forged-list"},
		{name: "Reply-To is where people like to have it", senders: []sdk.Sender{boss, as("reply-to", list)}, want: "accept"},
		{name: "another list", senders: []sdk.Sender{from("my-dev@lists.example.org", role("member", ""))}, want: "accept"},
		{name: "the same name elsewhere", senders: []sdk.Sender{from("dev@example.org", role("member", ""))}, want: "accept"},
		{name: "what is no role", senders: []sdk.Sender{from("dev-team@lists.example.org", role("member", ""))}, want: "accept"},
		{name: "its domain vouches", senders: []sdk.Sender{from(list)}, settings: []string{"default_nonmember_action", "accept"}, notes: map[string]string{"auth.aligned": "lists.example.org"}, want: "accept"},
		{name: "another domain vouches", senders: []sdk.Sender{from(list)}, settings: []string{"default_nonmember_action", "accept"}, notes: map[string]string{"auth.aligned": "example.org"}, want: "reject forged-list"},
		{name: "who vouches for the author says nothing of the envelope", senders: []sdk.Sender{boss, as("envelope", list)}, notes: map[string]string{"auth.aligned": "lists.example.org"}, want: "reject forged-list"},
		{name: "a nonmember with an action", senders: []sdk.Sender{from(list, role("nonmember", "accept"))}, want: "accept"},
		{name: "one whom the list accepts", senders: []sdk.Sender{from(list)}, settings: []string{"accept_these_nonmembers", list}, want: "accept"},
		{name: "a handler", senders: []sdk.Sender{from(list)}, settings: []string{"default_nonmember_action", "accept"}, submitted: []string{"weekly"}, want: "accept"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := handlertest.Case{Message: plainHead + "\r\n", Settings: settings(tt.settings...), Senders: tt.senders, Notes: tt.notes, SubmittedBy: tt.submitted,
				Envelope: sdk.Envelope{Sender: "x@y.example"}}
			verdict(t, handlertest.Run(t, stage(t, "posting"), c).Verdict, tt.want)
			c.AtSMTP = true
			verdict(t, handlertest.Run(t, stage(t, "posting"), c).Verdict, tt.want)
		})
	}
}

func TestAPostThatFailsDMARC(t *testing.T) {
	for _, tt := range []struct{ result, action, want string }{
		{"fail", "reject", "reject dmarc-fail"}, {"fail", "hold", "hold dmarc-fail"}, {"fail", "discard", "discard dmarc-fail"}, {"fail", "defer", "accept"}, {"fail", "", "accept"},
		{"pass", "reject", "accept"}, {"none", "reject", "accept"}, {"temperror", "reject", "accept"}, {"", "reject", "accept"},
	} {
		c := handlertest.Case{Message: plainHead + "\r\n", Settings: settings("dmarc_fail_action", tt.action), Notes: map[string]string{"auth.dmarc": tt.result},
			Senders: []sdk.Sender{from("boss@example.org", role("member", "accept"))}, Envelope: sdk.Envelope{Sender: "x@y.example"}}
		verdict(t, handlertest.Run(t, stage(t, "posting"), c).Verdict, tt.want)
	}
}

func TestWhichSendersCount(t *testing.T) {
	stranger := from("stranger@example.net")
	envelope := sdk.Sender{Address: "ann@example.org", Source: "envelope", Memberships: []sdk.Membership{role("member", "")}}
	replyTo := sdk.Sender{Address: "ben@example.org", Source: "reply-to", Memberships: []sdk.Membership{role("member", "discard")}}
	for _, tt := range []struct{ name, count, want string }{
		{"all of them", "from\nenvelope\nreply-to\nsender", "accept"},
		{"as if nothing were set", "", "accept"},
		{"the author alone", "from", "hold nonmember"},
		{"the author and Reply-To", "from\nreply-to", "discard member-moderated"},
		{"a field that the post does not have", "sender", "discard no-sender"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := handlertest.Run(t, stage(t, "posting"), handlertest.Case{Message: plainHead + "\r\n", Settings: settings("sender_headers", tt.count),
				Senders: []sdk.Sender{stranger, envelope, replyTo}, Envelope: sdk.Envelope{Sender: "ann@example.org"}})
			verdict(t, got.Verdict, tt.want)
		})
	}
}

func TestHeaderMatches(t *testing.T) {
	member := []sdk.Sender{from("ann@example.org", role("member", ""))}
	for _, tt := range []struct {
		name, header, body string
		list               string
		site               []string
		senders            []sdk.Sender
		want, note         string
	}{
		{name: "nothing matches", header: "X-Spam-Flag: NO\r\n", list: "discard X-Spam-Flag: ^yes", want: "accept"},
		{name: "in other case", header: "x-spam-flag: Yes\r\n", list: "discard X-Spam-Flag: ^YES", want: "discard header-match"},
		{name: "anywhere in the value", header: "X-Spam-Level: *****\r\n", list: `reject X-Spam-Level: \*{4}`, want: "reject header-match"},
		{name: "decoded", header: "Subject: =?utf-8?q?Viagra_f=C3=BCr_alle?=\r\n", list: "hold Subject: viagra für", want: "hold header-match"},
		{name: "folded", header: "Subject: cheap\r\n watches\r\n", list: "hold Subject: cheap watches", want: "hold header-match"},
		{name: "the second of two fields", header: "X-A: 1\r\nX-A: 2\r\n", list: "hold X-A: 2", want: "hold header-match"},
		{name: "a part's field", header: "Content-Type: multipart/mixed; boundary=b\r\n",
			body: "--b\r\nContent-Type: application/x-msdownload; name=a.exe\r\n\r\nMZ\r\n--b--\r\n", list: `discard Content-Type: \.exe`, want: "discard header-match"},
		{name: "a part's field in a text", header: "Content-Type: text/plain\r\n", body: "X-A: yes\r\n", list: "discard X-A: yes", want: "accept"},
		{name: "the first line wins", header: "X-A: 1\r\n", list: "hold X-A: 1\ndiscard X-A: 1", want: "hold header-match"},
		{name: "the site goes before the list", header: "X-A: 1\r\n", list: "accept X-A: 1", site: []string{"reject X-A: 1"}, want: "reject header-match"},
		{name: "deferred is only recorded", header: "X-A: 1\r\n", list: "defer X-A: 1", want: "accept", note: "header-match: The field X-A matches 1."},
		{name: "deferred, and then held", header: "X-A: 1\r\nX-B: 2\r\n", list: "defer X-A: 1\nhold X-B: 2", want: "hold header-match",
			note: "header-match: The field X-A matches 1. The field X-B matches 2."},
		{name: "accepted though a stranger", header: "X-A: 1\r\n", list: "accept X-A: 1", senders: []sdk.Sender{from("x@y.example")}, want: "accept"},
		{name: "whoever passes is not asked", header: "X-A: 1\r\n", list: "discard X-A: 1",
			senders: []sdk.Sender{from("ann@example.org", role("member", "accept"))}, want: "accept"},
		{name: "before nonmembers are held", header: "X-A: 1\r\n", list: "discard X-A: 1", senders: []sdk.Sender{from("x@y.example")}, want: "discard header-match"},
		{name: "a line that is none is passed over", header: "X-A: 1\r\n", list: "sing X-A: 1\nhold X-A: (\nhold X-A: 1", want: "hold header-match"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			senders := tt.senders
			if senders == nil {
				senders = member
			}
			c := handlertest.Case{Message: plainHead + tt.header + "\r\n" + tt.body, Settings: settings("header_matches", tt.list), Senders: senders,
				Envelope: sdk.Envelope{Sender: "a@b.example"}}
			if tt.site != nil {
				c.Config = map[string]any{"header_matches": tt.site}
			}
			got := handlertest.Run(t, stage(t, "posting"), c)
			verdict(t, got.Verdict, tt.want)
			if tt.note != "" && got.Notes["posting.hits"] != tt.note {
				t.Errorf("note %q, want %q", got.Notes["posting.hits"], tt.note)
			}
		})
	}
}

func TestSuspiciousHeader(t *testing.T) {
	for _, tt := range []struct{ name, header, list, want string }{
		{"Mailman's own", "To: Friend@public.com, dev@lists.example.org\r\n", usual["bounce_matching_headers"], "hold suspicious-header"},
		{"another", "To: dev@lists.example.org\r\nX-Mailer: Spam-O-Matic\r\n", "x-mailer: spam", "hold suspicious-header"},
		{"none", "To: dev@lists.example.org\r\n", usual["bounce_matching_headers"], "accept"},
		{"nothing set", "To: friend@public.com, dev@lists.example.org\r\n", "", "accept"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := limits(t, handlertest.Case{Message: "Subject: x\r\nFrom: a@b.example\r\n" + tt.header + "\r\n", Settings: settings("bounce_matching_headers", tt.list)})
			verdict(t, got.Verdict, tt.want)
		})
	}
}

func TestAdministrivia(t *testing.T) {
	for _, tt := range []struct{ name, subject, header, body, want string }{
		{name: "a subject that is a command", subject: "unsubscribe", want: "hold administrivia"},
		{name: "in other case, with an address", subject: "UnSubscribe ann@example.org", want: "hold administrivia"},
		{name: "too many words for a command", subject: "unsubscribe me from this list", want: "accept"},
		{name: "a word that needs others", subject: "confirm", want: "accept"},
		{name: "with the one that it needs", subject: "confirm 1234", want: "hold administrivia"},
		{name: "a password has two", subject: "password old new", want: "hold administrivia"},
		{name: "set has three", subject: "set digest on now", want: "hold administrivia"},
		{name: "a question", subject: "help with parsing", want: "accept"},
		{name: "the text's first line", subject: "x", body: "\r\n\r\n subscribe \r\n", want: "hold administrivia"},
		{name: "the text's tenth line", subject: "x", body: strings.Repeat("line\r\n\r\n", 9) + "help\r\n", want: "hold administrivia"},
		{name: "the eleventh", subject: "x", body: strings.Repeat("line\r\n", 10) + "help\r\n", want: "accept"},
		{name: "encoded text", subject: "x", header: "Content-Transfer-Encoding: base64\r\n", body: "dW5zdWJzY3JpYmUNCg==\r\n", want: "hold administrivia"},
		{name: "quoted-printable", subject: "x", header: "Content-Transfer-Encoding: quoted-printable\r\n", body: "unsub=\r\nscribe\r\n", want: "hold administrivia"},
		{name: "base64 that is none", subject: "x", header: "Content-Transfer-Encoding: base64\r\n", body: "****\r\n", want: "accept"},
		{name: "the plain one of two texts", subject: "x", header: "Content-Type: multipart/alternative; boundary=b\r\n",
			body: "--b\r\nContent-Type: text/html\r\n\r\nhelp\r\n--b\r\nContent-Type: text/plain\r\n\r\nwho\r\n--b--\r\n", want: "hold administrivia"},
		{name: "HTML alone", subject: "x", header: "Content-Type: text/html\r\n", body: "help\r\n", want: "accept"},
		{name: "a megabyte in one line", subject: "x", body: strings.Repeat("x", 1<<20), want: "accept"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := handlertest.Case{Message: plainHead + "Subject: " + tt.subject + "\r\n" + tt.header + "\r\n" + tt.body, Settings: settings("max_message_size", "0")}
			verdict(t, limits(t, c).Verdict, tt.want)
			c.Settings = settings("max_message_size", "0", "administrivia", "false")
			verdict(t, limits(t, c).Verdict, "accept")
		})
	}
}

func TestNoSubject(t *testing.T) {
	for header, want := range map[string]string{
		"": "hold no-subject", "Subject:\r\n": "hold no-subject", "Subject: \r\n\t \r\n": "hold no-subject", "Subject: =?utf-8?q?_?=\r\n": "hold no-subject", "Subject: .\r\n": "accept",
	} {
		verdict(t, limits(t, handlertest.Case{Message: plainHead + header + "\r\n", Settings: usual}).Verdict, want)
	}
}

func TestDigestReply(t *testing.T) {
	asks := map[string]any{"rules": []string{"digest-reply"}}
	quote := "> Send dev mailing list submissions to\r\n> \tdev@lists.example.org\r\n>\r\n> To subscribe or unsubscribe via email, send a message with\r\n" +
		"> subject or body 'help' to\r\n> \tdev-request@lists.example.org\r\n"
	ours := "> Posts for this list go to\r\n>     dev@lists.example.org\r\n> To join it, or to leave it, write to\r\n>     dev-join@lists.example.org\r\n"
	wordsOnly := "> Posts for this list go to\r\n> To join it, or to leave it, write to\r\n> The people who look after it are at\r\n> When you answer, please give a subject that says more than\r\n"
	for _, tt := range []struct {
		name, subject, body string
		config              map[string]any
		want                string
	}{
		{"the subject of a digest", "Re: Dev Digest, Vol 12, Issue 3", "", asks, "hold digest-reply"},
		{"a quoted masthead", "Re: x", quote, asks, "hold digest-reply"},
		{"a quoted masthead of ours", "Re: x", ours, asks, "hold digest-reply"},
		{"a quoted masthead in a quote", "Re: x", strings.ReplaceAll(ours, "> ", "> > "), asks, "hold digest-reply"},
		{"its words without the addresses, which somebody took out", "Re: x", wordsOnly, asks, "hold digest-reply"},
		{"a part of one", "Re: x", "> Send dev mailing list submissions to\r\n> dev@lists.example.org\r\n", asks, "accept"},
		{"a lower threshold", "Re: x", "> Today's Topics:\r\n", map[string]any{"rules": []string{"digest-reply"}, "masthead_lines": 1}, "hold digest-reply"},
		{"an address that is quoted", "Re: x", "> dev@lists.example.org\r\n> hello\r\n", asks, "accept"},
		{"a site that does not ask", "Re: Dev Digest, Vol 12, Issue 3", quote, nil, "accept"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := limits(t, handlertest.Case{Message: plainHead + "Subject: " + tt.subject + "\r\n\r\n" + tt.body, Config: tt.config, Settings: usual})
			verdict(t, got.Verdict, tt.want)
		})
	}
}

func TestEveryHitIsRecorded(t *testing.T) {
	got := limits(t, handlertest.Case{
		Message: "From: a@b.example\r\nTo: friend@public.com\r\n\r\n" + strings.Repeat("help\r\n", 10_000), Settings: usual})
	verdict(t, got.Verdict, "hold administrivia")
	var codes []string
	for line := range strings.SplitSeq(got.Notes["limits.hits"], "\n") {
		code, reason, _ := strings.Cut(line, ": ")
		codes = append(codes, code)
		if !strings.Contains(got.Verdict.Reason, reason) {
			t.Errorf("the reason %q does not say %q", got.Verdict.Reason, reason)
		}
	}
	if want := "administrivia implicit-dest too-big no-subject suspicious-header"; strings.Join(codes, " ") != want {
		t.Errorf("hits %v, want %s", codes, want)
	}
}

// Whatever stage holds a post, the moderator sees everything that is wrong with it.
func TestTheHitsOfBothStagesAreRecorded(t *testing.T) {
	run := func(c handlertest.Case, stages ...sdk.Stage) handlertest.Result {
		t.Helper()
		got, err := handlertest.TryStages(t, c, stages...)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	c := handlertest.Case{Message: "From: eve@example.net\r\n\r\nunsubscribe\r\n" + strings.Repeat("x", 50<<10), Settings: usual,
		Senders: []sdk.Sender{from("eve@example.net")}, Envelope: sdk.Envelope{Sender: "eve@example.net"}}
	got := run(c, Stages()[1:]...)
	verdict(t, got.Verdict, "hold nonmember")
	var codes []string
	for _, note := range []string{"posting.hits", "limits.hits"} {
		for line := range strings.SplitSeq(got.Notes[note], "\n") {
			code, reason, _ := strings.Cut(line, ": ")
			codes = append(codes, code)
			if !strings.Contains(got.Verdict.Reason, reason) {
				t.Errorf("the reason %q does not say %q", got.Verdict.Reason, reason)
			}
		}
	}
	if want := "nonmember administrivia implicit-dest too-big no-subject"; strings.Join(codes, " ") != want {
		t.Errorf("hits %v, want %s", codes, want)
	}

	if got := run(c, Stages()[1]); got.Notes["limits.hits"] != "" || got.Verdict.Reason != "Posts by people who are not members of this list are held for a moderator." {
		t.Errorf("in a pipeline without limits: %+v, %v", got.Verdict, got.Notes)
	}
	c.AtSMTP = true
	if got := run(c, Stages()[1:]...); got.Notes["limits.hits"] != "" {
		t.Errorf("while the sender waits: %+v, %v", got.Verdict, got.Notes)
	}
	c.AtSMTP, c.Approved = false, true
	if got := run(c, Stages()[1:]...); got.Verdict != sdk.Accept || got.Notes["limits.hits"] != "" {
		t.Errorf("approved: %+v, %v", got.Verdict, got.Notes)
	}
}

func TestAHoldIsNoMoreThanAHold(t *testing.T) {
	c := handlertest.Case{Message: plainHead + "X-A: 1\r\n\r\n", Senders: []sdk.Sender{from("ann@example.org", role("member", "hold"))},
		Settings: settings("header_matches", "discard X-A: 1"), Envelope: sdk.Envelope{Sender: "a@b.example"}}
	got := handlertest.Run(t, stage(t, "posting"), c)
	verdict(t, got.Verdict, "hold member-moderated")
	if n := got.Notes["posting.hits"]; !strings.Contains(n, "\nheader-match: ") {
		t.Errorf("note %q", n)
	}
	if strings.Contains(got.Verdict.Reason, "X-A") {
		t.Errorf("reason %q speaks of what would have discarded it", got.Verdict.Reason)
	}
	c.Settings = settings("header_matches", "accept X-A: 1")
	verdict(t, handlertest.Run(t, stage(t, "posting"), c).Verdict, "hold member-moderated")
}

func TestTheOrderIsTheSites(t *testing.T) {
	c := handlertest.Case{Message: plainHead + "X-A: 1\r\n\r\n" + strings.Repeat("x", 50<<10), Senders: []sdk.Sender{from("x@y.example")},
		Settings: settings("header_matches", "reject X-A: 1"), Envelope: sdk.Envelope{Sender: "a@b.example"}}
	for order, want := range map[string]string{
		"header-match nonmember": "reject header-match",
		"nonmember header-match": "hold nonmember",
		"too-big nonmember":      "hold too-big",
		"":                       "accept",
	} {
		c.Config = map[string]any{"rules": strings.Fields(order)}
		verdict(t, handlertest.Run(t, stage(t, "posting"), c).Verdict, want)
	}
	c.Config = map[string]any{"rules": []string{"too-big"}, "reject": []string{"too-big"}}
	verdict(t, limits(t, c).Verdict, "reject too-big")
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	for want, config := range map[string]map[string]any{
		`there is no rule "size"; there are administrivia, approved`: {"rules": []string{"size"}},
		"rules: too-big is there twice":                              {"rules": []string{"too-big", "too-big"}},
		`reject: "rate" is not one of rules`:                         {"rules": []string{"too-big"}, "reject": []string{"rate"}},
		"header_matches: ":                                           {"header_matches": []string{"X-A: 1"}},
		"missing closing )":                                          {"header_matches": []string{"hold X-A: ("}},
		"masthead_lines 0":                                           {"masthead_lines": 0},
		"order: unknown key":                                         {"order": []string{}},
	} {
		for _, name := range []string{"posting", "limits"} {
			_, err := handlertest.Try(t, stage(t, name), handlertest.Case{Message: "A: b\n\n", Config: config})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s, %v: error %v, want %q", name, config, err, want)
			}
		}
	}
}

func TestEveryRuleSaysWhatItIsFor(t *testing.T) {
	rules := rulesOf(newPatterns())
	for name, r := range rules {
		if r.help == "" || r.ask == nil || r.name != name {
			t.Errorf("rule %q is %+v", name, r)
		}
	}
	for _, name := range append(postingRules, limitsRules...) {
		if rules[name] == nil {
			t.Errorf("no rule %q", name)
		}
	}
}

// run puts posts of one sender through posting, one after the other, each with the
// state that those before left.
func series(t *testing.T, c handlertest.Case, posts int) (kinds []string, state map[string]string) {
	t.Helper()
	for range posts {
		got := handlertest.Run(t, stage(t, "posting"), c)
		kinds = append(kinds, strings.TrimSpace(string(got.Verdict.Kind)+" "+got.Verdict.Code))
		c.State = got.State
	}
	return kinds, c.State
}

func TestFirstPosts(t *testing.T) {
	c := handlertest.Case{Message: plainHead + "\r\n", Settings: settings("moderate_until_posts", "2"), Envelope: sdk.Envelope{Sender: "a@b.example"},
		Senders: []sdk.Sender{from("Ann@example.org", role("member", ""))}}
	verdict(t, handlertest.Run(t, stage(t, "posting"), c).Verdict, "hold first-posts")

	approved := c
	approved.Approved = true
	kinds, state := series(t, approved, 4)
	if !maps.Equal(state, map[string]string{"first-posts ann@example.org": "2"}) {
		t.Errorf("after %v the state is %v", kinds, state)
	}
	c.State = state
	verdict(t, handlertest.Run(t, stage(t, "posting"), c).Verdict, "accept")
	c.State = map[string]string{"first-posts ann@example.org": "1"}
	verdict(t, handlertest.Run(t, stage(t, "posting"), c).Verdict, "hold first-posts")

	c.State, c.Senders = nil, []sdk.Sender{from("ann@example.org", role("member", "defer"))}
	verdict(t, handlertest.Run(t, stage(t, "posting"), c).Verdict, "accept")
	c.Senders = []sdk.Sender{from("ann@example.org")}
	c.Settings = settings("moderate_until_posts", "2", "default_nonmember_action", "defer")
	verdict(t, handlertest.Run(t, stage(t, "posting"), c).Verdict, "accept")
}

func TestRate(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := handlertest.Case{Message: plainHead + "\r\n", Settings: settings("max_posts_per_hour", "2", "max_posts_per_day", "3"),
		Envelope: sdk.Envelope{Sender: "a@b.example", Received: at}, Senders: []sdk.Sender{from("ann@example.org", role("member", ""))}}
	post := func(after time.Duration) string {
		c.Envelope.Received = at.Add(after)
		got := handlertest.Run(t, stage(t, "posting"), c)
		c.State = got.State
		return string(got.Verdict.Kind)
	}
	for _, step := range []struct {
		after time.Duration
		want  string
	}{{0, "accept"}, {time.Minute, "accept"}, {2 * time.Minute, "hold"}, {59 * time.Minute, "hold"}, {60 * time.Minute, "accept"}, {3 * time.Hour, "hold"},
		{24*time.Hour - 1, "hold"}, {24 * time.Hour, "accept"}, {24*time.Hour + 30*time.Second, "hold"}} {
		if got := post(step.after); got != step.want {
			t.Errorf("after %s: %s, want %s (state %v)", step.after, got, step.want, c.State)
		}
	}
	other := c
	other.Senders = []sdk.Sender{from("ben@example.org", role("member", ""))}
	verdict(t, handlertest.Run(t, stage(t, "posting"), other).Verdict, "accept")
	c.Approved = true
	if got := post(25 * time.Hour); got != "accept" {
		t.Errorf("approved: %s", got)
	}
	if n := len(strings.Fields(c.State["rate ann@example.org"])); n > 3 {
		t.Errorf("%d times are kept: %v", n, c.State)
	}
	c.State["rate ann@example.org"], c.Approved = "junk -1 99999999999999999999", false
	if got := post(26 * time.Hour); got != "accept" {
		t.Errorf("with a damaged state: %s", got)
	}
}

// At SMTP time a stage says what it says later.
func TestTheSameVerdictAtSMTPTime(t *testing.T) {
	for name, c := range map[string]handlertest.Case{
		"nonmember": {Message: plainHead + "\r\n", Settings: settings("default_nonmember_action", "reject"), Senders: []sdk.Sender{from("x@y.example")}, Envelope: sdk.Envelope{Sender: "x@y.example"}},
		"rate": {Message: plainHead + "\r\n", Settings: settings("max_posts_per_hour", "1"), Senders: []sdk.Sender{from("x@y.example", role("member", ""))},
			Config: map[string]any{"reject": []string{"rate"}},
			State:  map[string]string{"rate x@y.example": "1772366400"}, Envelope: sdk.Envelope{Sender: "x@y.example", Received: time.Unix(1772366500, 0)}},
		"too-big": {Message: plainHead + "Subject: x\r\n\r\n" + strings.Repeat("x", 50<<10), Settings: usual, Config: map[string]any{"reject": []string{"too-big"}},
			Senders: []sdk.Sender{from("ann@example.org")}},
	} {
		for _, st := range Stages() {
			if !st.AtSMTP || st.Name == "loop" || (name == "too-big") != (st.Name == "limits") {
				continue
			}
			c.AtSMTP = false
			later := handlertest.Run(t, stage(t, st.Name), c).Verdict
			c.AtSMTP = true
			now := handlertest.Run(t, stage(t, st.Name), c).Verdict
			if now != later || now.Kind != sdk.KindReject {
				t.Errorf("%s, %s: %+v, later %+v", name, st.Name, now, later)
			}
		}
	}
}

func TestAddressesTooLongForAKey(t *testing.T) {
	long := strings.Repeat("x", 200) + "@example.org"
	if k := stateKey("rate", long); sdk.CheckStateKey(k) != nil || k == stateKey("rate", "y"+long) {
		t.Errorf("key %q", k)
	}
}

// FuzzRules: no message makes a rule fail, which would have it tried again and again, and
// every verdict but accept says why.
func FuzzRules(f *testing.F) {
	f.Add("From: ann@example.org\r\nSubject: unsubscribe\r\n", "help\r\n")
	f.Add("From: a\xff@b, (\r\nList-Post: <mailto:%zz@x>, <MAILTO:dev%40lists.example.org@x\r\nTo: ;:,<", "\x00")
	f.Add("Content-Type: multipart/mixed; boundary=b\r\nSubject: =?x?q?=FF?=\r\n", "--b\r\nX-A: 1\r\n\r\n> Today's Topics:\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n?\r\n")
	every := slices.Sorted(maps.Keys(rulesOf(newPatterns())))
	set := settings("header_matches", "defer X-A: .\ndefer Content-Type: ^multi.*(x|y)+$", "acceptable_aliases", "^dev.*@", "discard_these_nonmembers", "^a.*b",
		"moderate_until_posts", "1", "max_posts_per_day", "1")
	f.Fuzz(func(t *testing.T, header, body string) {
		c := handlertest.Case{Message: header + "\r\n\r\n" + body, Settings: set, Senders: []sdk.Sender{from("ann@example.org", role("member", ""))}, Envelope: sdk.Envelope{Sender: "a@b.example"}}
		for _, st := range Stages() {
			if c.Config = nil; st.Name != "loop" {
				c.Config = map[string]any{"rules": every}
			}
			got, err := handlertest.Try(t, st.Handler, c)
			if err != nil || got.Verdict.Kind != sdk.KindAccept && (got.Verdict.Code == "" || got.Verdict.Reason == "") {
				t.Fatalf("%s: %+v, %v\n%q", st.Name, got.Verdict, err, c.Message)
			}
		}
	})
}
