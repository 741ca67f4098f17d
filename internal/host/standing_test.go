package host

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/proto"
	"github.com/mlist/mlist/sdk/wire"
)

func init() {
	zoo["standing"] = func() {
		var asked atomic.Int64
		sdk.Serve("standing", "1.0", sdk.Stage{Name: "standing", AtSMTP: true, AtRCPT: true, Handler: handlerFunc(func(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
			n := asked.Add(1)
			if p.List.Bool("general") {
				p.ByStanding()
			}
			return sdk.Reject("asked", fmt.Sprintf("%s, answer %d: %s", p.List.Address, n, p.List.String("word"))), nil
		})})
	}
	zoo["amnesiac"] = func() { serveRaw(&amnesiac{}) }
}

// envelopeOf is what a consultation at RCPT asks about.
func envelopeOf(sender string, settings *wire.Settings, memberships ...sdk.Membership) *Post {
	p := &Post{List: sdk.List{Address: "dev@l.test", Settings: map[string]string{}}, Shared: settings, Envelope: sdk.Envelope{Sender: sender, Recipient: "dev@l.test", Received: time.Now()},
		Header: message.ParseHeader(nil), Notes: map[string]string{}}
	if sender != "" {
		p.Senders = []sdk.Sender{{Address: sender, Source: "envelope", Memberships: memberships}}
	}
	return p
}

func TestAnAnswerAtRCPTThatIsEverybodysIsAskedForOnce(t *testing.T) {
	cfg := askerConfig(t, &crowd{}, []string{"standing"}, "standing")
	cfg.ConsultTimeout = 10 * time.Second
	h := start(t, cfg)
	general := wire.NewSettings(map[string]string{"general": "true", "word": "a"})
	member := sdk.Membership{Role: "member", Action: "accept"}
	banned, beside, noted := envelopeOf("ann@x.test", general), envelopeOf("ann@x.test", general), envelopeOf("ann@x.test", general)
	banned.Senders[0].Ban = "x.test, of the site"
	beside.List.Settings["word"] = "once"
	noted.Notes["seen"] = "it"
	elsewhere := envelopeOf("ann@x.test", general)
	elsewhere.List.Address = "ops@l.test"
	for _, tt := range []struct {
		name string
		post *Post
		want string
	}{
		{"the first", envelopeOf("ann@x.test", general), "dev@l.test, answer 1: a"},
		{"somebody else, later", envelopeOf("bob@y.test", general), "dev@l.test, answer 1: a"},
		{"a member", envelopeOf("ann@x.test", general, member), "dev@l.test, answer 2: a"},
		{"another one", envelopeOf("bob@y.test", general, member), "dev@l.test, answer 2: a"},
		{"the null sender", envelopeOf("", general), "dev@l.test, answer 3: a"},
		{"one who is banned", banned, "dev@l.test, answer 4: a"},
		{"at another list", elsewhere, "ops@l.test, answer 5: a"},
		{"with a setting that has changed", envelopeOf("ann@x.test", wire.NewSettings(map[string]string{"general": "true", "word": "b"})), "dev@l.test, answer 6: b"},
		{"as it was", envelopeOf("ann@x.test", wire.NewSettings(map[string]string{"general": "true", "word": "a"})), "dev@l.test, answer 1: a"},
		{"with something beside the settings", beside, "dev@l.test, answer 7: once"},
		{"and again", beside, "dev@l.test, answer 8: once"},
		{"with notes of another stage", noted, "dev@l.test, answer 9: a"},
		{"where it is not everybody's", envelopeOf("ann@x.test", wire.NewSettings(map[string]string{"word": "c"})), "dev@l.test, answer 10: c"},
		{"and again", envelopeOf("ann@x.test", wire.NewSettings(map[string]string{"word": "c"})), "dev@l.test, answer 11: c"},
		{"with settings of which nobody says when they change", envelopeOf("ann@x.test", nil), "dev@l.test, answer 12: "},
	} {
		res, err := h.ConsultEnvelope(t.Context(), tt.post)
		if err != nil || res.Verdict != sdk.Reject("asked", tt.want) || res.Stage != "standing" || len(res.Stages) != 1 {
			t.Errorf("%s: %+v, %v; want %q", tt.name, res, err, tt.want)
		}
	}
	// A process that was replaced, perhaps by another program, is asked anew.
	pid := h.Plugins()[0].PID
	h.current.Load().plugins[0].now().slay()
	eventually(t, "another process", func() bool { p := h.Plugins()[0]; return p.PID != 0 && p.PID != pid && p.Healthy })
	if res, err := h.ConsultEnvelope(t.Context(), envelopeOf("bob@y.test", general)); err != nil || res.Verdict.Reason != "dev@l.test, answer 1: a" {
		t.Errorf("of a new process: %+v, %v", res, err)
	}
}

