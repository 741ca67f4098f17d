package dmarc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/mailauth"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
	"github.com/mlist/mlist/sdk/message"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// usual are the settings of a list that sets nothing, as far as this package reads them.
var usual = map[string]string{"dmarc_mitigate_action": "munge_from", "dmarc_mitigate_unconditionally": "false",
	"dmarc_from_name": "name_via_list", "reply_goes_to_list": "no_munging", "anonymous_list": "false", "display_name": "Dev"}

func settings(changes ...string) map[string]string {
	m := maps.Clone(usual)
	for i := 0; i < len(changes); i += 2 {
		m[changes[i]] = changes[i+1]
	}
	return m
}

// world is DNS, and a key of bank.example's.
func world(t testing.TB) (*mailauth.Key, mailauth.File) {
	t.Helper()
	text, err := mailauth.Generate("ed25519")
	if err != nil {
		t.Fatal(err)
	}
	k, err := mailauth.NewKey("bank.example", "s1", text)
	if err != nil {
		t.Fatal(err)
	}
	record, err := mailauth.Record(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return k, mailauth.NewFile(map[string][]string{
		"s1._domainkey.bank.example": {record},
		"_dmarc.bank.example":        {"v=DMARC1; p=reject; sp=quarantine"},
		"_dmarc.soft.example":        {"v=DMARC1; p=none"},
		"_dmarc.sub.example":         {"v=DMARC1; p=none; sp=reject"},
		"_dmarc.trying.example":      {"v=DMARC1; p=quarantine; t=y"},
		"_dmarc.late.example":        {"v=DMARC1; p=none; np=reject"},
		"_dmarc.early.example":       {"v=DMARC1; p=none; sp=reject; np=none"},
		"_dmarc.broken.example":      {"v=DMARC1; p=refuse"},
	})
}

func from(author string) string {
	return "From: " + author + "\r\nTo: dev@lists.example.org\r\nSubject: topic\r\nMessage-ID: <1@bank.example>\r\n\r\nhello\r\n"
}

func signedBy(t testing.TB, k *mailauth.Key, msg string) string {
	t.Helper()
	block, body, _ := strings.Cut(msg, "\r\n\r\n")
	hash := mailauth.NewBodyHash()
	hash.Write([]byte(body))
	v, err := k.Sign(message.ParseHeader([]byte(block+"\r\n")), hash.Sum(), noon)
	if err != nil {
		t.Fatal(err)
	}
	return "DKIM-Signature: " + v + "\r\n" + msg
}

// keyless is DNS that has policies, and whose keys cannot be had just now.
type keyless struct{ mailauth.File }

func (k keyless) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if strings.Contains(name, "._domainkey.") {
		return nil, errors.New("servfail")
	}
	return k.File.LookupTXT(ctx, name)
}

// failing is DNS whose answers are an error.
type failing struct{ err error }

func (f failing) LookupTXT(context.Context, string) ([]string, error) { return nil, f.err }
func (f failing) Exists(context.Context, string) (bool, error)        { return false, f.err }

