package headers

import (
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
)

func TestTopics(t *testing.T) {
	const set = "Bugs: \\bbugs?\\b\nNews: ^(release|news)\nBugs: defect\nbroken: ("
	tests := []struct {
		name, message, limit, want string
	}{
		{"in the subject, whatever the case", "Subject: A BUG\n\nbody\n", "5", "Bugs"},
		{"by another line of the same name", "Subject: a defect\n\nbody\n", "5", "Bugs"},
		{"in several fields", "Subject: x\nKeywords: release,\n other\nKeywords: bugs\n\nbody\n", "5", "Bugs, News"},
		{"at the start of one field only", "Subject: a release\n\nbody\n", "5", ""},
		{"in an encoded word", "Subject: =?utf-8?q?the_bug_=C3=BC?=\n\nbody\n", "5", "Bugs"},
		{"nowhere", "Subject: topic\n\nthis is no bug\n", "5", ""},
		{"what the author says does not count", "Subject: x\nX-Topics: Bugs\n\nbody\n", "5", ""},
		{"in a Keywords line of the text, after empty ones", "Subject: x\n\n\n\nOther: y\nKeywords: bug\n\nbody\n", "5", "Bugs"},
		{"a line that looks like no field ends the search", "Subject: x\n\nHello all,\nKeywords: bug\n", "5", ""},
		{"beyond the limit", "Subject: x\n\nA: 1\nB: 2\nKeywords: bug\n", "2", ""},
		{"no line of the text", "Subject: x\n\nKeywords: bug\n", "0", ""},
		{"in base64", "Subject: x\nContent-Transfer-Encoding: base64\n\nS2V5d29yZHM6IGJ1Zwo=\n", "5", "Bugs"},
		{"in the plain form of an alternative", "Subject: x\nContent-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/html\n\nSubject: news\n--b\n\nSubject: bug\n--b--\n", "5", "Bugs"},
		{"not in an attachment", "Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Disposition: attachment\n\nSubject: bug\n--b--\n", "5", ""},
		{"a huge subject", "Subject: " + strings.Repeat("long ", 100_000) + "bug\n\nbody\n", "5", ""},
		{"octets that are no text", "Subject: \xff\xfe \x00\n\n\xff\xfe\n", "5", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := handlertest.Run(t, &topics{}, handlertest.Case{Message: crlf(tt.message),
				Settings: map[string]string{"topics_enabled": "true", "topics": set, "topics_bodylines_limit": tt.limit}})
			if got.Verdict != sdk.Accept || got.Header.Get("X-Topics") != tt.want {
				t.Errorf("verdict %v, X-Topics %q, want %q", got.Verdict, got.Header.Get("X-Topics"), tt.want)
			}
			if hits, ok := got.Notes["topics.hits"]; !ok || hits != strings.ReplaceAll(tt.want, ", ", "\n") {
				t.Errorf("note %q, %v", hits, ok)
			}
			if !strings.HasSuffix(crlf(tt.message), string(got.Body)) {
				t.Error("the body changed")
			}
		})
	}
}

// What the list found out stays on an anonymous list, what the author wrote does not.
func TestTopicsOfAnAnonymousList(t *testing.T) {
	for enabled, want := range map[string]string{"true": "Bugs", "false": ""} {
		got, err := handlertest.TryStages(t, handlertest.Case{Message: "From: ann@example.org\r\nDate: x\r\nSubject: a bug\r\nX-Topics: ann\r\n\r\nbody\r\n",
			Settings: settings("anonymous_list", "true", "topics_enabled", enabled, "topics", "Bugs: bug")}, Stages()...)
		if err != nil || got.Verdict != sdk.Accept || got.Header.Get("X-Topics") != want {
			t.Errorf("topics_enabled %s: verdict %v, X-Topics %q, want %q", enabled, got.Verdict, got.Header.Get("X-Topics"), want)
		}
	}
}

func TestTopicsThatAreOffDoNothing(t *testing.T) {
	got := handlertest.Run(t, &topics{}, handlertest.Case{Message: "Subject: bug\r\nX-Topics: mine\r\n\r\nbody\r\n",
		Settings: map[string]string{"topics_enabled": "false", "topics": "Bugs: bug"}})
	if got.Header.Get("X-Topics") != "mine" || len(got.Notes) != 0 {
		t.Errorf("header %s, notes %v", got.Header.Bytes(), got.Notes)
	}
}