// TestSettingsTravelOnce: and all the same a stage sees all of them, also in a process that has forgotten them.
func TestSettingsTravelOnce(t *testing.T) {
	cfg := askerConfig(t, &crowd{}, []string{"standing"}, "standing")
	cfg.ConsultTimeout = 10 * time.Second
	h := start(t, cfg)
	proc := h.current.Load().plugins[0].now()
	ask := func(s *wire.Settings, beside map[string]string, want string) {
		t.Helper()
		p := envelopeOf("ann@x.test", s)
		p.List.Settings = beside
		res, err := h.ConsultEnvelope(t.Context(), p)
		if _, got, _ := strings.Cut(res.Verdict.Reason, ": "); err != nil || got != want {
			t.Errorf("it saw %q, want %q; %v", got, want, err)
		}
	}
	s := wire.NewSettings(map[string]string{"word": "shared"})
	if proc.told.has(s.Revision()) {
		t.Error("it was told before it was asked")
	}
	ask(s, nil, "shared")
	if !proc.told.has(s.Revision()) {
		t.Error("it was not told")
	}
	ask(s, nil, "shared")
	ask(s, map[string]string{"word": "beside"}, "beside")
	ask(s, nil, "shared")
	forgotten := wire.NewSettings(map[string]string{"word": "forgotten"})
	proc.told.add(forgotten.Revision()) // as the host thinks
	ask(forgotten, nil, "forgotten")
	for i := range maxTold + 10 { // more than either side keeps
		proc.told.add(fmt.Sprint(i))
	}
	ask(s, nil, "shared")
	ask(wire.NewSettings(map[string]string{}), nil, "")
	if calls := h.Totals().Calls; calls != 7 {
		t.Errorf("%d calls", calls)
	}
}

// amnesiac says that it uses revisions, and knows none.
type amnesiac struct{ raw }

func (amnesiac) Describe(context.Context, *proto.DescribeRequest) (*proto.DescribeReply, error) {
	return &proto.DescribeReply{Name: "amnesiac", Version: "1", Stages: []*proto.Stage{{Name: "forgets", AtSmtp: true, AtRcpt: true}}, Uses: []string{"revisions", "teleport"}}, nil
}

func (amnesiac) Handle(context.Context, *proto.HandleRequest) (*proto.HandleReply, error) {
	return &proto.HandleReply{UnknownRevision: true}, nil
}

func TestAPluginThatForgetsWhatItIsToldFails(t *testing.T) {
	h := start(t, askerConfig(t, &crowd{}, []string{"forgets"}, "amnesiac"))
	for _, s := range []*wire.Settings{wire.NewSettings(map[string]string{"word": "shared"}), nil} {
		_, err := h.ConsultEnvelope(t.Context(), envelopeOf("ann@x.test", s))
		if err == nil || !strings.Contains(err.Error(), "does not know settings") {
			t.Errorf("the error is %v", err)
		}
	}
}

// A plugin that was written before there were revisions gets all settings with each post.
func TestAPluginThatKnowsOfNoRevisionsGetsAllSettings(t *testing.T) {
	h := start(t, askerConfig(t, &crowd{}, []string{"inline"}, "inline"))
	p := post(t, "hello")
	p.List.Settings = map[string]string{"beside": "1", "both": "beside"}
	p.Shared = wire.NewSettings(map[string]string{"shared": "2", "both": "shared"})
	for range 2 {
		p.Notes = map[string]string{}
		if _, err := h.Run(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if got := p.Notes["settings"]; got != "beside=1 both=beside shared=2" {
			t.Errorf("it saw %q", got)
		}
	}
}

func init() { zoo["inline"] = func() { serveRaw(&inline{}) } }

// inline uses no capability.
type inline struct{ raw }

func (inline) Describe(context.Context, *proto.DescribeRequest) (*proto.DescribeReply, error) {
	return &proto.DescribeReply{Name: "inline", Version: "1", Stages: []*proto.Stage{{Name: "inline"}}}, nil
}

func (inline) Handle(_ context.Context, req *proto.HandleRequest) (*proto.HandleReply, error) {
	var all []string
	for name, text := range req.GetList().GetSettings() {
		all = append(all, name+"="+text)
	}
	slices.Sort(all)
	notes := map[string]string{"settings": strings.Join(all, " ") + req.GetList().GetRevision()}
	return &proto.HandleReply{Results: []*proto.StageResult{{Stage: "inline", Verdict: &proto.Verdict{Kind: proto.Verdict_ACCEPT}, Notes: notes}}}, nil
}
