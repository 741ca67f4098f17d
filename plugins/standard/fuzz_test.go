package main

import (
	"testing"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/test/corpus"
)

// FuzzAnyMessage: under no style does a message make a stage fail or ask for an edit that
// mlist would refuse. Such a message would be tried again and again, to no end. What no
// stage edits keeps its octets.
func FuzzAnyMessage(f *testing.F) {
	for _, s := range []string{
		"From: ann@example.org\r\nTo: dev@lists.example.org\r\nSubject: Re: [dev] topic\r\n\r\nbody\r\n",
		"From ann Tue Jul  1\nSubject: =?koi8-r?B?8NLJ18XU?=\n =?x?q?y?=\nReply-To: \"a, b\" <c@d.example>, x:;\n\n",
		"To: a\xff@b.example, \u0084@c\r\nCc: <<x@y>, (\r\nX-" + "long\r\n\tfold\r\n\r\n\r\n",
		"Content-Type: multipart/mixed; boundary=b\r\nReply-To: \x00@x\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n",
		"\r\nno header\r\n", "no header", "",
	} {
		for i := range styles {
			f.Add([]byte(s), i)
		}
	}
	f.Fuzz(func(t *testing.T, msg []byte, n int) {
		s := styles[(n%len(styles)+len(styles))%len(styles)]
		m := corpus.Message{Name: s.name, Text: msg}
		got := through(t, s, m, true) // past the checks, which never edit
		if got.Verdict.Kind != sdk.KindAccept {
			return
		}
		if !got.Header.Has("List-Id") || !got.Header.Has("Message-ID") || s.set["subject_prefix"] != "" && !got.Header.Has("Subject") {
			t.Fatalf("%q becomes\n%s", msg, got.Header.Bytes())
		}
		compare(t, s, m, got)
	})
}
