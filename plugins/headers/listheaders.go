package headers

import (
	"context"
	"net/url"
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

// listHeaders is stage "list-headers". List-Id and X-BeenThere are always set:
// X-BeenThere is how a loop is seen, and RFC 2919 is not RFC 2369.
type listHeaders struct{}

// Handle implements sdk.Handler.
func (listHeaders) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	h, l := p.Header, p.List
	for _, name := range others {
		h.Remove(name)
	}
	if p.List.Bool("include_sender_header") {
		h.Replace("Sender", message.ASCIIAddress(l.Sub("bounces")))
	}
	if !quiet(h.Get("Precedence")) {
		h.Replace("Precedence", "list")
	}
	if !contains(h.Values("X-BeenThere"), l.Mark()) {
		h.Append("X-BeenThere", l.Mark())
	}
	h.Append("List-Id", listIDField(l))
	if l.Bool("include_rfc2369_headers") {
		if err := commands(p); err != nil {
			return sdk.Verdict{}, err
		}
	}
	added(h, l.Lines("add_headers"))
	return sdk.Accept, nil
}

// added puts in the fields that the list wants, in place of those that are there.
func added(h *message.Header, lines []string) {
	for _, line := range lines {
		name, _, _ := strings.Cut(line, ":")
		h.Remove(name)
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		h.Append(name, strings.TrimSpace(value))
	}
}

// quiet tells whether a Precedence already keeps autoresponders from answering.
func quiet(precedence string) bool {
	return contains([]string{"list", "bulk", "junk"}, precedence)
}

// commands adds the fields of RFC 2369.
func commands(p *sdk.Post) error {
	h, l := p.Header, p.List
	post := "NO"
	if l.Bool("allow_list_posts") {
		post = message.Mailto(l.Address, "")
	}
	h.Append("List-Help", message.Mailto(l.Sub("request"), "subject=help"))
	h.Append("List-Owner", message.Mailto(l.Sub("owner"), ""))
	h.Append("List-Post", post)
	h.Append("List-Subscribe", message.Mailto(l.Sub("join"), ""))
	leave := message.Mailto(l.Sub("leave"), "")
	base := strings.TrimSuffix(l.String("unsubscribe_url"), "/")
	if base == "" || !p.IsPersonal() {
		h.Append("List-Unsubscribe", leave)
		return nil
	}
	// RFC 8058: a button in the mail program, with no more questions, takes off whom the
	// token in this copy is for.
	token, err := p.Personal(sdk.FieldUnsubscribe, sdk.EncodeASCII)
	if err != nil {
		return err
	}
	h.Append("List-Unsubscribe", "<"+base+"/"+url.PathEscape(l.Mark())+"/"+token+">, "+leave)
	h.Append("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
	return nil
}

// listIDField is the identifier, after the list's description if it has one.
func listIDField(l sdk.List) string {
	id := "<" + l.ID() + ">"
	text := l.String("description")
	if text == "" {
		text = l.String("display_name")
	}
	return strings.TrimSpace(message.EncodePhrase(text) + " " + id)
}
