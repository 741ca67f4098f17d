package main

import (
	"maps"
	"testing"

	"github.com/mlist/mlist/sdk"
)

// FuzzAnyMessage: no message makes a stage fail or ask for an edit that mlist would
// refuse. Such a message would be tried again and again, to no end.
func FuzzAnyMessage(f *testing.F) {
	for _, s := range []string{
		"From: ann@example.org\r\nTo: dev@lists.example.org\r\nSubject: Re: [dev] topic\r\n\r\nbody\r\n",
		"From ann Tue Jul  1\nSubject: =?koi8-r?B?8NLJ18XU?=\n =?x?q?y?=\nReply-To: \"a, b\" <c@d.example>, x:;\n\n",
		"To: a\xff@b.example, \u0084@c\r\nCc: <<x@y>, (\r\nX-" + "long\r\n\tfold\r\n\r\n\r\n",
		"Content-Type: multipart/mixed; boundary=b\r\nReply-To: \x00@x\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n",
		"\r\nno header\r\n", "no header", "",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, msg []byte, anonymous bool) {
		c := post(string(msg))
		c.Approved = true // past the checks, which never edit
		c.Settings = maps.Clone(c.Settings)
		if anonymous {
			c.Settings["anonymous_list"] = "true"
			c.Settings["subject_prefix"] = "[Dév %d]"
		}
		got := run(t, c)
		if got.Verdict.Kind != sdk.KindAccept {
			return
		}
		if !got.Header.Has("List-Id") || !got.Header.Has("Message-ID") || !got.Header.Has("Subject") {
			t.Fatalf("%q becomes\n%s", msg, got.Header.Bytes())
		}
	})
}