func TestWhatIsMitigated(t *testing.T) {
	k, dns := world(t)
	const ann = "Ann <ann@bank.example>"
	signed := signedBy(t, k, from(ann))
	servfail := failing{errors.New("servfail")}
	for _, tt := range []struct {
		name     string
		msg      string
		settings map[string]string
		dns      mailauth.Resolver
		approved bool
		want     string // the verdict, and From
	}{
		{"reject, unsigned", from(ann), nil, nil, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"quarantine of a subdomain", from("Ann <ann@mail.bank.example>"), nil, nil, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"a policy for subdomains alone", from("Ann <ann@a.sub.example>"), nil, nil, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"and the domain itself", from("Ann <ann@sub.example>"), nil, nil, false, "accept Ann <ann@sub.example>"},
		// RFC 9989 4.7: t=y is where From is to be rewritten, and nothing refused.
		{"a policy that is tried", from("Ann <ann@trying.example>"), nil, nil, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"a policy that is tried, and the list rejects", from("Ann <ann@trying.example>"), settings("dmarc_mitigate_action", "reject"), nil, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"a policy for domains that are not there", from("Ann <ann@gone.late.example>"), nil, nil, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"a policy that only older receivers see", from("Ann <ann@gone.early.example>"), nil, nil, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"a record without a policy", from("Ann <ann@broken.example>"), nil, nil, false, "accept Ann <ann@broken.example>"},
		{"none", from("Ann <ann@soft.example>"), nil, nil, false, "accept Ann <ann@soft.example>"},
		{"no policy", from("Ann <ann@free.example>"), nil, nil, false, "accept Ann <ann@free.example>"},
		{"signed, as it came", signed, nil, nil, false, "accept Ann <ann@bank.example>"},
		{"signed, and a footer", signed + "footer\r\n", nil, nil, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"signed, and a prefix", strings.Replace(signed, "Subject: ", "Subject: [Dev] ", 1), nil, nil, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"signed, and fields that are not signed", "X-New: 1\r\nPrecedence: list\r\n" + signed, nil, nil, false, "accept Ann <ann@bank.example>"},
		{"signed, and List-Id, which is oversigned", "List-Id: <x>\r\n" + signed, nil, nil, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"signed, and To will differ from copy to copy", signed, settings("personalize", "full"), nil, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"signed, and copies may differ", signed, settings("personalize", "individual"), nil, false, "accept Ann <ann@bank.example>"},
		{"signed by somebody else", signedBy(t, k, from("Ann <ann@a.sub.example>")), nil, nil, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"in the list's language", from(ann), settings("text.dmarc_via", "%(from)s über %(display_name)s"), nil, false, "accept =?utf-8?q?Ann_=C3=BCber_Dev?= <dev@lists.example.org>"},
		{"in the list's language, once more", from("=?utf-8?q?Ann_=C3=BCber_Dev?= <ann@bank.example>"), settings("text.dmarc_via", "%(from)s über %(display_name)s"), nil, false, "accept =?utf-8?q?Ann_=C3=BCber_Dev?= <dev@lists.example.org>"},
		{"two authors, one has a policy", from("Bob <bob@free.example>, " + ann), nil, nil, false, `accept "Bob, Ann via Dev" <dev@lists.example.org>`},
		{"DNS fails", from(ann), nil, servfail, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"DNS fails, and the list rejects", from(ann), settings("dmarc_mitigate_action", "reject"), servfail, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"only the key is not to be had, and the list rejects", signed, settings("dmarc_mitigate_action", "reject"), keyless{dns}, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"more authors than are looked at", from("a@a.example, a@b.example, a@c.example, a@d.example, a@e.example, " + ann), nil, nil, false, `accept "a, a, a, a, a via Dev" <dev@lists.example.org>`},
		{"no DNS at all", from(ann), nil, failing{mailauth.ErrNoDNS}, false, "accept Ann <ann@bank.example>"},
		{"no mitigation", from(ann), settings("dmarc_mitigate_action", "no_mitigation"), nil, false, "accept Ann <ann@bank.example>"},
		{"rejected", from(ann), settings("dmarc_mitigate_action", "reject"), nil, false, "reject dmarc"},
		{"rejected, but approved", from(ann), settings("dmarc_mitigate_action", "reject"), nil, true, "accept Ann via Dev <dev@lists.example.org>"},
		{"discarded", from(ann), settings("dmarc_mitigate_action", "discard"), nil, false, "discard dmarc"},
		{"discarded, but it passes", signed, settings("dmarc_mitigate_action", "discard"), nil, false, "accept Ann <ann@bank.example>"},
		{"an action of a later version", from(ann), settings("dmarc_mitigate_action", "shred"), nil, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"always", from("Ann <ann@free.example>"), settings("dmarc_mitigate_unconditionally", "true"), servfail, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"always, where the list rejects", from("Ann <ann@free.example>"), settings("dmarc_mitigate_unconditionally", "true", "dmarc_mitigate_action", "reject"), nil, false, "accept Ann <ann@free.example>"},
		{"an address", from("Ann <ann@free.example>"), settings("dmarc_addresses", "Ann@Free.example"), nil, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"a pattern", from("Ann <ann@free.example>"), settings("dmarc_addresses", "x@y\n^.*@free\\."), nil, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"an address of the second author", from("Bob <bob@free.example>, Ann <ann@free.example>"), settings("dmarc_addresses", "ann@free.example"), nil, false, `accept "Bob, Ann via Dev" <dev@lists.example.org>`},
		{"another address", from("Ann <ann@free.example>"), settings("dmarc_addresses", "bob@free.example\n^ann$\n^("), nil, false, "accept Ann <ann@free.example>"},
		{"a domain that is let alone", from(ann), settings("dmarc_mitigate_domains", "bank.example no_mitigation"), nil, false, "accept Ann <ann@bank.example>"},
		{"a domain that is rejected", from("Ann <ann@mail.bank.example>"), settings("dmarc_mitigate_domains", "bank.example reject\nexample discard"), nil, false, "reject dmarc"},
		{"the nearest domain", from("Ann <ann@mail.bank.example>"), settings("dmarc_mitigate_domains", "example discard\nmail.bank.example  munge_from\nbank.example reject"), nil, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"a domain in another spelling", from("Ann <ann@xn--bcher-kva.example>"), settings("dmarc_mitigate_domains", ".B\u00fccher.Example\treject", "dmarc_addresses", "^ann@"), nil, false, "reject dmarc"},
		{"a domain that ends alike", from(ann), settings("dmarc_mitigate_domains", "ank.example discard"), nil, false, "accept Ann via Dev <dev@lists.example.org>"},
		{"anonymous", from(ann), settings("anonymous_list", "true", "dmarc_mitigate_unconditionally", "true"), nil, false, "accept Ann <ann@bank.example>"},
		{"from the list itself", from("Dev <Dev@lists.example.org>"), settings("dmarc_mitigate_unconditionally", "true"), nil, false, "accept Dev <Dev@lists.example.org>"},
		{"no author", "To: x@y.example\r\n\r\nhello\r\n", nil, nil, false, "accept "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r mailauth.Resolver = dns
			if tt.dns != nil {
				r = tt.dns
			}
			if tt.settings == nil {
				tt.settings = usual
			}
			c := handlertest.Case{Message: tt.msg, Settings: tt.settings, Approved: tt.approved, Envelope: sdk.Envelope{Received: noon}}
			got := handlertest.Run(t, Stage(r).Handler, c)
			have := string(got.Verdict.Kind) + " " + got.Header.Get("From")
			if got.Verdict.Kind != sdk.KindAccept {
				have = string(got.Verdict.Kind) + " " + got.Verdict.Code
			}
			if have != tt.want {
				t.Errorf("%s, want %s; notes %v", have, tt.want, got.Notes)
			}
			if got.Header.Get("From") == message.ParseHeader([]byte(tt.msg)).Get("From") && string(got.Message) != tt.msg {
				t.Errorf("From stays, and the message changes:\n%s", got.Message)
			}
			// At SMTP time it says no to the same posts, and edits none.
			c.AtSMTP = true
			if now := handlertest.Run(t, Stage(r).Handler, c); now.Verdict != got.Verdict || string(now.Message) != tt.msg {
				t.Errorf("at SMTP time: %+v, later %+v", now.Verdict, got.Verdict)
			}
			if got.Verdict.Kind == sdk.KindReject && !strings.Contains(got.Verdict.Reason, ".example") {
				t.Errorf("reason %q", got.Verdict.Reason)
			}
		})
	}
	t.Run("our own domains", func(t *testing.T) {
		c := handlertest.Case{Message: from("Ann <ann@mail.bank.example>"), Settings: usual, Config: map[string]any{"own_domains": []string{"Bank.example"}}}
		if got := handlertest.Run(t, Stage(dns).Handler, c); string(got.Message) != c.Message {
			t.Errorf("%s", got.Message)
		}
	})
	t.Run("the list's own words", func(t *testing.T) {
		c := handlertest.Case{Message: from(ann), Settings: settings("dmarc_mitigate_action", "reject", "dmarc_moderation_notice", "Not from %(domain)s to %(list_address)s.\n")}
		if got := handlertest.Run(t, Stage(dns).Handler, c); got.Verdict != sdk.Reject("dmarc", "Not from bank.example to dev@lists.example.org.") {
			t.Errorf("%+v", got.Verdict)
		}
	})
	t.Run("a bad configuration", func(t *testing.T) {
		if _, err := handlertest.Try(t, Stage(dns).Handler, handlertest.Case{Message: from(ann), Config: map[string]any{"dns_timeout": "soon"}}); err == nil || !strings.Contains(err.Error(), "dns_timeout") {
			t.Errorf("%v", err)
		}
	})
}

