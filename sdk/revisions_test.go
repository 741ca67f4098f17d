package sdk

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/mlist/mlist/sdk/proto"
)

func TestSettingsAreRemembered(t *testing.T) {
	var saw string
	s := newServer(t, Stage{Name: "a", Handler: handler(func(_ context.Context, p *Post) (Verdict, error) {
		saw = p.List.Settings["x"] + p.List.Settings["y"]
		p.List.Settings["x"] = "spoilt" // the map is this post's own
		return Accept, nil
	})})
	for _, tt := range []struct {
		name             string
		revision         string
		shared, settings map[string]string
		want             string // "?" is that it does not know
	}{
		{"all inline", "", nil, map[string]string{"x": "1", "y": "2"}, "12"},
		{"not told", "r1", nil, nil, "?"},
		{"told", "r1", map[string]string{"x": "3", "y": "4"}, nil, "34"},
		{"not told again", "r1", nil, nil, "34"},
		{"with one beside", "r1", nil, map[string]string{"y": "5"}, "35"},
		{"which is gone with the post", "r1", nil, nil, "34"},
		{"another", "r2", nil, nil, "?"},
		{"told another", "r2", map[string]string{"x": "6"}, map[string]string{"y": "7"}, "67"},
		{"the first is still there", "r1", nil, nil, "34"},
		{"told again", "r1", map[string]string{"x": "3", "y": "4"}, nil, "34"},
	} {
		saw = ""
		req := request("a")
		req.List = &proto.List{Address: "dev@l.test", Revision: tt.revision, Shared: tt.shared, Settings: tt.settings}
		reply, err := s.Handle(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if reply.GetUnknownRevision() {
			saw += "?"
		}
		if saw != tt.want || reply.GetUnknownRevision() == (len(reply.GetResults()) > 0) {
			t.Errorf("%s: saw %q, want %q; %v", tt.name, saw, tt.want, reply)
		}
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	s := newServer(t, Stage{Name: "a", Handler: handler(accepts)})
	for _, tt := range []struct{ n, size int }{{3 * maxRevisions, 10}, {10, 3 << 20}, {1, 2 * maxRevisionBytes}, {10, 10}} {
		var all sync.WaitGroup
		for i := range tt.n {
			l := &proto.List{Revision: fmt.Sprintf("%d of %d", i, tt.size), Shared: map[string]string{"x": strings.Repeat("x", tt.size)}}
			all.Go(func() {
				if _, ok := s.settings(l); !ok {
					t.Error("what it was told is unknown")
				}
			})
		}
		all.Wait()
		bytes := 0
		for _, kept := range s.known.settings {
			bytes += sizeOf(kept)
		}
		if n := len(s.known.settings); n > maxRevisions || bytes != s.known.bytes || n > 1 && bytes > maxRevisionBytes {
			t.Errorf("of %d of %d octets %d are kept, with %d octets (%d are counted)", tt.n, tt.size, n, bytes, s.known.bytes)
		}
	}
}

func TestAPluginUsesWhatMlistOffers(t *testing.T) {
	for _, offered := range [][]string{nil, {CapMembers}, {CapMembers, CapRevisions}} {
		d, err := newServer(t, Stage{Name: "a", Handler: handler(accepts)}).Describe(t.Context(), &proto.DescribeRequest{Capabilities: offered})
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if len(offered) == 2 {
			want = CapRevisions
		}
		if got := strings.Join(d.GetUses(), " "); got != want || len(d.GetNeeds()) > 0 {
			t.Errorf("of an mlist that offers %v it uses %q, and needs %v", offered, got, d.GetNeeds())
		}
	}
}
