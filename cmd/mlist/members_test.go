package main

import (
	"path/filepath"
	"testing"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store/sqlstore"
	"github.com/mlist/mlist/sdk"
)

func TestPluginsAreToldMembersInTheWordsOfTheContract(t *testing.T) {
	st, err := sqlstore.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "m.db"), sqlstore.Options{Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	l := &list.List{Address: address.Address{Local: "dev", Domain: "l.test"}, Settings: list.Defaults()}
	if err := st.CreateList(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	_, err = st.AddMembers(t.Context(), l.ID, func(yield func(list.Membership, error) bool) {
		_ = yield(list.Membership{Address: address.Address{Local: "Ann", Domain: "n.test"}, DisplayName: "Ann", Mode: list.MIMEDigest,
			Status: list.ByBounces, Action: list.Hold, NoOwnPosts: true}, nil) &&
			yield(list.Membership{Address: address.Address{Local: "own", Domain: "n.test"}, Role: list.Owner}, nil)
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		filter sdk.MemberFilter
		want   []sdk.Member
		fails  bool
	}{
		{"one role", sdk.MemberFilter{Roles: []string{"member"}}, []sdk.Member{{Address: "Ann@n.test", DisplayName: "Ann", Membership: sdk.Membership{
			Role: "member", Mode: "mime_digests", Status: "by_bounces", Action: "hold", NoOwnPosts: true}}}, false},
		{"one status", sdk.MemberFilter{Statuses: []string{"enabled"}}, []sdk.Member{{Address: "own@n.test", Membership: sdk.Membership{
			Role: "owner", Mode: "regular", Status: "enabled"}}}, false},
		{"an unknown word", sdk.MemberFilter{Modes: []string{"fast"}}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []sdk.Member
			var failed error
			for m, err := range (members{st}).Members(t.Context(), l.ID, c.filter) {
				if failed = err; err == nil {
					got = append(got, m)
				}
			}
			if (failed != nil) != c.fails || len(got) != len(c.want) {
				t.Fatalf("got %+v, %v", got, failed)
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Errorf("got\n%+v, want\n%+v", got[i], c.want[i])
				}
			}
		})
	}
}
