package main

import (
	"maps"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/plugins/checks"
	"github.com/mlist/mlist/plugins/digest"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
)

// What stage digest puts above the posts, rule digest-reply knows again when it is quoted.
func TestAnAnswerToADigestIsKnown(t *testing.T) {
	const issue = "From: Dev <dev-request@lists.example.org>\r\nSubject: Dev Digest, Vol 2, Issue 3\r\nMIME-Version: 1.0\r\nContent-Type: multipart/digest; boundary=b\r\n\r\n" +
		"--b\r\n\r\nFrom: bob@example.com\r\nSubject: news\r\n\r\nhello\r\n--b--\r\n"
	for _, x := range []struct{ language, form, topics string }{{"en", "mime", "Today's Topics:"}, {"en", "plain", "Today's Topics:"}, {"en", "summary", "Today's Topics:"},
		{"de", "plain", "Heutige Themen:"}, {"fr", "plain", "Au sommaire :"}} {
		form := x.form
		t.Run(x.language+" "+form, func(t *testing.T) {
			settings := withTexts(x.language, settings)
			maps.Copy(settings, templates.ForHandlers(x.language))
			made, err := handlertest.TryStages(t, handlertest.Case{Message: issue, Settings: settings, Approved: true, Envelope: sdk.Envelope{Flags: []string{sdk.FlagDigest}},
				Notes: map[string]string{"digest.form": form, "digest.volume": "2", "digest.issue": "3"}}, digest.Stages()...)
			if err != nil {
				t.Fatal(err)
			}
			masthead, _, found := strings.Cut(string(made.Body), x.topics)
			if !found {
				t.Fatalf("no masthead in\n%s", made.Body)
			}
			quoted := "> " + strings.ReplaceAll(masthead, "\n", "\n> ") + "\r\n"
			c := post("From: ann@example.org\r\nTo: dev@lists.example.org\r\nSubject: Re: news\r\n\r\n" + quoted)
			c.Settings = settings
			c.Config = map[string]any{"rules": []string{"digest-reply"}}
			if got := handlertest.Run(t, limits(t), c); got.Verdict.Code != "digest-reply" {
				t.Errorf("verdict %+v on\n%s", got.Verdict, quoted)
			}
			// The name of a digest in a subject is enough.
			name, _, _ := strings.Cut(strings.TrimSpace(masthead), "\r\n")
			c.Message = "From: ann@example.org\r\nTo: dev@lists.example.org\r\nSubject: AW: " + name + "\r\n\r\nI agree.\r\n"
			if got := handlertest.Run(t, limits(t), c); form == "plain" && got.Verdict.Code != "digest-reply" {
				t.Errorf("verdict %+v on %q", got.Verdict, name)
			}
		})
	}
}

func limits(t *testing.T) sdk.Handler {
	t.Helper()
	for _, s := range checks.Stages() {
		if s.Name == "limits" {
			return s.Handler
		}
	}
	t.Fatal("no stage limits")
	return nil
}