func TestMunging(t *testing.T) {
	_, dns := world(t)
	for _, tt := range []struct {
		name, header string
		settings     map[string]string
		want         string // From | Reply-To | Cc | X-Original-From
	}{
		{"a name", "From: Ann Smith <ann@bank.example>\r\n", usual,
			"Ann Smith via Dev <dev@lists.example.org> | Ann Smith <ann@bank.example> | | Ann Smith <ann@bank.example>"},
		{"no name", "From: ann@bank.example\r\n", usual,
			"ann via Dev <dev@lists.example.org> | ann@bank.example | | ann@bank.example"},
		{"an address for a name", "From: \"ann@bank.example\" <ann@bank.example>\r\n", usual,
			"ann via Dev <dev@lists.example.org> | \"ann@bank.example\" <ann@bank.example> | | \"ann@bank.example\" <ann@bank.example>"},
		{"a name in another script", "From: =?utf-8?q?J=C3=BCrgen?= <j@bank.example>\r\n", usual,
			"=?utf-8?q?J=C3=BCrgen_via_Dev?= <dev@lists.example.org> | =?utf-8?q?J=C3=BCrgen?= <j@bank.example> | | =?utf-8?q?J=C3=BCrgen?= <j@bank.example>"},
		{"a comma in the name", "From: \"Smith, Ann\" <ann@bank.example>\r\n", usual,
			"\"Smith, Ann via Dev\" <dev@lists.example.org> | \"Smith, Ann\" <ann@bank.example> | | \"Smith, Ann\" <ann@bank.example>"},
		{"munged before", "From: Ann via Dev <ann@bank.example>\r\n", usual,
			"Ann via Dev <dev@lists.example.org> | Ann via Dev <ann@bank.example> | | Ann via Dev <ann@bank.example>"},
		{"the address for people", "From: Ann <ann@bank.example>\r\n", settings("dmarc_from_name", "address_via_list"),
			"\"ann at bank.example via Dev\" <dev@lists.example.org> | Ann <ann@bank.example> | | Ann <ann@bank.example>"},
		{"only the name", "From: Ann <ann@bank.example>\r\n", settings("dmarc_from_name", "name"),
			"Ann <dev@lists.example.org> | Ann <ann@bank.example> | | Ann <ann@bank.example>"},
		{"a Reply-To of the author's", "From: Ann <ann@bank.example>\r\nReply-To: Desk <desk@bank.example>\r\n", usual,
			"Ann via Dev <dev@lists.example.org> | Desk <desk@bank.example>, Ann <ann@bank.example> | | Ann <ann@bank.example>"},
		{"a Reply-To that has the author", "From: Ann <ann@bank.example>\r\nReply-To:  ANN@bank.example\r\n", usual,
			"Ann via Dev <dev@lists.example.org> | ANN@bank.example | | Ann <ann@bank.example>"},
		{"replies go to the list", "From: Ann <ann@bank.example>\r\nReply-To: dev@lists.example.org\r\n", settings("reply_goes_to_list", "point_to_list"),
			"Ann via Dev <dev@lists.example.org> | dev@lists.example.org | Ann <ann@bank.example> | Ann <ann@bank.example>"},
		{"replies go elsewhere, and there are copies", "From: Ann <ann@bank.example>\r\nReply-To: x@y.example\r\nCc: Bob <bob@c.example>,\r\n\tEve <eve@c.example>\r\nCc: al@c.example\r\n", settings("reply_goes_to_list", "explicit_header"),
			"Ann via Dev <dev@lists.example.org> | x@y.example | Bob <bob@c.example>, Eve <eve@c.example>, al@c.example, Ann <ann@bank.example> | Ann <ann@bank.example>"},
		{"replies go to the list, and the author is in To", "From: Ann <ann@bank.example>\r\nTo: ann@bank.example, dev@lists.example.org\r\n", settings("reply_goes_to_list", "point_to_list"),
			"Ann via Dev <dev@lists.example.org> | | | Ann <ann@bank.example>"},
		{"two From fields", "From: Ann <ann@bank.example>\r\nFrom: Bob <bob@bank.example>\r\n", usual,
			"\"Ann, Bob via Dev\" <dev@lists.example.org> | Ann <ann@bank.example>, Bob <bob@bank.example> | | Ann <ann@bank.example>, Bob <bob@bank.example>"},
		{"two authors", "From: Ann <ann@bank.example>, bob@bank.example, Ann <ANN@bank.example>\r\n", usual,
			"\"Ann, bob via Dev\" <dev@lists.example.org> | Ann <ann@bank.example>, bob@bank.example | | Ann <ann@bank.example>, bob@bank.example, Ann <ANN@bank.example>"},
		{"two authors, and replies go to the list", "From: Ann <ann@bank.example>, bob@bank.example\r\n", settings("reply_goes_to_list", "point_to_list"),
			"\"Ann, bob via Dev\" <dev@lists.example.org> | | Ann <ann@bank.example>, bob@bank.example | Ann <ann@bank.example>, bob@bank.example"},
		{"a group", "From: Desk: Ann <ann@bank.example>, bob@bank.example;\r\n", usual,
			"\"Ann, bob via Dev\" <dev@lists.example.org> | Ann <ann@bank.example>, bob@bank.example | | Desk: Ann <ann@bank.example>, bob@bank.example;"},
		{"many authors", "From: a@bank.example, b@bank.example, c@bank.example, d@bank.example, e@bank.example, f@bank.example\r\n", usual,
			"\"a, b, c, d, e via Dev\" <dev@lists.example.org> | a@bank.example, b@bank.example, c@bank.example, d@bank.example, e@bank.example | | a@bank.example, b@bank.example, c@bank.example, d@bank.example, e@bank.example, f@bank.example"},
		{"the list and an author", "From: dev@lists.example.org, Ann <ann@bank.example>\r\n", usual,
			"Ann via Dev <dev@lists.example.org> | Ann <ann@bank.example> | | dev@lists.example.org, Ann <ann@bank.example>"},
		{"a domain in another script", "From: Ann <ann@b\u00fccher.bank.example>\r\n", usual,
			"Ann via Dev <dev@lists.example.org> | Ann <ann@xn--bcher-kva.bank.example> | | Ann <ann@xn--bcher-kva.bank.example>"},
		{"nobody", "From: undisclosed:;\r\n", settings("dmarc_mitigate_unconditionally", "true"),
			"Dev <dev@lists.example.org> | | | undisclosed:;"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			msg := tt.header + "Message-ID: <1@x>\r\n\r\nhello\r\n"
			got := handlertest.Run(t, Stage(dns).Handler, handlertest.Case{Message: msg, Settings: tt.settings})
			have := fmt.Sprintf("%s | %s | %s | %s", got.Header.Get("From"), got.Header.Get("Reply-To"), got.Header.Get("Cc"), got.Header.Get("X-Original-From"))
			if have = strings.Join(strings.Fields(have), " "); have != tt.want {
				t.Errorf("\n%s\nwant\n%s", have, tt.want)
			}
			if string(got.Body) != "hello\r\n" || len(got.Header.Values("From")) != 1 {
				t.Errorf("%s", got.Message)
			}
			again := handlertest.Run(t, Stage(dns).Handler, handlertest.Case{Message: string(got.Message), Settings: tt.settings})
			if !bytes.Equal(again.Message, got.Message) {
				t.Errorf("once more gives\n%s", again.Message)
			}
		})
	}
}

