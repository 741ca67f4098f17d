package pipeline

import (
	"slices"
	"testing"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/sdk"
)

func TestChoose(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	_, err := w.store.AddMembers(t.Context(), w.list.ID, func(yield func(list.Membership, error) bool) {
		for _, m := range []list.Membership{
			{Address: addr(t, "Ann@x.test"), Role: list.Member, NoOwnPosts: true},
			{Address: addr(t, "bob@x.test"), Role: list.Member, NoDuplicates: true},
			{Address: addr(t, "cy@x.test"), Role: list.Member},
			{Address: addr(t, "off@x.test"), Role: list.Member, Status: list.ByUser},
			{Address: addr(t, "dig@x.test"), Role: list.Member, Mode: list.MIMEDigest},
			{Address: addr(t, "ann@x.test"), Role: list.Owner},
			{Address: addr(t, "boss@x.test"), Role: list.Owner},
		} {
			if !yield(m, nil) {
				return
			}
		}
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	regular := sdk.Rule{Kind: sdk.RuleSelect, Roles: []string{"member"}, Modes: []string{"regular"}, Statuses: []string{"enabled"}}
	tests := []struct {
		name  string
		rules []sdk.Rule
		want  []string
	}{
		{"no rule, nobody", nil, nil},
		{"regular members", []sdk.Rule{regular}, []string{"Ann@x.test", "bob@x.test", "cy@x.test"}},
		{"an author who does not want own posts, in any case of letters",
			[]sdk.Rule{regular, {Kind: sdk.RuleExclude, Flag: "no_own_posts", Addresses: []string{"ANN@x.test", "cy@x.test"}}},
			[]string{"bob@x.test", "cy@x.test"}},
		{"a member in Cc who does not want duplicates",
			[]sdk.Rule{regular, {Kind: sdk.RuleExclude, Flag: "no_duplicates", Addresses: []string{"bob@x.test", "cy@x.test"}}},
			[]string{"Ann@x.test", "cy@x.test"}},
		{"an exclusion without a flag holds for all",
			[]sdk.Rule{regular, {Kind: sdk.RuleExclude, Addresses: []string{"cy@x.test", "bob@x.test"}}}, []string{"Ann@x.test"}},
		{"two selections, each address once",
			[]sdk.Rule{regular, {Kind: sdk.RuleSelect, Roles: []string{"owner"}}},
			[]string{"Ann@x.test", "bob@x.test", "boss@x.test", "cy@x.test"}},
		{"any role, each address once", []sdk.Rule{{Kind: sdk.RuleSelect}},
			[]string{"Ann@x.test", "bob@x.test", "boss@x.test", "cy@x.test", "dig@x.test", "off@x.test"}},
		{"an address added twice, and one that is selected anyway",
			[]sdk.Rule{{Kind: sdk.RuleAdd, Addresses: []string{"new@x.test", "New@x.test", "cy@x.test", "junk"}}, regular},
			[]string{"Ann@x.test", "bob@x.test", "cy@x.test", "new@x.test"}},
		{"an address added and excluded",
			[]sdk.Rule{{Kind: sdk.RuleAdd, Addresses: []string{"new@x.test"}}, {Kind: sdk.RuleExclude, Addresses: []string{"new@x.test"}}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			err := w.daemon.choose(t.Context(), w.list.ID, tt.rules, func(a string) error { got = append(got, a); return nil })
			slices.Sort(got)
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("chose %v, %v; want %v", got, err, tt.want)
			}
		})
	}
}
