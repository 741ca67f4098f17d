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
	value, ok := want, raw == text
	if !ok {
		value, ok = pre.spliceRaw(raw, text, rest, tags)
	}
	if !ok || written(value) != words(want) {
		value = message.EncodeText(want) // text that looks like an encoded word is none
	}
	p.Header.Replace("Subject", value)
	return sdk.Accept, nil
}

// written is how a value reads once it stands in a field: next to an encoded word that we
// write, white space before one that the author wrote is no longer seen (RFC 2047 6.2).
func written(value string) string {
	var h message.Header
	h.Replace("Subject", value)
	return words(h.Text("Subject"))
}

// spliceRaw puts the prefix into a subject that has encoded words without decoding
// them, so that they keep their charset, even one that we cannot read. That works
// when tags and prefix stand outside of them, which shows in that the rest of both
// forms reads the same, and nothing else is out of order. How the result reads is for
// the caller to look at.
func (p prefix) spliceRaw(raw, text, rest string, tags []tag) (string, bool) {
	if rest == "" || strings.ContainsFunc(raw, func(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f }) {
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
	pieces := make([]string, 0, len(tags)+2)
	reply := false
	for _, t := range tags {
		if t.reply && reply {
			pieces[len(pieces)-1] = "Re:"
			continue
		}
		pieces = append(pieces, t.text)
		reply = t.reply
	}
	return strings.Join(append(pieces, prefix, rest), " ")
}

// sameText tells whether two subjects read the same, up to white space and case
// ("RE: [dev] topic" needs no edit).
func sameText(a, b string) bool { return strings.EqualFold(words(a), words(b)) }

// words is text with one space for all white space between two words.
func words(text string) string { return strings.Join(strings.Fields(text), " ") }
