package describe

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// However an address is written, it is the one that is banned or a member; and nothing that a
// header holds hides what stands elsewhere.
func TestWhoClaimsToHaveSentAMessage(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "p%d@y.example, ", i)
		}
		return b.String()
	}
	const eve = "from eve@evil.example"
	for _, tt := range []struct{ name, envelope, header, want string }{
		{"all four, in Mailman's order", "e@x.example", "Sender: s@x.example\nReply-To: r@x.example\nFrom: f@x.example\n", "from f@x.example, envelope e@x.example, reply-to r@x.example, sender s@x.example"},
		{"nobody", "", "Subject: x\n", ""},
		{"the null sender is nobody", "", "From: eve@evil.example\n", eve},
		{"one address in several places", "eve@evil.example", "From: eve@evil.example, EVE@evil.example\nSender: eve@evil.example\n", eve + ", envelope eve@evil.example, sender eve@evil.example"},
		{"two From fields", "", "From: ann@example.org\nFrom: eve@evil.example\n", "from ann@example.org, " + eve},
		{"two Reply-To fields", "", "Reply-To: ann@example.org\nReply-To: eve@evil.example\n", "reply-to ann@example.org, reply-to eve@evil.example"},
		{"a name that is an address", "", "From: \"ann@example.org\" <eve@evil.example>\n", eve},
		{"two in brackets", "", "From: <ann@example.org> <eve@evil.example>\n", "from ann@example.org, " + eve},
		{"a group", "", "From: ann@example.org: eve@evil.example;\n", eve},
		{"a comment before", "", "From: (ann@example.org) eve@evil.example\n", eve},
		{"comments within", "", "From: eve(ann)@(example.org)evil.example\n", eve},
		{"a route", "", "From: <@example.org,@x.example:eve@evil.example>\n", eve},
		{"folded", "", "From:\n eve\n @evil.example\n", eve},
		{"a blank before the colon", "", "From : eve@evil.example\n", eve},
		{"quotes without need", "", "From: \"e\\ve\"@evil.example\n", eve},
		{"a dot behind", "", "From: eve@evil.example.\n", eve},
		{"other case", "", "FROM: Eve@Evil.Example\n", "from Eve@evil.example"},
		{"wide letters, and a wide dot", "", "From: eve@\uff45\uff56il\u3002example\n", eve},
		{"A-labels", "", "From: eve@xn--bcher-kva.example\n", "from eve@bücher.example"},
		{"what is no domain", "", "From: eve@evil!.example\n", ""},
		{"octets that are no text", "", "From: \xffeve@evil.example\n", ""},
		{"eleven in From hide neither envelope nor Sender", "eve@evil.example", "From: " + many(11) + "\nSender: eve@evil.example\n",
			"from p0@y.example … from p9@y.example, envelope eve@evil.example, sender eve@evil.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var words []string
			for _, c := range claims(tt.envelope, message.ParseHeader([]byte(tt.header))) {
				words = append(words, c.source+" "+c.String())
			}
			got := strings.Join(words, ", ")
			if first, last, ok := strings.Cut(tt.want, " … "); ok {
				if !strings.HasPrefix(got, first) || !strings.HasSuffix(got, last) || strings.Count(got, "from ") != sdk.MaxSenders {
					t.Errorf("%s, want %s", got, tt.want)
				}
			} else if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
