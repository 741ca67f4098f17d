package main

import (
	"strings"
	"testing"

	"github.com/mlist/mlist/plugins/checks"
	"github.com/mlist/mlist/plugins/digest"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
)

// What stage digest puts above the posts, rule digest-reply knows again when it is quoted.
func TestAnAnswerToADigestIsKnown(t *testing.T) {
	const issue = "From: Dev <dev-request@lists.example.org>\r\nSubject: Dev Digest, Vol 2, Issue 3\r\nMIME-Version: 1.0\r\nContent-Type: multipart/digest; boundary=b\r\n\r\n" +
		"--b\r\n\r\nFrom: bob@example.com\r\nSubject: news\r\n\r\nhello\r\n--b--\r\n"
	for _, form := range []string{"mime", "plain", "summary"} {
		t.Run(form, func(t *testing.T) {
			made, err := handlertest.TryStages(t, handlertest.Case{Message: issue, Settings: settings, Approved: true, Envelope: sdk.Envelope{Flags: []string{sdk.FlagDigest}},
				Notes: map[string]string{"digest.form": form, "digest.volume": "2", "digest.issue": "3"}}, digest.Stages()...)
			if err != nil {
				t.Fatal(err)
			}
			masthead, _, found := strings.Cut(string(made.Body), "Today's Topics:")
			if !found {
				t.Fatalf("no masthead in\n%s", made.Body)
			}
			quoted := "> " + strings.ReplaceAll(masthead, "\n", "\n> ") + "\r\n"
			c := post("From: ann@example.org\r\nTo: dev@lists.example.org\r\nSubject: Re: news\r\n\r\n" + quoted)
			c.Config = map[string]any{"rules": []string{"digest-reply"}}
			for _, s := range checks.Stages() {
				if s.Name != "limits" {
					continue
				}
				if got := handlertest.Run(t, s.Handler, c); got.Verdict.Code != "digest-reply" {
					t.Errorf("verdict %+v on\n%s", got.Verdict, quoted)
				}
			}
		})
	}
}
