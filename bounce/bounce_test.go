package bounce

import (
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// dsn wraps a delivery status as MTAs do; lines may be written with \n.
func dsn(status string) string {
	return crlf("From: MAILER-DAEMON@mx.test\nSubject: Undelivered\nMIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status;\n\tboundary=\"b1\"\n\n" +
		"--b1\nContent-Type: text/plain\n\nSorry.\nFinal-Recipient: rfc822; decoy@net.test\n\n" +
		"--b1\nContent-Type: message/delivery-status\n\n" + status + "\n" +
		"--b1\nContent-Type: message/rfc822\n\nSubject: x\n\nFinal-Recipient: rfc822; decoy@net.test\n--b1--\n")
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func TestParse(t *testing.T) {
	about := "Reporting-MTA: dns; mx.test\nX-Postfix-Queue-ID: 4ABC\nOriginal-Envelope-Id: post7\nArrival-Date: Tue, 24 Nov 2026 12:00:00 +0000\n"
	ann := "Final-Recipient: rfc822; ann@net.test\nOriginal-Recipient: rfc822;ann@old.test\nAction: failed\nStatus: 5.1.1\nRemote-MTA: dns; mx.net.test\nDiagnostic-Code: smtp; 550 5.1.1 <ann@net.test>: no\n such user\n"
	annRead := Recipient{Address: "ann@old.test", Final: "ann@net.test", Class: ClassMailbox, Action: "failed", Status: "5.1.1", Diagnostic: "550 5.1.1 <ann@net.test>: no such user", RemoteMTA: "mx.net.test"}
	bob := "Final-Recipient: RFC822; <bob@net.test>\nAction: Delayed (will retry)\nStatus: 4.4.1 (no answer)\n"
	bobRead := Recipient{Address: "bob@net.test", Final: "bob@net.test", Class: ClassNetwork, Action: "delayed", Status: "4.4.1"}
	tests := []struct {
		name, in string
		want     []Recipient
	}{
		{"one recipient", dsn(about + "\n" + ann), []Recipient{annRead}},
		{"two recipients", dsn(about + "\n" + ann + "\n" + bob), []Recipient{annRead, bobRead}},
		{"no empty line between recipients", dsn(about + "\n" + ann + bob), []Recipient{annRead, bobRead}},
		{"no empty line at all", dsn(about + ann + bob), []Recipient{annRead, bobRead}},
		{"no group about the message", dsn(ann), []Recipient{annRead}},
		{"several empty lines, some with blanks", dsn(about + "\n \n\n" + ann + "\n\t\n\n" + bob), []Recipient{annRead, bobRead}},
		{"LF line ends", strings.ReplaceAll(dsn(about+"\n"+ann), "\r", ""), []Recipient{annRead}},
		{"the status is the last thing that came", strings.SplitAfter(dsn(about+"\n"+ann), "no\r\n such user\r\n")[0], []Recipient{annRead}},
		{"multipart/mixed", strings.Replace(dsn(about+"\n"+ann), "multipart/report", "multipart/mixed", 1), []Recipient{annRead}},
		{"no status, but a reply", dsn(about + "\nFinal-Recipient: rfc822; a@b.test\nAction: failed\nDiagnostic-Code: smtp; 550-5.2.1 disabled\n"),
			[]Recipient{{Address: "a@b.test", Final: "a@b.test", Class: ClassMailbox, Action: "failed", Status: "5.2.1", Diagnostic: "550-5.2.1 disabled"}}},
		{"neither action nor status", dsn(about + "\nFinal-Recipient: rfc822; a@b.test\nDiagnostic-Code: smtp; 452 full\n"),
			[]Recipient{{Address: "a@b.test", Final: "a@b.test", Class: ClassUnknown, Action: "delayed", Status: "4.0.0", Diagnostic: "452 full"}}},
		{"an internet address is no status", dsn(about + "\nFinal-Recipient: rfc822; a@b.test\nAction: failed\nDiagnostic-Code: smtp; 550 refused from 5.1.2.3\n"),
			[]Recipient{{Address: "a@b.test", Final: "a@b.test", Class: ClassUnknown, Action: "failed", Status: "5.0.0", Diagnostic: "550 refused from 5.1.2.3"}}},
		{"only an original recipient", dsn(about + "\nOriginal-Recipient: rfc822; a@b.test\nAction: failed\nStatus: 5.0.0\n"),
			[]Recipient{{Address: "a@b.test", Class: ClassUnknown, Action: "failed", Status: "5.0.0"}}},
		{"a UTF-8 address, escaped", dsn(about + "\nFinal-Recipient: utf-8; \\x{fc}nal@b\\x{FC}cher.test\nAction: failed\nStatus: 5.1.1\n"),
			[]Recipient{{Address: "ünal@bücher.test", Final: "ünal@bücher.test", Class: ClassMailbox, Action: "failed", Status: "5.1.1"}}},
		{"escaped line breaks are none", dsn(about + "\nFinal-Recipient: utf-8; a\\x{0a}b@c.test\nAction: failed\nStatus: 5.1.1\n"),
			[]Recipient{{Address: "a b@c.test", Final: "a b@c.test", Class: ClassMailbox, Action: "failed", Status: "5.1.1"}}},
		{"words of a header in the address", dsn(about + "\nFinal-Recipient: rfc822; =?utf-8?Q?=C3=BCnal?=@b.test\nAction: failed\nStatus: 5.1.1\n"),
			[]Recipient{{Address: "ünal@b.test", Final: "ünal@b.test", Class: ClassMailbox, Action: "failed", Status: "5.1.1"}}},
		{"half a pair of angle brackets", dsn(about + "\nFinal-Recipient: rfc822; a@b.test>\nAction: failed\nStatus: 5.1.1\n"),
			[]Recipient{{Address: "a@b.test", Final: "a@b.test", Class: ClassMailbox, Action: "failed", Status: "5.1.1"}}},
		{"CR line ends", strings.ReplaceAll(dsn(about+"\n"+ann), "\n", ""), []Recipient{annRead}},
		{"no type before the address", dsn(about + "\nFinal-Recipient: a@b.test\nAction: failed\nStatus: 5.1.1\n"),
			[]Recipient{{Address: "a@b.test", Final: "a@b.test", Class: ClassMailbox, Action: "failed", Status: "5.1.1"}}},
		{"delivered", dsn(about + "\nFinal-Recipient: rfc822; a@b.test\nAction: delivered\nStatus: 2.1.5\n"),
			[]Recipient{{Address: "a@b.test", Final: "a@b.test", Action: "delivered", Status: "2.1.5"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Parse(strings.NewReader(tt.in))
			if err != nil || r.Scope != ScopeRecipients || !reflect.DeepEqual(r.Recipients, tt.want) {
				t.Errorf("Parse = %+v, %v; want %+v", r, err, tt.want)
			}
			if strings.Contains(tt.in, "Reporting-MTA") && (r.Reporter != "mx.test" || r.EnvelopeID != "post7") {
				t.Errorf("Reporter %q, EnvelopeID %q", r.Reporter, r.EnvelopeID)
			}
		})
	}
}

func TestEncodedStatus(t *testing.T) {
	status := crlf("Reporting-MTA: dns; mx.test\n\nFinal-Recipient: utf-8; ünal@net.test\nAction: failed\nStatus: 5.1.1\n")
	for encoding, text := range map[string]string{
		"base64":           base64.StdEncoding.EncodeToString([]byte(status)),
		"quoted-printable": strings.ReplaceAll(status, "ü", "=C3=BC"),
		"8bit":             status,
	} {
		in := dsn("")
		in = strings.Replace(in, "Content-Type: message/delivery-status\r\n\r\n",
			"Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: "+encoding+"\r\n\r\n"+text, 1)
		r, err := Parse(strings.NewReader(in))
		if err != nil || len(r.Recipients) != 1 || r.Recipients[0].Address != "ünal@net.test" {
			t.Errorf("%s: %+v, %v", encoding, r, err)
		}
	}
}

func TestWhatCounts(t *testing.T) {
	tests := []struct {
		action, status  string
		failed, delayed bool
	}{
		{"failed", "5.1.1", true, false},
		{"failed", "", true, false},
		{"failed", "4.4.7", false, true}, // given up after days of temporary errors
		{"delayed", "4.4.1", false, true},
		{"delivered", "2.0.0", false, false},
		{"", "", false, false},
	}
	for _, tt := range tests {
		r := Recipient{Action: tt.action, Status: tt.status}
		if r.Failed() != tt.failed || r.Delayed() != tt.delayed {
			t.Errorf("%+v: failed %v, delayed %v", r, r.Failed(), r.Delayed())
		}
	}
}

func TestScopeOfOneRecipientSaysNothingOfAnother(t *testing.T) {
	r, err := Parse(strings.NewReader(dsn("Reporting-MTA: dns; lists.test\n" +
		"\nFinal-Recipient: rfc822; gone@b.test\nAction: failed\nStatus: 5.1.1\nX-Mlist-Scope: recipient\n" +
		"\nX-Mlist-Scope: message\nFinal-Recipient: rfc822; fine@b.test\nAction: failed\nStatus: 5.7.1\n" +
		"\nFinal-Recipient: rfc822; moved@b.test\nAction: failed\nStatus: 5.1.6\n")))
	if err != nil || r.Scope != ScopeRecipients || len(r.Recipients) != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	for i, want := range []bool{false, true, false} {
		if got := r.Recipients[i]; got.Message != want {
			t.Errorf("%s: Message is %v", got.Address, got.Message)
		}
	}
}

func TestScope(t *testing.T) {
	status := "Reporting-MTA: dns; lists.test\nX-Mlist-Scope: message\n\nFinal-Recipient: rfc822; a@b.test\nAction: failed\nStatus: 5.7.1\n"
	r, err := Parse(strings.NewReader(dsn(status)))
	if err != nil || r.Scope != ScopeMessage {
		t.Errorf("in the status: %+v, %v", r, err)
	}
	in := "X-Mlist-Scope: message\r\n" + dsn(strings.Replace(status, "X-Mlist-Scope: message\n", "", 1))
	r, err = Parse(strings.NewReader(in))
	if err != nil || r.Scope != ScopeMessage {
		t.Errorf("in the header: %+v, %v", r, err)
	}
}

func TestNoReport(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":                 "",
		"text":                    "hello\r\n",
		"a plain message":         "Subject: out of office\r\n\r\nI am away.\r\nFinal-Recipient: rfc822; a@b.test\r\n",
		"a read receipt":          strings.ReplaceAll(dsn("Final-Recipient: rfc822; a@b.test\nDisposition: manual-action; displayed\n"), "delivery-status", "disposition-notification"),
		"a report on nobody":      dsn("Reporting-MTA: dns; mx.test\n"),
		"an empty report":         dsn(""),
		"a report in a forwarded": "Content-Type: message/rfc822\r\n\r\n" + dsn("Final-Recipient: rfc822; a@b.test\nAction: failed\n"),
	} {
		t.Run(name, func(t *testing.T) {
			if r, err := Parse(strings.NewReader(in)); !errors.Is(err, ErrNoReport) || len(r.Recipients) != 0 {
				t.Errorf("Parse = %+v, %v", r, err)
			}
		})
	}
}

func TestBounds(t *testing.T) {
	var many strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&many, "Final-Recipient: rfc822; a%d@b.test\nAction: failed\nStatus: 5.1.1\n\n", i)
	}
	r, err := Parse(strings.NewReader(dsn(many.String())))
	if err != nil || len(r.Recipients) != maxRecipients {
		t.Errorf("%d recipients, %v", len(r.Recipients), err)
	}
	long := "Final-Recipient: rfc822; a@b.test\nAction: failed\nDiagnostic-Code: smtp; 550 " + strings.Repeat("x\n ", 100_000) + "\n"
	r, err = Parse(strings.NewReader(dsn(long)))
	if err != nil || len(r.Recipients) != 1 || len(r.Recipients[0].Diagnostic) > maxText {
		t.Errorf("a long diagnostic: %d recipients, %v", len(r.Recipients), err)
	}
	if _, err := Parse(failing{}); err == nil || errors.Is(err, ErrNoReport) {
		t.Errorf("a read that fails: %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("input/output error") }

// FuzzParse: no report has texts that are too long, or not fit to be shown.
func FuzzParse(f *testing.F) {
	f.Add([]byte(dsn("Reporting-MTA: dns; mx.test\n\nFinal-Recipient: rfc822; a@b.test\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 no\n")), false)
	f.Add([]byte("Final-Recipient: utf-8; \\x{a}\\x{fc}@b.test\nAction:\nStatus: x5.1.1\nDiagnostic-Code: 550\n\nOriginal-Recipient: rfc822;<>\n"), true)
	f.Add([]byte("Original-Recipient: rfc822; a@b.test\r\nFinal-Recipient: (x) <a@b.test\r\n\tx\r\nDiagnostic-Code: smtp; 450 4.\xff"), true)
	f.Fuzz(func(t *testing.T, in []byte, status bool) {
		text := string(in)
		if status {
			text = dsn(text)
		}
		r, err := Parse(strings.NewReader(text))
		if err != nil && len(r.Recipients) > 0 {
			t.Fatalf("recipients and %v", err)
		}
		all := []string{r.Reporter, r.EnvelopeID}
		for _, x := range r.Recipients {
			if x.Address == "" {
				t.Fatal("a recipient without an address")
			}
			all = append(all, x.Address, x.Final, x.Action, x.Status, x.Diagnostic, x.RemoteMTA)
		}
		for _, s := range all {
			if len(s) > 3*maxText || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
				t.Fatalf("text %q", s)
			}
		}
	})
}
