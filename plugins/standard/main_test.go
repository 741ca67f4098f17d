package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/mailauth"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
	"github.com/mlist/mlist/sdk/message"
	"pgregory.net/rapid"
)

// noDNS is DNS with nothing in it.
var noDNS = mailauth.File{}

func TestStandardOffersTheDefaultPipeline(t *testing.T) {
	var names []string
	for _, s := range stages(noDNS) {
		names = append(names, s.Name)
		if s.Help == "" {
			t.Errorf("stage %s has no help", s.Name)
		}
	}
	if !slices.Equal(names, order) {
		t.Errorf("stages %v, want %v", names, order)
	}
}

var settings = withTexts("en", map[string]string{
	"default_member_action": "defer", "default_nonmember_action": "hold",
	"require_explicit_destination": "true", "max_message_size": "40", "max_num_recipients": "10",
	"subject_prefix": "[%(display_name)s] ", "reply_goes_to_list": "point_to_list",
	"include_rfc2369_headers": "true", "allow_list_posts": "true", "include_sender_header": "true",
	"footer":        "__\n%(display_name)s mailing list -- %(list_address)s\n",
	"digest_footer": "",
})

// withTexts are settings with the texts that mlist hands to handlers.
func withTexts(language string, settings map[string]string) map[string]string {
	all := templates.ForHandlers(language)
	maps.Copy(all, settings)
	return all
}

// post is a case for the whole pipeline: ann is a member.
func post(msg string) handlertest.Case {
	return handlertest.Case{
		Message: msg, Settings: settings, Number: 7,
		Senders:  []sdk.Sender{{Address: "ann@example.org", Source: "from", Memberships: []sdk.Membership{{Role: "member"}}}},
		Envelope: sdk.Envelope{Sender: "ann@example.org", Received: time.Date(2025, 7, 1, 8, 0, 0, 0, time.UTC)},
	}
}

func TestAPostThroughAllStages(t *testing.T) {
	const in = "Received: from a by b; Tue, 1 Jul 2025 10:00:00 +0200\r\n" +
		"Message-ID: <1@example.org>\r\nDate: Tue, 1 Jul 2025 10:00:00 +0200\r\n" +
		"From:  Ann <ann@example.org>\r\nTo: dev@lists.example.org, ben@example.org\r\nSubject: Re: topic\r\nX-odd :  kept\r\n\t as it is\r\n\r\nhello\r\n"
	const want = "Received: from a by b; Tue, 1 Jul 2025 10:00:00 +0200\r\n" +
		"Message-ID: <1@example.org>\r\nDate: Tue, 1 Jul 2025 10:00:00 +0200\r\n" +
		"From:  Ann <ann@example.org>\r\nTo: dev@lists.example.org, ben@example.org\r\nSubject: Re: [dev] topic\r\nX-odd :  kept\r\n\t as it is\r\n" +
		"Reply-To: dev <dev@lists.example.org>\r\nSender: dev-bounces@lists.example.org\r\nPrecedence: list\r\nX-BeenThere: dev@lists.example.org\r\n" +
		"List-Id: <dev.lists.example.org>\r\nList-Help: <mailto:dev-request@lists.example.org?subject=help>\r\nList-Owner: <mailto:dev-owner@lists.example.org>\r\n" +
		"List-Post: <mailto:dev@lists.example.org>\r\nList-Subscribe: <mailto:dev-join@lists.example.org>\r\nList-Unsubscribe: <mailto:dev-leave@lists.example.org>\r\n" +
		"Message-ID-Hash: YQGNW22OIHIVAA7XCBR2RF3PVVYNP6BX\r\n"
	got := run(t, post(in))
	if got.Verdict != sdk.Accept {
		t.Fatalf("verdict %+v", got.Verdict)
	}
	if string(got.Header.Bytes()) != want {
		t.Errorf("header\n%s\nwant\n%s", got.Header.Bytes(), want)
	}
	if !strings.HasPrefix(string(got.Body), "hello\r\n") || !strings.Contains(string(got.Body), "dev mailing list -- dev@lists.example.org") {
		t.Errorf("body\n%s", got.Body)
	}
	if len(got.Rules) != 3 {
		t.Errorf("rules %+v", got.Rules)
	}
}

