package headers

import (
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
	"github.com/mlist/mlist/sdk/message"
)

// usual are the settings of a list that sets nothing, as far as this package reads them.
var usual = map[string]string{
	"subject_prefix":          "[%(display_name)s] ",
	"reply_goes_to_list":      "no_munging",
	"first_strip_reply_to":    "false",
	"anonymous_list":          "false",
	"include_rfc2369_headers": "true",
	"allow_list_posts":        "true",
	"include_sender_header":   "true",
	"display_name":            "Dev",

	"anonymous_list_keep_headers": "Subject\nDate\nTo\nReferences",
}

// settings are the usual ones with some changed: name, text, name, text.
func settings(changes ...string) map[string]string {
	m := maps.Clone(usual)
	for i := 0; i < len(changes); i += 2 {
		m[changes[i]] = changes[i+1]
	}
	return m
}

func stage(t testing.TB, name string) sdk.Handler {
	t.Helper()
	for _, s := range Stages() {
		if s.Name == name {
			return s.Handler
		}
	}
	t.Fatalf("no stage %q", name)
	return nil
}

// crlf writes a header block, or a message, that a test has in Go's line ends.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

var received = time.Date(2025, 7, 1, 10, 20, 30, 0, time.FixedZone("", 7200))

// signed is a body whose bytes are the author's signature's.
const signed = "--b\nContent-Type: text/plain \n\nHello =20\t\n-- \nAnn\n--b\nContent-Type: application/pgp-signature\n\n-----BEGIN PGP SIGNATURE-----\n--b--\n"

// run runs one stage on a header block and returns the block as it goes on. The body
// must stay as it is.
func run(t *testing.T, name, header string, list string, set map[string]string) string {
	t.Helper()
	got := handlertest.Run(t, stage(t, name), handlertest.Case{Message: crlf(header + "\n" + signed), List: list, Settings: set,
		Number: 42, Envelope: sdk.Envelope{Received: received}})
	if got.Verdict != sdk.Accept {
		t.Fatalf("verdict %+v, want accept", got.Verdict)
	}
	if string(got.Body) != crlf(signed) {
		t.Errorf("the body changed:\n%s", got.Body)
	}
	return string(got.Header.Bytes())
}

