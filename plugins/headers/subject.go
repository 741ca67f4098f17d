package headers

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// subject is stage "subject". The prefix stands after the tags of replies and
// forwards and before the rest: "Re: [Dev] topic". There a mail program leaves it
// when one replies, so that most answers keep their subject byte for byte.
type subject struct{}

// maxSubject is the longest subject that is touched, in octets. What is longer was
// made to do harm, and an edit of it might not fit into a reply to mlist.
const maxSubject = 16 << 10

// Handle implements sdk.Handler.
func (subject) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	pre := newPrefix(p.List, p.Number)
	if pre.text == "" {
		return sdk.Accept, nil
	}
	raw := p.Header.Get("Subject")
	if len(raw) > maxSubject {
		return sdk.Accept, nil
	}
	text := p.Header.Text("Subject")
	tags, rest := pre.split(text)
	want := compose(tags, pre.text, cmp.Or(rest, "(no subject)"))
	if sameText(want, text) {
		return sdk.Accept, nil
	}
	if value, ok := pre.spliceRaw(raw, text, rest, tags); ok {
		want = value
	} else if raw != text {
		want = message.EncodeText(want) // decoded text that looks like an encoded word is none
	}
	p.Header.Replace("Subject", want)
	return sdk.Accept, nil
}

// spliceRaw puts the prefix into a subject that has encoded words without decoding
// them, so that they keep their charset, even one that we cannot read. That works
// when tags and prefix stand outside of them, which shows in that the rest of both
// forms reads the same, and nothing else is out of order.
func (p prefix) spliceRaw(raw, text, rest string, tags []tag) (string, bool) {
	if raw == text || rest == "" || strings.ContainsFunc(raw, func(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f }) {
		return "", false
	}
	rawTags, rawRest := p.split(raw)
	if strings.TrimSpace(message.DecodeText(rawRest)) != rest || !slices.Equal(rawTags, tags) {
		return "", false
	}
	return compose(rawTags, p.text, rawRest), true
}

// compose joins tags, prefix and rest. Replies to replies become one "Re:".
func compose(tags []tag, prefix, rest string) string {
	words := make([]string, 0, len(tags)+2)
	reply := false
	for _, t := range tags {
		if t.reply && reply {
			words[len(words)-1] = "Re:"
			continue
		}
		words = append(words, t.text)
		reply = t.reply
	}
	return strings.Join(append(words, prefix, rest), " ")
}

// sameText tells whether two subjects read the same, up to white space and case
// ("RE: [dev] topic" needs no edit).
func sameText(a, b string) bool {
	return strings.EqualFold(strings.Join(strings.Fields(a), " "), strings.Join(strings.Fields(b), " "))
}