func TestASignedPostKeepsItsBody(t *testing.T) {
	const body = "--b\r\nContent-Type: text/plain \r\n\r\nHello =20\t\r\n-- \r\nAnn\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\n-----BEGIN PGP SIGNATURE-----\r\n--b--\r\n"
	got := run(t, post("From: ann@example.org\r\nTo: dev@lists.example.org\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed;\r\n  boundary=b ; protocol=\"application/pgp-signature\"\r\n\r\n"+body))
	if got.Verdict != sdk.Accept || string(got.Body) != body {
		t.Errorf("verdict %+v, body\n%s", got.Verdict, got.Body)
	}
	if !bytes.Contains(got.Header.Bytes(), []byte("Content-Type: multipart/signed;\r\n  boundary=b ; protocol=\"application/pgp-signature\"\r\n")) {
		t.Errorf("header\n%s", got.Header.Bytes())
	}
}

// What one package writes the other must know again, however the list is called.
func TestEveryListKnowsItsOwnPostsAgain(t *testing.T) {
	for _, list := range []string{"dev@lists.example.org", "Dev+X@Lists.Example.org", "dév@bücher.example", "a b@lists.example.org", "50%20@lists.example.org", "x/y=z@lists.example.org"} {
		t.Run(list, func(t *testing.T) {
			c := post("From: ann@example.org\r\nTo: dev@lists.example.org\r\nMessage-ID: <1@example.org>\r\n\r\nbody\r\n")
			c.List, c.Approved = list, true // past the explicit destination
			first := run(t, c)
			if first.Verdict != sdk.Accept {
				t.Fatalf("verdict %+v", first.Verdict)
			}
			back := c
			back.Approved = false
			back.Message = "X-BeenThere: " + first.Header.Get("X-BeenThere") + "\r\n\r\nbody\r\n"
			if got := run(t, back); got.Verdict.Code != "loop" {
				t.Errorf("verdict %+v on %s", got.Verdict, back.Message)
			}
		})
	}
}

func TestListsWithOneListIdTakeEachOthersPosts(t *testing.T) {
	a := post("From: ann@example.org\r\nTo: dev.eu@lists.example.org, dev@eu.lists.example.org\r\nSubject: x\r\nMessage-ID: <1@example.org>\r\n\r\nbody\r\n")
	a.List = "dev.eu@lists.example.org"
	first := run(t, a)
	b := post(string(first.Message))
	b.List = "dev@eu.lists.example.org"
	second := run(t, b)
	if first.Verdict != sdk.Accept || second.Verdict != sdk.Accept || first.Header.Get("List-Id") != second.Header.Get("List-Id") {
		t.Errorf("verdicts %+v and %+v; %s and %s", first.Verdict, second.Verdict, first.Header.Get("List-Id"), second.Header.Get("List-Id"))
	}
	a.Message = string(second.Message)
	if third := run(t, a); third.Verdict.Code != "loop" {
		t.Errorf("back at the first list: %+v", third.Verdict)
	}
}