func equal(t *testing.T, got, want string) {
	t.Helper()
	if want = crlf(want); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestCleanse(t *testing.T) {
	const kept = "From: Ann  <ann@example.org>\nMessage-ID: <1@example.org>\nDate: Tue, 1 Jul 2025 10:00:00 +0200\n"
	tests := []struct {
		name, in, want string
		settings       []string
	}{
		{name: "nothing to take out keeps every byte", in: "X-odd :  a\n\t b \n" + kept, want: "X-odd :  a\n\t b \n" + kept},
		{name: "passwords", in: "approved: secret\n" + kept + "X-Approved: secret\nApprove: s\nX-Approve: s\nApproved: twice\nUrgent: s\n", want: kept},
		{name: "requests for receipts", in: kept + "Return-Receipt-To: a@b.example\nDisposition-Notification-To: a@b.example\nX-Confirm-Reading-To: a@b.example\nX-Pmrqc: 1\n", want: kept},
		{name: "traces of delivery and blind copies", in: "Return-Path: <a@b.example>\nDelivered-To: ann@example.org\nX-Original-To: a@b.example\n" + kept + "Bcc: c@d.example\nResent-Bcc: c@d.example\nArchived-At: <https://x.example/>\n", want: kept},
		{name: "signatures stay", in: "DKIM-Signature: v=1; a=rsa-sha256;\n\th=From:To;\n  b=AAAA\nARC-Seal: i=1\n" + kept, want: "DKIM-Signature: v=1; a=rsa-sha256;\n\th=From:To;\n  b=AAAA\nARC-Seal: i=1\n" + kept},
		{name: "what the list does not want", in: kept + "X-Spam: no\nUser-Agent: x\n", settings: []string{"remove_headers", "x-spam\nUser-Agent:"}, want: kept},
		{name: "what a list may not take out", in: kept + "Content-Type: text/plain\nX-BeenThere: a@b.example\n", settings: []string{"remove_headers", "from\ncontent-type\nx-beenthere\nno name"}, want: kept + "Content-Type: text/plain\nX-BeenThere: a@b.example\n"},
		{name: "a missing id and date", in: "From: ann@example.org\n", want: "From: ann@example.org\nMessage-ID: <test.dev.lists.example.org@lists.example.org>\nDate: Tue, 01 Jul 2025 08:20:30 +0000\n"},
		{name: "an empty id", in: "Message-ID:\n" + "From: ann@example.org\nDate: x\n", want: "Message-ID: <test.dev.lists.example.org@lists.example.org>\nFrom: ann@example.org\nDate: x\n"},
		{name: "fields that an anonymous list keeps, and those that none does", settings: []string{"anonymous_list", "true", "anonymous_list_keep_headers", "date\nX-Kept:\n^x-spam-\n^(broken\n^sender\n^\nReceived\nMessage-ID"},
			in: "Received: by x\nx-kept: 1\nX-SPAM-Score: 2\nX-Spam: 3\nSender: ann@example.org\n" + kept, want: "x-kept: 1\nX-SPAM-Score: 2\nX-Spam: 3\nFrom: Dev <dev@lists.example.org>\nDate: Tue, 1 Jul 2025 10:00:00 +0200\nMessage-ID: <test.dev.lists.example.org@lists.example.org>\n"},
		{name: "an anonymous list that keeps nothing", settings: []string{"anonymous_list", "true", "anonymous_list_keep_headers", ""},
			in: kept + "Subject: x\nContent-Type: text/plain\nAuto-Submitted: no\n", want: "From: Dev <dev@lists.example.org>\nContent-Type: text/plain\nAuto-Submitted: no\nMessage-ID: <test.dev.lists.example.org@lists.example.org>\nDate: Tue, 01 Jul 2025 08:20:30 +0000\n"},
		{name: "a field with an endless name on an anonymous list", settings: []string{"anonymous_list", "true"},
			in: "X-" + strings.Repeat("a", 100) + ": ann@example.org\nFrom: ann@example.org\nDate: x\n", want: "From: Dev <dev@lists.example.org>\nDate: x\nMessage-ID: <test.dev.lists.example.org@lists.example.org>\n"},
		{name: "an anonymous list", settings: []string{"anonymous_list", "true"},
			in: "Received: from [192.0.2.1] by x\nDKIM-Signature: d=example.org\nX-Originating-IP: 192.0.2.1\nReply-To: ann@example.org\nSender: ann@example.org\n" + kept +
				"Organization: Example\nSubject:  kept\n  as it is\nTo: dev@lists.example.org\nReferences: <0@x.example>\nAutocrypt: addr=ann@example.org\nX-BeenThere: all@x.example\nContent-Type: text/plain\n",
			want: "From: Dev <dev@lists.example.org>\nDate: Tue, 1 Jul 2025 10:00:00 +0200\nSubject:  kept\n  as it is\nTo: dev@lists.example.org\nReferences: <0@x.example>\nX-BeenThere: all@x.example\nContent-Type: text/plain\nMessage-ID: <test.dev.lists.example.org@lists.example.org>\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			equal(t, run(t, "cleanse", tt.in, "", settings(tt.settings...)), tt.want)
		})
	}
}

func TestCleanseRejectsWhatItCannotMakeAnonymous(t *testing.T) {
	var many strings.Builder
	for i := range maxGone + 1 {
		many.WriteString("X-" + strings.Repeat("a", i+1)[:min(i+1, 60)] + string(rune('a'+i%26)) + string(rune('a'+i/26)) + ": 1\n")
	}
	for name, header := range map[string]string{
		"an mbox line":         "From ann@example.org Tue Jul  1 10:00:00 2025\nFrom: ann@example.org\n",
		"a line in the middle": "From: ann@example.org\nann was here\nTo: x@y.example\n",
		"more fields than can be taken out in good time": many.String(),
		"more fields than are read":                      strings.Repeat("X: y\n", message.MaxFields+1),
	} {
		t.Run(name, func(t *testing.T) {
			got := handlertest.Run(t, stage(t, "cleanse"), handlertest.Case{Message: crlf(header + "\nbody\n"), Settings: settings("anonymous_list", "true")})
			if got.Verdict.Kind != sdk.KindReject || got.Verdict.Code != "not-anonymous" {
				t.Errorf("verdict %+v, header\n%.300s", got.Verdict, got.Header.Bytes())
			}
		})
	}
}

