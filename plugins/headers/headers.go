// Package headers makes a post's header block the list's: it takes out what must not
// travel, finds its topics, puts the prefix before the subject, sets Reply-To and adds the list's own
// fields.
//
// A field that needs no change keeps its bytes, and every run on the same post gives
// the same result.
package headers

import "github.com/mlist/mlist/sdk"

// Stages returns topics, cleanse, subject, reply-to and list-headers, in their usual order. Those that edit what
// signatures cover are asked at SMTP time, too: stage dmarc, which may refuse, looks at what they leave of a signature.
func Stages() []sdk.Stage {
	return []sdk.Stage{
		{Name: "topics", Help: "finds the topics of the post, of which members choose", Body: true, Handler: &topics{}},
		{Name: "cleanse", Help: "takes out passwords, requests for receipts, traces of delivery; hides the author on anonymous lists", AtSMTP: true, Handler: cleanse{}},
		{Name: "subject", Help: "puts the list's prefix before the subject", AtSMTP: true, Handler: subject{}},
		{Name: "reply-to", Help: "sets Reply-To as the list wants it", AtSMTP: true, Handler: replyTo{}},
		{Name: "list-headers", Help: "adds List-Id, List-Unsubscribe and the others, Sender and Precedence", AtSMTP: true, Digests: true, Personal: true, Handler: listHeaders{}},
	}
}
