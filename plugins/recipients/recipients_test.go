package recipients

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
)

func TestRecipients(t *testing.T) {
	regular := sdk.Rule{Kind: sdk.RuleSelect, Roles: []string{"member"}, Modes: []string{"regular"}, Statuses: []string{"enabled"}}
	own := func(addrs ...string) sdk.Rule {
		return sdk.Rule{Kind: sdk.RuleExclude, Flag: "no_own_posts", Addresses: addrs}
	}
	copies := func(addrs ...string) sdk.Rule {
		return sdk.Rule{Kind: sdk.RuleExclude, Flag: "no_duplicates", Addresses: addrs}
	}
	tests := []struct {
		name, header string
		senders      []sdk.Sender
		want         []sdk.Rule
	}{
		{"nobody named but the list", "To: Dev@Lists.example.org\r\n", nil, []sdk.Rule{regular}},
		{"the author in From and in the envelope", "To: dev@lists.example.org\r\n",
			[]sdk.Sender{{Address: "ann@example.org", Source: "from"}, {Address: "ben@example.org", Source: "from"}, {Address: "bounce@example.org", Source: "envelope"}},
			[]sdk.Rule{regular, own("ann@example.org", "ben@example.org", "bounce@example.org")}},
		{"one address in both", "", []sdk.Sender{{Address: "ann@example.org", Source: "from"}, {Address: "Ann@Example.org", Source: "envelope"}},
			[]sdk.Rule{regular, own("ann@example.org")}},
		{"Reply-To and Sender are no authors", "", []sdk.Sender{{Address: "ann@example.org", Source: "reply-to"}, {Address: "ben@example.org", Source: "sender"}}, []sdk.Rule{regular}},
		{"the null envelope sender", "", []sdk.Sender{{Address: "", Source: "envelope"}}, []sdk.Rule{regular}},
		{"who is named in To and Cc", "To: \"A, B\" <ann@example.org>, dev@lists.example.org\r\nCc: friends: ben@example.org, Ann@example.org;\r\nTo: cat@example.org\r\n", nil,
			[]sdk.Rule{regular, copies("ann@example.org", "cat@example.org", "ben@example.org")}},
		{"what cannot be an address", "To: a\xff@example.org, b\u0084@example.org, " + strings.Repeat("c", 300) + "@example.org, ann@example.org\r\n", nil, []sdk.Rule{regular, copies("ann@example.org")}},
		{"a damaged field", "To: <<ann@example.org>, \"unfinished\r\n", nil, []sdk.Rule{regular, copies("ann@example.org")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := handlertest.Run(t, recipients{}, handlertest.Case{Message: tt.header + "X: y\r\n\r\nbody\r\n", Senders: tt.senders})
			if got.Verdict != sdk.Accept {
				t.Fatalf("verdict %+v", got.Verdict)
			}
			if fmt.Sprintf("%+v", got.Rules) != fmt.Sprintf("%+v", tt.want) {
				t.Errorf("rules\n%+v\nwant\n%+v", got.Rules, tt.want)
			}
			if !strings.HasPrefix(string(got.Message), tt.header) {
				t.Error("the post changed")
			}
		})
	}
}

func TestRecipientsAreBounded(t *testing.T) {
	var to strings.Builder
	to.WriteString("To: first@example.org")
	for i := 0; to.Len() < 900_000; i++ {
		fmt.Fprintf(&to, ",\r\n u%d@example.org", i)
	}
	got := handlertest.Run(t, recipients{}, handlertest.Case{Message: to.String() + "\r\n\r\nbody\r\n"})
	if len(got.Rules) != 2 || len(got.Rules[1].Addresses) != maxNamed || !reflect.DeepEqual(got.Rules[1].Addresses[:2], []string{"first@example.org", "u0@example.org"}) {
		t.Fatalf("%d rules", len(got.Rules))
	}
}