func TestReplyTo(t *testing.T) {
	const from = "From: ann@example.org\n"
	const author = "Reply-To:   Ann <ann@example.org> ,\n\tBen <ben@example.org>\n"
	tests := []struct {
		name, in, want string
		settings       []string
	}{
		{"no munging keeps the author's bytes", author + from, author + from, nil},
		{"no munging adds nothing", from, from, nil},
		{"no munging after taking the author's away", author + from, from, []string{"first_strip_reply_to", "true"}},
		{"an unknown word is no munging", author + from, author + from, []string{"reply_goes_to_list", "sing"}},
		{"to the list", from, from + "Reply-To: Dev <dev@lists.example.org>\n", []string{"reply_goes_to_list", "point_to_list"}},
		{"to the list, which comes last", author + from, "Reply-To: Ann <ann@example.org>, Ben <ben@example.org>, Dev\n <dev@lists.example.org>\n" + from, []string{"reply_goes_to_list", "point_to_list"}},
		{"to the list alone", author + from, "Reply-To: Dev <dev@lists.example.org>\n" + from, []string{"reply_goes_to_list", "point_to_list", "first_strip_reply_to", "true"}},
		{"already to the list", "Reply-To:  DEV@lists.example.org\n" + from, "Reply-To:  DEV@lists.example.org\n" + from, []string{"reply_goes_to_list", "point_to_list"}},
		{"the list is not named twice", "Reply-To: dev@lists.example.org, ann@example.org\n" + from, "Reply-To: ann@example.org, Dev <dev@lists.example.org>\n" + from, []string{"reply_goes_to_list", "point_to_list"}},
		{"explicit comes first", author + from, "Reply-To: help@example.org, Ann <ann@example.org>, Ben <ben@example.org>\n" + from,
			[]string{"reply_goes_to_list", "explicit_header", "reply_to_address", "help@example.org"}},
		{"explicit is not named twice", "Reply-To: HELP@example.org, ann@example.org\n" + from, "Reply-To: HELP@example.org, ann@example.org\n" + from,
			[]string{"reply_goes_to_list", "explicit_header", "reply_to_address", "help@example.org"}},
		{"explicit only", author + from, "Reply-To: help@example.org\n" + from, []string{"reply_goes_to_list", "explicit_header_only", "reply_to_address", "help@example.org"}},
		{"explicit only, with no address set", author + from, from, []string{"reply_goes_to_list", "explicit_header_only"}},
		{"explicit with no address set keeps the author's", author + from, author + from, []string{"reply_goes_to_list", "explicit_header"}},
		{"several fields become one", "Reply-To: a@b.example\n" + from + "Reply-To: c@d.example\n", "Reply-To: a@b.example, c@d.example, Dev <dev@lists.example.org>\n" + from, []string{"reply_goes_to_list", "point_to_list"}},
		{"To will be each member's own", "To: dev@lists.example.org\n" + from, "To: dev@lists.example.org\n" + from + "Cc: Dev <dev@lists.example.org>\n", []string{"personalize", "full"}},
		{"To will be each member's own, and there is a Cc", "Cc: Ben <ben@example.org>,\n" + from + "Cc: \"C, C\" <c@d.example>\n", "Cc: Ben <ben@example.org>, \"C, C\" <c@d.example>, Dev <dev@lists.example.org>\n" + from, []string{"personalize", "full"}},
		{"To will be each member's own, and Cc has the list", "Cc:  DEV@lists.example.org\n" + from, "Cc:  DEV@lists.example.org\n" + from, []string{"personalize", "full"}},
		{"To will be each member's own, and Reply-To has the list", from, from + "Reply-To: Dev <dev@lists.example.org>\n", []string{"personalize", "full", "reply_goes_to_list", "point_to_list"}},
		{"To will be each member's own, on an anonymous list", from, from, []string{"personalize", "full", "anonymous_list", "true"}},
		{"a list's name in UTF-8", from, from + "Reply-To: =?utf-8?q?D=C3=A9v?= <dev@lists.example.org>\n", []string{"reply_goes_to_list", "point_to_list", "display_name", "Dév"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			equal(t, run(t, "reply-to", tt.in, "", settings(tt.settings...)), tt.want)
		})
	}
}

