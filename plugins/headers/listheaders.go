package headers

import (
	"context"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// others are the fields that other lists may have left: a post has those of the list
// that it came through last (RFC 2369 section 4). X-BeenThere is not among them: it
// collects, so that lists that are members of each other see the loop.
var others = []string{
	"List-Id", "List-Help", "List-Owner", "List-Post", "List-Subscribe",
	"List-Unsubscribe", "List-Unsubscribe-Post", "List-Archive",
}

// listHeaders is stage "list-headers". List-Id and X-BeenThere are always set: they
// are how a loop is seen, and RFC 2919 is not RFC 2369.
type listHeaders struct{}

// Handle implements sdk.Handler.
func (listHeaders) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	h, l := p.Header, p.List
	for _, name := range others {
		h.Remove(name)
	}
	if p.List.Bool("include_sender_header") {
		h.Replace("Sender", fieldAddress(l.Sub("bounces")))
	}
	if !quiet(h.Get("Precedence")) {
		h.Replace("Precedence", "list")
	}
	h.Append("X-BeenThere", mark(l))
	h.Append("List-Id", listIDField(l))
	if l.Bool("include_rfc2369_headers") {
		commands(h, l)
	}
	return sdk.Accept, nil
}

// quiet tells whether a Precedence already keeps autoresponders from answering.
func quiet(precedence string) bool {
	return contains([]string{"list", "bulk", "junk"}, precedence)
}

// commands adds the fields of RFC 2369.
func commands(h *message.Header, l sdk.List) {
	post := "NO"
	if l.Bool("allow_list_posts") {
		post = mailto(l.Address, "")
	}
	h.Append("List-Help", mailto(l.Sub("request"), "subject=help"))
	h.Append("List-Owner", mailto(l.Sub("owner"), ""))
	h.Append("List-Post", post)
	h.Append("List-Subscribe", mailto(l.Sub("join"), ""))
	h.Append("List-Unsubscribe", mailto(l.Sub("leave"), ""))
}

// listIDField is the identifier, after the list's description if it has one.
func listIDField(l sdk.List) string {
	id := "<" + listID(l) + ">"
	text := l.String("description")
	if text == "" {
		text = l.String("display_name")
	}
	return strings.TrimSpace(message.EncodePhrase(text) + " " + id)
}