func TestWrapping(t *testing.T) {
	_, dns := world(t)
	const msg = "Received: x\r\nDKIM-Signature: v=1; d=bank.example\r\nFrom:  Ann <ann@bank.example>\r\nTo: dev@lists.example.org\r\n" +
		"Subject: =?utf-8?q?caf=C3=A9?=\r\nMessage-ID: <1@bank.example>\r\nX-odd :  kept\r\n\tas it is\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nList-Id: <dev.lists.example.org>\r\n\r\nol\xc3\xa9  \r\n-- \r\nAnn"
	const inner = "DKIM-Signature: v=1; d=bank.example\r\nFrom:  Ann <ann@bank.example>\r\nTo: dev@lists.example.org\r\n" +
		"Subject: =?utf-8?q?caf=C3=A9?=\r\nMessage-ID: <1@bank.example>\r\nX-odd :  kept\r\n\tas it is\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nol\xc3\xa9  \r\n-- \r\nAnn"
	const outerBlock = "Received: x\r\nFrom: Ann via Dev <dev@lists.example.org>\r\nTo: dev@lists.example.org\r\n" +
		"Subject: =?utf-8?q?caf=C3=A9?=\r\nMessage-ID: <1@bank.example>\r\nMIME-Version: 1.0\r\nList-Id: <dev.lists.example.org>\r\n" +
		"X-Original-From: Ann <ann@bank.example>\r\nReply-To: Ann <ann@bank.example>\r\n"
	wrapped := settings("dmarc_mitigate_action", "wrap_message")
	got := handlertest.Run(t, Stage(dns).Handler, handlertest.Case{Message: msg, Settings: wrapped})
	want := outerBlock + "Content-Type: message/rfc822\r\nContent-Disposition: inline\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + inner
	if string(got.Message) != want {
		t.Errorf("wrapped so:\n%s\nwant\n%s", got.Message, want)
	}

	t.Run("with a text", func(t *testing.T) {
		set := maps.Clone(wrapped)
		set["dmarc_wrapped_message_text"] = "The post is below.\nIt is from Ann."
		got := handlertest.Run(t, Stage(dns).Handler, handlertest.Case{Message: msg, Settings: set})
		root, defects, err := message.ParseStructure(got.Header, message.NewBody(bytes.NewReader(got.Body), 0, int64(len(got.Body))))
		if err != nil || len(defects) > 0 || root.Type != "multipart/mixed" || len(root.Parts) != 2 || root.Encoding != "8bit" {
			t.Fatalf("%+v, %v, %v\n%s", root, defects, err, got.Message)
		}
		text, post := root.Parts[0], root.Parts[1]
		if text.Type != "text/plain" || string(got.Body[text.Start:text.End]) != "The post is below.\r\nIt is from Ann." || text.Encoding != "7bit" {
			t.Errorf("text %q", got.Body[text.Start:text.End])
		}
		if post.Type != "message/rfc822" || string(got.Body[post.Start:post.End]) != inner || post.Encoding != "8bit" {
			t.Errorf("post %q", got.Body[post.Start:post.End])
		}
		again := handlertest.Run(t, Stage(dns).Handler, handlertest.Case{Message: msg, Settings: set})
		if !bytes.Equal(got.Message, again.Message) {
			t.Error("a second run gives other octets")
		}
	})
	t.Run("lines that end in LF", func(t *testing.T) {
		got := handlertest.Run(t, Stage(dns).Handler, handlertest.Case{Message: strings.ReplaceAll(msg, "\r\n", "\n"), Settings: wrapped})
		if bytes.Contains(got.Message, []byte("\r")) || !bytes.HasSuffix(got.Message, []byte(strings.ReplaceAll(inner, "\r\n", "\n"))) {
			t.Errorf("%s", got.Message)
		}
	})
	t.Run("a signed post stays so inside", func(t *testing.T) {
		const signed = "From: ann@bank.example\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nx \r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\ny\r\n--b--\r\n"
		got := handlertest.Run(t, Stage(dns).Handler, handlertest.Case{Message: signed, Settings: wrapped})
		if string(got.Body) != signed || got.Header.Get("Content-Transfer-Encoding") != "7bit" {
			t.Errorf("%s", got.Message)
		}
	})
	t.Run("what cannot be wrapped is munged", func(t *testing.T) {
		for name, msg := range map[string]string{
			"a line that is no field": "From: ann@bank.example\r\njunk\r\nTo: x@y.example\r\n\r\nhello\r\n",
			"a thousand fields":       "From: ann@bank.example\r\n" + manyFields() + "\r\nhello\r\n",
		} {
			got := handlertest.Run(t, Stage(dns).Handler, handlertest.Case{Message: msg, Settings: wrapped})
			if string(got.Body) != "hello\r\n" || got.Header.Get("From") != "ann via Dev <dev@lists.example.org>" || got.Notes["dmarc.action"] != "munge_from" {
				t.Errorf("%s: notes %v\n%.300s", name, got.Notes, got.Message)
			}
		}
	})
}