func TestReplyToIsBounded(t *testing.T) {
	var header strings.Builder
	header.WriteString("Reply-To: \"" + strings.Repeat("n", 2000) + "\" <named@z.example>,\n " + strings.Repeat("w", 300) + "@z.example,\n ")
	for i := range 20_000 {
		header.WriteString("user" + strconv.Itoa(i) + "@z.example,\n ")
	}
	header.WriteString("last@z.example\n")
	got := run(t, "reply-to", header.String(), "", settings("reply_goes_to_list", "point_to_list"))
	if n := strings.Count(got, "@"); n != maxReplyTo+1 {
		t.Errorf("%d addresses in Reply-To", n)
	}
	if !strings.HasSuffix(got, "Dev <dev@lists.example.org>\r\n") {
		t.Errorf("the list is not last: …%s", got[max(0, len(got)-80):])
	}
}

func TestAddHeaders(t *testing.T) {
	const in = "x-team: ann\nFrom: ann@example.org\nSender: dev-bounces@lists.example.org\nPrecedence: list\nX-Team: twice\nX-Team-Odd:  kept\n"
	set := settings("include_rfc2369_headers", "false", "add_headers", "X-Team: web\nX-Team:\t\ttwo, at least \nOrganization: Café\nPrecedence: bulk")
	want := "From: ann@example.org\nSender: dev-bounces@lists.example.org\nX-Team-Odd:  kept\nX-BeenThere: dev@lists.example.org\nList-Id: Dev <dev.lists.example.org>\n" +
		"X-Team: web\nX-Team: two, at least\nOrganization: =?utf-8?q?Caf=C3=A9?=\nPrecedence: bulk\n"
	equal(t, run(t, "list-headers", in, "", set), want)
}

func TestOneClick(t *testing.T) {
	const leave = "<mailto:dev-leave@lists.example.org>"
	const token = handlertest.Mark + "ta"
	for _, tt := range []struct{ name, list, personalize, url, want, post string }{
		{"a personal copy", "", "individual", "https://lists.example.org/u/", "<https://lists.example.org/u/dev@lists.example.org/" + token + ">, " + leave, "List-Unsubscribe=One-Click"},
		{"without a slash at the end", "", "full", "https://lists.example.org", "<https://lists.example.org/dev@lists.example.org/" + token + ">, " + leave, "List-Unsubscribe=One-Click"},
		{"a list whose name is quoted", "a/b?c@lists.example.org", "full", "https://x.example/u/", "<https://x.example/u/a%2Fb%3Fc@lists.example.org/" + token + ">, <mailto:a%2Fb%3Fc-leave@lists.example.org>", "List-Unsubscribe=One-Click"},
		{"one copy for all", "", "none", "https://lists.example.org/u/", leave, ""},
		{"no web server", "", "individual", "", leave, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := handlertest.Run(t, stage(t, "list-headers"), handlertest.Case{List: tt.list,
				Message:  "From: ann@example.org\r\nList-Unsubscribe-Post: theirs\r\n\r\nbody\r\n",
				Settings: settings("personalize", tt.personalize, "unsubscribe_url", tt.url)})
			if got.Header.Get("List-Unsubscribe") != tt.want || strings.Join(got.Header.Values("List-Unsubscribe-Post"), "|") != tt.post {
				t.Errorf("header\n%s\nwant %s, %s", got.Header.Bytes(), tt.want, tt.post)
			}
		})
	}
}