// Whatever a member sends: a second run gives the same bytes, the result is one
// header block, and it is stopped when it comes back.
func TestEveryPostIsTheSameTwiceAndStoppedWhenItComesBack(t *testing.T) {
	value := rapid.OneOf(
		rapid.StringMatching(`(Re: |AW: |\[dev\] |Fwd:){0,4}[a-z =?_,<>"@.]{0,30}`),
		rapid.String(),
		rapid.Just("=?ISO-2022-JP?B?GyRCRnxLXDhsGyhC?="),
		rapid.Just("=?utf-8?q?[dev]_Caf=C3=A9?="),
		rapid.Just("a@b.example,\r\n\tdev@lists.example.org, \"x, y\" <c@d.example>"),
	)
	name := rapid.SampledFrom([]string{"Subject", "Reply-To", "List-Id", "Sender", "Precedence", "To", "Cc", "X-Any", "Bcc", "Approved", "Message-ID", "Date", "X-BeenThere"})
	rapid.Check(t, func(rt *rapid.T) {
		msg := "From: ann@example.org\r\nTo: dev@lists.example.org\r\n"
		for range rapid.IntRange(0, 8).Draw(rt, "fields") {
			v := strings.NewReplacer("\n", " ", "\r", " ").Replace(value.Draw(rt, "value"))
			msg += fmt.Sprintf("%s: %s\r\n", name.Draw(rt, "name"), v)
		}
		msg += "\r\nbody\r\n"
		first, again := run(t, post(msg)), run(t, post(msg))
		if first.Verdict != again.Verdict || !bytes.Equal(first.Message, again.Message) {
			rt.Fatalf("%q gives\n%s\nthen\n%s", msg, first.Message, again.Message)
		}
		if first.Verdict != sdk.Accept {
			return
		}
		if d := message.ParseHeader(first.Header.Bytes()); string(d.Bytes()) != string(first.Header.Bytes()) || bytes.Contains(first.Header.Bytes(), []byte("\r\n\r\n")) {
			rt.Fatalf("%q gives a broken header block:\n%s", msg, first.Header.Bytes())
		}
		back := run(t, post(string(first.Message)))
		if back.Verdict.Kind != sdk.KindDiscard || back.Verdict.Code != "loop" {
			rt.Fatalf("%q comes back and meets %+v:\n%s", msg, back.Verdict, first.Message)
		}
	})
}

func run(t testing.TB, c handlertest.Case) handlertest.Result {
	t.Helper()
	got, err := handlertest.TryStages(t, c, stages(noDNS)...)
	if err != nil {
		t.Fatalf("%v\n%s", err, c.Message)
	}
	return got
}

// Of all stages a digest meets those that make it one, and that of the list.
func TestADigestThroughAllStages(t *testing.T) {
	c := post("From: Dev <dev-request@lists.example.org>\r\nTo: dev@lists.example.org\r\nSubject: Dev Digest, Vol 2, Issue 3\r\nMessage-ID: <d@lists.example.org>\r\n" +
		"Date: Tue, 1 Jul 2025 10:00:00 +0200\r\nMIME-Version: 1.0\r\nContent-Type: multipart/digest; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: ann@example.org\r\nSubject: hi\r\n\r\nhello\r\n--b--\r\n")
	c.Senders, c.Approved = nil, true
	c.Envelope = sdk.Envelope{Received: time.Date(2025, 7, 1, 8, 0, 0, 0, time.UTC), Flags: []string{"approved", sdk.FlagDigest}}
	c.Notes = map[string]string{"digest.form": "plain", "digest.volume": "2", "digest.issue": "3"}
	got := run(t, c)
	if got.Verdict != sdk.Accept || got.Header.Get("List-Id") != "<dev.lists.example.org>" || got.Header.Get("Subject") != "Dev Digest, Vol 2, Issue 3" || len(got.Kept) > 0 {
		t.Errorf("verdict %+v, kept %v, header\n%s", got.Verdict, got.Kept, got.Header.Bytes())
	}
	if len(got.Rules) != 1 || got.Rules[0].Modes[0] != "plaintext_digests" {
		t.Errorf("rules %+v", got.Rules)
	}
	if !bytes.Contains(got.Body, []byte("Message: 1\r\nFrom: ann@example.org\r\nSubject: hi\r\n\r\nhello\r\n")) || bytes.Contains(got.Body, []byte("dev mailing list -- dev@")) {
		t.Errorf("body\n%s", got.Body)
	}
}
