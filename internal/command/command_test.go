package command

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name, subject, text string
		want                []string // lines; one that is unknown in brackets
	}{
		{"nothing", "", "", nil},
		{"a subject", "subscribe", "", []string{"subscribe"}},
		{"a subject in capitals", "SUBSCRIBE digest=MIME", "", []string{"SUBSCRIBE digest=MIME"}},
		{"an answer's subject", "Re: AW: confirm abc", "", []string{"confirm abc"}},
		{"an answer to an answer", "RE[2]: Antwort: 回复：Sv: info", "", []string{"info"}},
		{"a subject with a colon", "question: join", "", nil},
		{"a full stop", "", "Unsubscribe.\ninfo.\n", []string{"Unsubscribe.", "info."}},
		{"a cry for help", "Help!", "", nil},
		{"less than that", "", "UNSUBSCRIBE!\n“info”\n\"help\"\nquit\njoin\n", []string{"UNSUBSCRIBE!", "“info”", "\"help\""}},
		{"an address alone", "", "subscribe ann@x.test\nleave <ann@x.test>\nleave it@once please\n", []string{"subscribe ann@x.test", "leave <ann@x.test>", "(leave it@once please)"}},
		{"a text that is signed", "", "-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\ninfo\r\n- -- \r\nhelp\r\n-----BEGIN PGP SIGNATURE-----\r\n\r\nstatus\r\n", []string{"info"}},
		{"one that quotes a signed one", "", "info\n> -----BEGIN PGP SIGNED MESSAGE-----\n> join\n", []string{"info"}},
		{"a letter", "A question", "How do I join the list?", nil},
		{"a subject, and a letter", "join", "Please add me.\n\nAnn", []string{"join"}},
		{"lines", "", "join\n\nhelp\r\nleave address=x@y.test\n", []string{"join", "help", "leave address=x@y.test"}},
		{"both", "help", "join\n", []string{"help", "join"}},
		{"a line that is none ends them", "", "join\nThank you!\nleave\n", []string{"join", "(Thank you!)"}},
		{"end", "", "join\nend\nleave\n", []string{"join"}},
		{"stop", "", "join\nSTOP\nleave\n", []string{"join"}},
		{"end in the subject", "end", "join\n", nil},
		{"a signature", "", "join\n-- \nhelp\n", []string{"join"}},
		{"a signature whose space was lost", "", "join\n--\nhelp\n", []string{"join"}},
		{"a quotation", "", "> leave\njoin\n>> help\n", []string{"join"}},
		{"an answer above what it answers", "", "leave\r\n\r\nOn Tue, 24 Nov 2026 at 10:00, Dev <dev-owner@l.test> wrote:\r\n> join\r\n", []string{"leave"}},
		{"one whose attribution is in two lines", "", "leave\n\nOn Tue, 24 Nov 2026 at 10:00, Dev <dev-owner@\nl.test> wrote:\n\n> join\n", []string{"leave"}},
		{"an answer below it", "", "Am 24.11.2026 um 10:00 schrieb Dev:\n> join\n\nleave\n", []string{"leave"}},
		{"an answer right above the attribution", "", "set until=2026-12-24\nAm 24.11.2026 um 10:00 schrieb Dev:\n> join\n", []string{"set until=2026-12-24"}},
		{"what is not quoted, under a line", "", "leave\n\n-----Original Message-----\nFrom: Dev\n\njoin\n", []string{"leave"}},
		{"the same, as others draw it", "", "leave\n________________________________\nVon: Dev\njoin\n", []string{"leave"}},
		{"a token that a folded subject has on a line of its own", "Re: confirm\r\n abc", "", []string{"confirm   abc"}},
		{"a quotation with tokens", "", "confirm abc\n\nAnn wrote:\n> confirm def\n> confirm ghi\n", []string{"confirm abc"}},
		{"more than there may be", "", strings.Repeat("help\n", 50), slices.Repeat([]string{"help"}, MaxLines)},
		{"prose that starts with a command", "help me please", "", nil},
		{"and another", "", "leave the list alone\n", nil},
		{"and one more", "", "Who knows how to leave?\n", nil},
		{"what lists lost", "", "info\nlists\nset delivery=off\nstatus\nwho mode=regular\n", []string{"info", "lists", "set delivery=off", "status", "who mode=regular"}},
		{"confirm without a token", "confirm", "", nil},
		{"a long line", "", "echo " + strings.Repeat("x", MaxLine) + "\njoin\n", nil},
		{"control characters", "", "echo a\x00\x1b[2J\u202eb\n", []string{"echo a  [2J b"}},
		{"a line break in a subject", "echo a\r\nBcc: x@y.test", "", []string{"echo a  Bcc: x@y.test"}},
		{"octets that are no text", "echo \xff", "", []string{"echo ?"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, c := range Parse(tt.subject, tt.text) {
				line := c.Line
				if c.Verb == Unknown {
					line = "(" + line + ")"
				}
				got = append(got, line)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("commands %q, want %q", got, tt.want)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	tests := []struct{ line, bad, digest string }{
		{"join", "", ""},
		{"join digest=mime", "", "mime"},
		{"join Digest=no address=a@b.test", "", "no"},
		{"join digest=mime digest=no", "digest=no", ""},
		{"join colour=red", "colour=red", ""},
		{"join =x", "=x", ""},
		{"join ann@x.test", "", ""},
		{"join digest=a=b", "", "a=b"},
	}
	for _, tt := range tests {
		c := Parse(tt.line, "")
		if len(c) != 1 {
			t.Fatalf("%s: %v", tt.line, c)
		}
		options, bad := c[0].Options("digest", "address")
		if bad != tt.bad || options["digest"] != tt.digest {
			t.Errorf("%s: %v, bad %q", tt.line, options, bad)
		}
	}
}

func TestParseDecision(t *testing.T) {
	tests := []struct {
		text string
		want Decision
	}{
		{"accept\r\n", Decision{Accept, ""}},
		{"\n> Reply with accept\n\nACCEPT.\n-- \nBoss", Decision{Accept, ""}},
		{"reject: we do not know you\x1b\nreject me", Decision{Reject, "we do not know you"}},
		{"reject", Decision{Reject, ""}},
		{"discard", Decision{Discard, ""}},
		{"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nreject - no\n-----BEGIN PGP SIGNATURE-----\n\nabc", Decision{Reject, "- no"}},
		{"\n-----BEGIN PGP SIGNED MESSAGE-----\n\nI do not accept.\n", Decision{}},
		{"-----BEGIN PGP MESSAGE-----\n\naccept\n", Decision{}},
		{"accept+\n", Decision{AcceptSender, ""}},
		{"Approve.", Decision{Accept, ""}},
		{"ban", Decision{Ban, ""}},
		{"ban her", Decision{}},
		{"accept+ please", Decision{}},
		{"accept my apologies for the delay", Decision{}},
		{"Well, accept", Decision{}},
		{"> accept\n", Decision{}},
		{"Reject  No ads, please.\n\nOn Tue, Dev wrote:\n> accept\n", Decision{Reject, "No ads, please."}},
		{"Dev a écrit\u00a0:\n> discard\n\naccept\n", Decision{Accept, ""}},
		{"Ann wrote:\naccept\n", Decision{}},
		{"I think:\n\naccept\n> x", Decision{}},
		{"-----Original Message-----\naccept\n", Decision{}},
		{"", Decision{}},
	}
	for _, tt := range tests {
		if got := ParseDecision(tt.text); got != tt.want {
			t.Errorf("%q says %+v, want %+v", tt.text, got, tt.want)
		}
	}
}

func TestParseBatch(t *testing.T) {
	for _, tt := range []struct {
		text string
		want string // verb, references or all, and reason, of each line
	}{
		{"discard all", "discard all"},
		{"\n> accept abcdef\nAccept abcdef, k7m2qa\nreject bbbbbb: Too long, too: late\n", "accept abcdef k7m2qa; reject bbbbbb (Too long, too: late)"},
		{"accept+ ABCDEF\nban bbbbbb\n-- \ndiscard all", "accept+ abcdef; ban bbbbbb"},
		{"discard all: spam", "?"},
		{"discard all abcdef", "?"},
		{"Hello!\ndiscard all", "?"},
		{"discard", "?"},
		{"accept the rest", "?"},
		{"discard bbbbbb\nThanks\ndiscard all", "discard bbbbbb; ?"},
		{"discard b0b1b8", "?"},
		{"accept abcdef\n\nOn Tue, 24 Nov 2026, Dev wrote:\n> reject bbbbbb\n", "accept abcdef"},
		{"accept abcdef\nreject bbbbbb: See there:\n> accept cccccc\n", "accept abcdef"},
		{strings.Repeat("discard bbbbbb\n", 60), strings.TrimSuffix(strings.Repeat("discard bbbbbb; ", MaxBatches), "; ")},
		{"discard " + strings.Repeat("bbbbbb ", MaxRefs+1), "?"},
		{"", ""},
	} {
		var got []string
		for _, b := range ParseBatch(tt.text) {
			switch {
			case b.Verb == Unknown:
				got = append(got, "?")
				continue
			case b.All:
				b.Refs = []string{"all"}
			}
			line := string(b.Verb) + " " + strings.Join(b.Refs, " ")
			if b.Reason != "" {
				line += " (" + b.Reason + ")"
			}
			got = append(got, line)
		}
		if strings.Join(got, "; ") != tt.want {
			t.Errorf("%.60q says %q, want %q", tt.text, got, tt.want)
		}
	}
}

func FuzzParseDecisions(f *testing.F) {
	for _, s := range []string{"accept", "reject no", "discard all", "accept abcdef, bbbbbb\nreject all: why\n-- \n", "reject \x00\u2028\xff", "ban \u202eabcdef"} {
		f.Add(s)
	}
	clean := func(s string) bool {
		return utf8.ValidString(s) && len(s) <= MaxLine+4 && !strings.ContainsFunc(s, unicode.IsControl)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if d := ParseDecision(text); !clean(d.Reason) || d.Reason != "" && d.Verb != Reject {
			t.Fatalf("decision %+v", d)
		}
		batches := ParseBatch(text)
		if len(batches) > MaxBatches {
			t.Fatalf("%d lines", len(batches))
		}
		for i, b := range batches {
			if !clean(b.Line) || !clean(b.Reason) || b.Verb == Unknown && i < len(batches)-1 || b.Verb != Unknown && b.All == (len(b.Refs) > 0) || len(b.Refs) > MaxRefs {
				t.Fatalf("line %d is %+v", i, b)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range [][2]string{
		{"Re: confirm abc", ""}, {"", "join digest=mime\nend\n"}, {"help", "> x\n-- \n"}, {"join\r\nBcc: a@b.test", "echo \x00\u2028\xff\n"},
		{strings.Repeat("re:", 300), strings.Repeat("echo x\n", 20)},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, subject, text string) {
		if v := ParseInvitation(subject, text); v != Accept && v != Decline && v != Unknown {
			t.Fatalf("an invitation's answer is %q", v)
		}
		if d := ParseDecision(text); !utf8.ValidString(d.Reason) || len(d.Reason) > MaxLine+4 || strings.ContainsFunc(d.Reason, unicode.IsControl) {
			t.Fatalf("decision %+v", d)
		}
		for _, c := range ParseSite(subject, text) {
			if strings.ContainsFunc(c.List+c.Line, unicode.IsControl) || len(c.List) > MaxLine {
				t.Fatalf("command %+v", c)
			}
		}
		commands := Parse(subject, text)
		if len(commands) > MaxLines {
			t.Fatalf("%d commands", len(commands))
		}
		for i, c := range commands {
			if c.Verb == Unknown && (i == 0 || i < len(commands)-1) || c.Verb == End {
				t.Fatalf("command %d is %q", i, c.Verb)
			}
			for _, s := range append(c.Args, c.Line) {
				if !utf8.ValidString(s) || len(s) > MaxLine+4 || strings.ContainsFunc(s, unicode.IsControl) {
					t.Fatalf("command %d has %q", i, s)
				}
			}
			c.Options("digest", "address")
		}
	})
}

func TestParseSite(t *testing.T) {
	for _, tt := range []struct{ line, verb, list, args string }{
		{"which", "status", "", ""}, {"Whoami", "status", "", ""}, {"status", "status", "", ""}, {"status dev", "status", "dev", ""},
		{"subscribe dev digest=mime", "join", "dev", "digest=mime"}, {"join <Dev@lists.test>", "join", "Dev@lists.test", ""}, {"join", "", "", ""}, {"join digest=mime", "", "", ""},
		{"unsubscribe dev", "leave", "dev", ""}, {"unsubscribe dev now", "", "", ""}, {"set dev delivery=off", "set", "dev", "delivery=off"},
		{"who dev", "who", "dev", ""}, {"who", "", "", ""}, {"info dev", "info", "dev", ""}, {"invite dev a@b.test", "invite", "dev", "a@b.test"}, {"invite a@b.test", "", "", ""},
		{"move a@b.test", "move", "", "a@b.test"}, {"lists", "lists", "", ""}, {"help", "help", "", ""}, {"echo x y", "echo", "", "x y"},
		{"confirm aaaaaaaaaaaaaaaa", "", "", ""}, {"set the table", "", "", ""}, {"Hello there", "", "", ""},
	} {
		var c Command
		if all := ParseSite(tt.line, ""); len(all) == 1 {
			c = all[0]
		}
		if string(c.Verb) != tt.verb || tt.verb != "" && (c.List != tt.list || strings.Join(c.Args, " ") != tt.args || c.Line != tt.line) {
			t.Errorf("%q is %+v, want %s of %q with %q", tt.line, c, tt.verb, tt.list, tt.args)
		}
	}
}

func TestLinkTakesAnAddress(t *testing.T) {
	for line, want := range map[string]Verb{"link a@b.test": Link, "unlink a@b.test": Unlink, "link": Unknown, "link to the page": Unknown, "link a@b.test c@d.test": Unknown} {
		got := Unknown
		for _, c := range Parse(line, "") {
			got = c.Verb
		}
		if got != want {
			t.Errorf("%q is %q, want %q", line, got, want)
		}
	}
}

func TestParseInvitation(t *testing.T) {
	for _, tt := range []struct {
		subject, text string
		want          Verb
	}{
		{"Re: Invitation", "accept\n", Accept}, {"Re: Invitation", "> accept\n\n Yes!\n> x", Accept}, {"", "JOIN", Accept},
		{"Re: Invitation", "decline", Decline}, {"Re: Invitation", "No.\n\naccept", Decline},
		{"accept", "", Accept}, {"accept", "> You are invited", Accept}, {"decline", "\r\n", Decline},
		{"accept", "I do not want to.", Unknown}, {"Re: Invitation", "accept it? never", Unknown}, {"Re: accept", "", Unknown}, {"", "", Unknown},
	} {
		if got := ParseInvitation(tt.subject, tt.text); got != tt.want {
			t.Errorf("%q, %q: %q, want %q", tt.subject, tt.text, got, tt.want)
		}
	}
	if c := Parse("", "invite ann@net.test bob@net.test"); len(c) != 1 || c[0].Verb != Invite || len(c[0].Args) != 2 {
		t.Errorf("commands %+v", c)
	}
	if c := Parse("invite all your friends", ""); len(c) != 0 {
		t.Errorf("prose is %+v", c)
	}
}