func TestListHeaders(t *testing.T) {
	const from = "From: ann@example.org\n"
	const commands = "List-Help: <mailto:dev-request@lists.example.org?subject=help>\n" +
		"List-Owner: <mailto:dev-owner@lists.example.org>\n" +
		"List-Post: <mailto:dev@lists.example.org>\n" +
		"List-Subscribe: <mailto:dev-join@lists.example.org>\n" +
		"List-Unsubscribe: <mailto:dev-leave@lists.example.org>\n"
	const marks = "Sender: dev-bounces@lists.example.org\nPrecedence: list\nX-BeenThere: dev@lists.example.org\n"
	const ours = marks + "List-Id: Dev <dev.lists.example.org>\n" + commands
	tests := []struct {
		name, list, in, want string
		settings             []string
	}{
		{name: "all of them", in: from, want: from + ours},
		{name: "those of another list go, but its mark stays",
			in:   "List-Id: <all.x.example>\nX-BeenThere: all@x.example\nList-Unsubscribe: <https://x.example/u>\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\nList-Archive: <https://x.example/>\n" + from + "List-Post: <mailto:all@x.example>\n",
			want: "X-BeenThere: all@x.example\n" + from + ours},
		{name: "the author's Sender and Precedence give way", in: "Sender: ann@x.example\nPrecedence: normal\n" + from,
			want: "Sender: dev-bounces@lists.example.org\nPrecedence: list\n" + from + "X-BeenThere: dev@lists.example.org\nList-Id: Dev <dev.lists.example.org>\n" + commands},
		{name: "a precedence that keeps autoresponders quiet", in: "Precedence:  Bulk\n" + from,
			want: "Precedence:  Bulk\n" + from + "Sender: dev-bounces@lists.example.org\nX-BeenThere: dev@lists.example.org\nList-Id: Dev <dev.lists.example.org>\n" + commands},
		{name: "without Sender", in: "Sender: ann@x.example\n" + from, settings: []string{"include_sender_header", "false"},
			want: "Sender: ann@x.example\n" + from + "Precedence: list\nX-BeenThere: dev@lists.example.org\nList-Id: Dev <dev.lists.example.org>\n" + commands},
		{name: "without RFC 2369", in: "List-Help: <mailto:x@y.example>\n" + from, settings: []string{"include_rfc2369_headers", "false"}, want: from + marks + "List-Id: Dev <dev.lists.example.org>\n"},
		{name: "an announcement list", in: from, settings: []string{"allow_list_posts", "false"},
			want: from + strings.Replace(ours, "<mailto:dev@lists.example.org>\n", "NO\n", 1)},
		{name: "a description with a quote", in: from, settings: []string{"description", `The "dev" list, all of it`, "include_rfc2369_headers", "false"},
			want: from + marks + "List-Id: \"The \\\"dev\\\" list, all of it\" <dev.lists.example.org>\n"},
		{name: "a description in UTF-8", in: from, settings: []string{"description", "Entwickler für Ü", "include_rfc2369_headers", "false"},
			want: from + marks + "List-Id: =?utf-8?q?Entwickler_f=C3=BCr_=C3=9C?= <dev.lists.example.org>\n"},
		{name: "no name at all", in: from, settings: []string{"display_name", "", "include_rfc2369_headers", "false"}, want: from + marks + "List-Id: <dev.lists.example.org>\n"},
		{name: "an internationalised address", list: "dév@bücher.example", in: from, settings: []string{"description", "x"},
			want: from + "Sender: dév-bounces@bücher.example\nPrecedence: list\nX-BeenThere: d%c3%a9v@xn--bcher-kva.example\nList-Id: x <d%c3%a9v.xn--bcher-kva.example>\n" +
				"List-Help: <mailto:d%C3%A9v-request@xn--bcher-kva.example?subject=help>\nList-Owner: <mailto:d%C3%A9v-owner@xn--bcher-kva.example>\nList-Post: <mailto:d%C3%A9v@xn--bcher-kva.example>\nList-Subscribe: <mailto:d%C3%A9v-join@xn--bcher-kva.example>\nList-Unsubscribe: <mailto:d%C3%A9v-leave@xn--bcher-kva.example>\n"},
		{name: "an internationalised domain", list: "dev@bücher.example", in: from, settings: []string{"include_rfc2369_headers", "false"},
			want: from + "Sender: dev-bounces@xn--bcher-kva.example\nPrecedence: list\nX-BeenThere: dev@xn--bcher-kva.example\nList-Id: Dev <dev.xn--bcher-kva.example>\n"},
		{name: "an address with characters that URIs use", list: "r&d+x@lists.example.org", in: from, settings: []string{"include_sender_header", "false"},
			want: from + "Precedence: list\nX-BeenThere: r&d+x@lists.example.org\nList-Id: Dev <r&d+x.lists.example.org>\n" +
				"List-Help: <mailto:r%26d+x-request@lists.example.org?subject=help>\nList-Owner: <mailto:r%26d+x-owner@lists.example.org>\nList-Post: <mailto:r%26d+x@lists.example.org>\nList-Subscribe: <mailto:r%26d+x-join@lists.example.org>\nList-Unsubscribe: <mailto:r%26d+x-leave@lists.example.org>\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			equal(t, run(t, "list-headers", tt.in, tt.list, settings(tt.settings...)), tt.want)
		})
	}
}