func manyFields() string {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "X-%d: y\r\n", i)
	}
	return b.String()
}

// What the list sends must pass at receivers: nobody's policy is left in From.
func TestWhatIsMitigatedHasNobodysPolicy(t *testing.T) {
	_, dns := world(t)
	for _, action := range []string{mungeFrom, wrapMessage} {
		got := handlertest.Run(t, Stage(dns).Handler, handlertest.Case{Message: from("\"eve@bank.example\" <ann@bank.example>"), Settings: settings("dmarc_mitigate_action", action)})
		if d := mailauth.AuthorDomains(got.Header); len(d) != 1 || d[0] != "lists.example.org" {
			t.Errorf("%s: authors' domains %v", action, d)
		}
		if f := got.Header.Get("From"); strings.Contains(f, "bank.example") {
			t.Errorf("%s: From %s", action, f)
		}
	}
}

// FuzzMitigate: no message makes the stage fail, or ask for what mlist refuses; and From is
// the list's then.
func FuzzMitigate(f *testing.F) {
	for _, s := range []string{from("Ann <ann@bank.example>"), "From: =?x?q?=00?= <a\xff@bank.example>\r\nCc: \"\r\nReply-To: ,;<\r\n\r\nx", "From: a@b\nFrom: c@d\n\n", "x", "From ann\nFrom: ann@bank.example\n\n", "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"\r\n\r\n"} {
		f.Add([]byte(s), true, "text")
		f.Add([]byte(s), false, "")
	}
	dns := everywhere("v=DMARC1; p=reject")
	f.Fuzz(func(t *testing.T, msg []byte, wrapping bool, text string) {
		if _, err := message.Open(bytes.NewReader(msg), int64(len(msg))); err != nil {
			return
		}
		set := settings("dmarc_mitigate_unconditionally", "true", "dmarc_wrapped_message_text", strings.ToValidUTF8(text, "?"))
		if wrapping {
			set["dmarc_mitigate_action"] = wrapMessage
		}
		got := handlertest.Run(t, Stage(dns).Handler, handlertest.Case{Message: string(msg), Settings: set})
		boxes := got.Header.Mailboxes("From")
		if len(boxes) != 1 || message.AddressKey(boxes[0].Address) != "dev@lists.example.org" {
			t.Fatalf("%q becomes\n%q", msg, got.Message)
		}
	})
}

// everywhere is DNS with one record at every name.
type everywhere string

func (e everywhere) LookupTXT(context.Context, string) ([]string, error) {
	return []string{string(e)}, nil
}
func (e everywhere) Exists(context.Context, string) (bool, error) { return true, nil }
