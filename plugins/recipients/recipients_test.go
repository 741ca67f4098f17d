package recipients

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
	"github.com/mlist/mlist/sdk/password"
)

func TestUrgent(t *testing.T) {
	hash, err := password.Hash("sesame")
	if err != nil {
		t.Fatal(err)
	}
	everybody := "regular mime_digests plaintext_digests summary_digests"
	for _, tt := range []struct{ name, header, hash, approved, modes, topics, code string }{
		{"the moderators' password", "Urgent:  sesame\r\n", hash, "", everybody, "", ""},
		{"encoded", "urgent: =?utf-8?q?sesame?=\r\n", hash, "", everybody, "", ""},
		{"another", "Urgent: Sesame\r\n", hash, "", "", "", "urgent-password"},
		{"another, and a moderator let it through", "Urgent: Sesame\r\n", hash, "true", "regular", "bugs", ""},
		{"nothing in it", "Urgent:\r\n", hash, "", "regular", "bugs", ""},
		{"no such field", "", hash, "", "regular", "bugs", ""},
		{"a list without a password", "Urgent: sesame\r\n", "", "", "regular", "bugs", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := handlertest.Run(t, recipients{}, handlertest.Case{Message: tt.header + "X: y\r\n\r\nbody\r\n", Approved: tt.approved != "",
				Settings: map[string]string{"moderator_password": tt.hash, "topics_enabled": "true"}, Notes: map[string]string{"topics.hits": "bugs"}})
			if got.Verdict.Code != tt.code {
				t.Fatalf("verdict %+v", got.Verdict)
			}
			if tt.code == "" && (strings.Join(got.Rules[0].Modes, " ") != tt.modes || strings.Join(got.Rules[0].Topics, " ") != tt.topics) {
				t.Errorf("rules %+v", got.Rules)
			}
		})
	}
}

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
		settings     map[string]string
		notes        map[string]string
	}{
		{"nobody named but the list", "To: Dev@Lists.example.org\r\n", nil, []sdk.Rule{regular}, nil, nil},
		{"the author in From and in the envelope", "To: dev@lists.example.org\r\n",
			[]sdk.Sender{{Address: "ann@example.org", Source: "from"}, {Address: "ben@example.org", Source: "from"}, {Address: "bounce@example.org", Source: "envelope"}},
			[]sdk.Rule{regular, own("ann@example.org", "ben@example.org", "bounce@example.org")}, nil, nil},
		{"one address in both", "", []sdk.Sender{{Address: "ann@example.org", Source: "from"}, {Address: "Ann@Example.org", Source: "envelope"}},
			[]sdk.Rule{regular, own("ann@example.org")}, nil, nil},
		{"Reply-To and Sender are no authors", "", []sdk.Sender{{Address: "ann@example.org", Source: "reply-to"}, {Address: "ben@example.org", Source: "sender"}}, []sdk.Rule{regular}, nil, nil},
		{"the null envelope sender", "", []sdk.Sender{{Address: "", Source: "envelope"}}, []sdk.Rule{regular}, nil, nil},
		{"who is named in To and Cc", "To: \"A, B\" <ann@example.org>, dev@lists.example.org\r\nCc: friends: ben@example.org, Ann@example.org;\r\nTo: cat@example.org\r\n", nil,
			[]sdk.Rule{regular, copies("ann@example.org", "cat@example.org", "ben@example.org")}, nil, nil},
		{"what cannot be an address", "To: a\xff@example.org, b\u0084@example.org, " + strings.Repeat("c", 300) + "@example.org, ann@example.org\r\n", nil, []sdk.Rule{regular, copies("ann@example.org")}, nil, nil},
		{"members of other lists, those that are named aside", "To: dev@lists.example.org, ALL@lists.example.org\r\nCc: ann@example.org\r\n", nil,
			[]sdk.Rule{regular,
				{Kind: sdk.RuleSelect, Roles: regular.Roles, Modes: regular.Modes, Statuses: regular.Statuses,
					Lists: []string{"all@lists.example.org", "ops@lists.example.org"}, Addresses: []string{"ALL@lists.example.org", "ann@example.org"}},
				{Kind: sdk.RuleExclude, Roles: regular.Roles, Modes: regular.Modes, Statuses: regular.Statuses, Lists: []string{"all@lists.example.org", "qa@lists.example.org"}, Addresses: []string{"ALL@lists.example.org", "ann@example.org"}},
				copies("ALL@lists.example.org", "ann@example.org")},
			map[string]string{"include_lists": "all@lists.example.org\nops@lists.example.org", "exclude_lists": "all@lists.example.org\nqa@lists.example.org"}, nil},
		{"topics that the post has", "", nil, []sdk.Rule{{Kind: sdk.RuleSelect, Roles: regular.Roles, Modes: regular.Modes, Statuses: regular.Statuses, Topics: []string{"bugs", "news"}}},
			map[string]string{"topics_enabled": "true"}, map[string]string{"topics.hits": "bugs\nnews"}},
		{"no topic", "", nil, []sdk.Rule{{Kind: sdk.RuleSelect, Roles: regular.Roles, Modes: regular.Modes, Statuses: regular.Statuses, Topics: []string{""}}},
			map[string]string{"topics_enabled": "true"}, map[string]string{"topics.hits": ""}},
		{"topics that nobody looked for", "", nil, []sdk.Rule{regular}, map[string]string{"topics_enabled": "true"}, nil},
		{"topics that are not enabled", "", nil, []sdk.Rule{regular}, nil, map[string]string{"topics.hits": "bugs"}},
		{"a damaged field", "To: <<ann@example.org>, \"unfinished\r\n", nil, []sdk.Rule{regular, copies("ann@example.org")}, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := handlertest.Run(t, recipients{}, handlertest.Case{Message: tt.header + "X: y\r\n\r\nbody\r\n", Senders: tt.senders, Settings: tt.settings, Notes: tt.notes})
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
	var lists strings.Builder
	for i := range 250 {
		fmt.Fprintf(&lists, "l%d@lists.example.org\n", i)
	}
	many := handlertest.Run(t, recipients{}, handlertest.Case{Message: "To: ann@example.org\r\n\r\nbody\r\n", Settings: map[string]string{"exclude_lists": strings.TrimSpace(lists.String())}})
	if len(many.Rules) != 5 || len(many.Rules[3].Lists) != 50 || many.Rules[3].Lists[49] != "l249@lists.example.org" {
		t.Errorf("%d rules", len(many.Rules))
	}
	got := handlertest.Run(t, recipients{}, handlertest.Case{Message: to.String() + "\r\n\r\nbody\r\n"})
	if len(got.Rules) != 2 || len(got.Rules[1].Addresses) != maxNamed || !reflect.DeepEqual(got.Rules[1].Addresses[:2], []string{"first@example.org", "u0@example.org"}) {
		t.Fatalf("%d rules", len(got.Rules))
	}
}
