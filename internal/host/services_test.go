package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/proto"
	"github.com/mlist/mlist/sdk/wire"
)

func init() {
	ask := func(name string, f handlerFunc) sdk.Stage {
		return sdk.Stage{Name: name, Members: true, State: true, Submit: true, AtSMTP: name == "ask1", Handler: f}
	}
	zoo["asker"] = func() { sdk.Serve("asker", "1.0", ask("ask1", asker), ask("ask2", asker)) }
	zoo["future"] = func() { serveRaw(&future{}) }
	zoo["staller"] = func() { serveRaw(&staller{}) }
	zoo["greedy"] = func() { serveRaw(&greedy{}) }
	zoo["files"] = func() {
		sdk.Serve("files", "1.0", stage("files", func(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
			for n := 0; ; n++ {
				if _, err := os.Open("/dev/null"); err != nil {
					p.Notes["files"] = fmt.Sprint(n)
					return sdk.Accept, nil
				}
			}
		}))
	}
}

// asker uses all that mlist does for handlers.
func asker(ctx context.Context, p *sdk.Post) (sdk.Verdict, error) {
	if p.Header.Get("Subject") == "crash" {
		os.Exit(7)
	}
	count, last := 0, ""
	for m, err := range p.Members(ctx, sdk.MemberFilter{Roles: []string{p.Header.Get("Subject")}}) {
		if err != nil {
			return sdk.Verdict{}, err
		}
		if count, last = count+1, m.Address+"/"+m.Mode; count == 1000 && p.Header.Get("X-Early") != "" {
			break
		}
	}
	n, err := p.State().Int(ctx, "posts")
	if err != nil {
		return sdk.Verdict{}, err
	}
	p.Notes["saw"] += fmt.Sprintf("%d %s %d;", count, last, n)
	p.Count("posts", 1)
	p.Log().Warn("asked", "members", count)
	err = errors.Join(p.State().Add("posts", 1), p.State().Set("last", p.Entry),
		p.Submit(sdk.Submission{Message: []byte("Subject: news\n\nhello\n")}))
	return sdk.Accept, err
}

// crowd is many members, and a memory.
type crowd struct {
	size    int
	err     error
	open    atomic.Int64 // streams
	asked   atomic.Value // what was asked of the memory last
	initial string
}

func (c *crowd) Members(ctx context.Context, listID int64, f sdk.MemberFilter) iter.Seq2[sdk.Member, error] {
	return func(yield func(sdk.Member, error) bool) {
		c.open.Add(1)
		defer c.open.Add(-1)
		for i := range c.size {
			if ctx.Err() != nil {
				yield(sdk.Member{}, ctx.Err())
				return
			}
			if !yield(sdk.Member{Address: fmt.Sprintf("m%d@%d.test", i, listID), Membership: sdk.Membership{Mode: strings.Join(f.Roles, ",")}}, nil) {
				return
			}
		}
		if c.err != nil {
			yield(sdk.Member{}, c.err)
		}
	}
}

func (c *crowd) PluginState(_ context.Context, listID int64, entry, plugin, key string) ([]byte, bool, error) {
	c.asked.Store(fmt.Sprintf("%d %s %s %s", listID, entry, plugin, key))
	return []byte(c.initial), c.initial != "", nil
}

func askerConfig(t testing.TB, c *crowd, stages []string, animals ...string) Config {
	cfg := config(t, stages, animals...)
	cfg.Members, cfg.State = c, c
	return cfg
}

func TestAHandlerAsksForMembersAndState(t *testing.T) {
	c := &crowd{size: 5001, initial: "41"}
	cfg := askerConfig(t, c, []string{"ask1", "a", "ask2"}, "asker", "good")
	log := &testLog{t: t}
	cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	h := start(t, cfg)
	p := post(t, "owner")
	p.ListID = 7
	if _, err := h.Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	// The second stage is asked in a call of its own, and sees what the first did.
	if want := "5001 m5000@7.test/owner 41;5001 m5000@7.test/owner 42;"; p.Notes["saw"] != want {
		t.Errorf("it saw %q, want %q", p.Notes["saw"], want)
	}
	if got := c.asked.Load(); got != "7 e1 asker posts" {
		t.Errorf("asked for %v", got)
	}
	want := wire.StateEdit{Plugin: "asker", Kind: wire.StateAdd, Key: "posts", Delta: 1}
	if len(p.State) != 4 || fmt.Sprint(p.State[0]) != fmt.Sprint(want) || p.State[3].Key != "last" || len(p.Submissions) != 2 {
		t.Errorf("state %v, submissions %v", p.State, p.Submissions)
	}
	for _, info := range h.Plugins() {
		if info.Name == "asker" && (info.Counts["posts"] != 2 || fmt.Sprint(info.Needs, info.AtSMTP) != "[members state submit] [ask1]") {
			t.Errorf("info %+v", info)
		}
	}
	for _, want := range []string{"msg=asked", "plugin=asker", "entry=e1", "list=dev@lists.example.org", "stage=ask1", "members=5001"} {
		eventually(t, "the log has "+want, func() bool { return strings.Contains(log.String(), want) })
	}
}

func TestCountsOutliveTheProcessAndAReload(t *testing.T) {
	cfg := askerConfig(t, &crowd{}, []string{"ask1"}, "asker")
	h := start(t, cfg)
	if err := run(t, h, "x"); err != nil {
		t.Fatal(err)
	}
	if err := run(t, h, "crash"); err == nil {
		t.Fatal("it did not crash")
	}
	if err := run(t, h, "x"); err != nil {
		t.Fatal(err)
	}
	if err := h.Reload(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if err := run(t, h, "x"); err != nil {
		t.Fatal(err)
	}
	if n := h.Plugins()[0].Counts["posts"]; n != 3 {
		t.Errorf("counted %d, want 3", n)
	}
}

func TestAStreamThatIsLeftEarlyOrFails(t *testing.T) {
	c := &crowd{size: 1_000_000}
	h := start(t, askerConfig(t, c, []string{"ask1", "ask2"}, "asker"))
	for range 10 { // more than may be open at once
		p := post(t, "member")
		p.Header.Append("X-Early", "1")
		if _, err := h.Run(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "no stream is open", func() bool { return c.open.Load() == 0 })
	c.size, c.err = 10, errors.New("the disk is on fire")
	if err := run(t, h, "member"); err == nil || !strings.Contains(err.Error(), "members: the disk is on fire") {
		t.Errorf("the error is %v", err)
	}
}

func TestAPluginThatStopsReadingBlocksNobody(t *testing.T) {
	c := &crowd{size: 1_000_000}
	h := start(t, askerConfig(t, c, []string{"stall", "ask1"}, "staller", "asker"))
	for range 3 * maxReaders {
		p := post(t, "member")
		p.Header.Append("X-Early", "1")
		if _, err := h.Run(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if p.Notes["token"] != "wrong token" || !strings.Contains(p.Notes["call"], "is not under way") {
			t.Errorf("notes %v", p.Notes)
		}
	}
	eventually(t, "no stream is open", func() bool { return c.open.Load() == 0 })
}

// staller speaks the contract by hand: it opens streams and does not read them.
type staller struct {
	raw
	host    proto.HostClient
	token   string
	streams []any
}

func (*staller) Describe(context.Context, *proto.DescribeRequest) (*proto.DescribeReply, error) {
	return &proto.DescribeReply{Name: "staller", Version: "1", Stages: []*proto.Stage{{Name: "stall"}}, Needs: []string{"members", "smtp-time"}}, nil
}

func (s *staller) Configure(_ context.Context, req *proto.ConfigureRequest) (*proto.ConfigureReply, error) {
	conn, err := grpc.NewClient("unix:"+req.GetHostSocket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	s.host, s.token = proto.NewHostClient(conn), req.GetHostToken()
	return &proto.ConfigureReply{}, err
}

func (s *staller) Handle(ctx context.Context, req *proto.HandleRequest) (*proto.HandleReply, error) {
	// Not the call's own context: that would end the stream.
	mine := metadata.AppendToOutgoingContext(context.Background(), sdk.TokenKey, s.token)
	stream, err := s.host.Members(mine, &proto.MembersRequest{Call: req.GetCall()})
	if err != nil {
		return nil, err
	}
	if _, err := stream.Recv(); err != nil {
		return nil, err
	}
	s.streams = append(s.streams, stream)
	notes := map[string]string{}
	wrong := metadata.AppendToOutgoingContext(ctx, sdk.TokenKey, "guess")
	if _, err := s.host.GetState(wrong, &proto.GetStateRequest{Call: req.GetCall(), Key: "k"}); err != nil {
		notes["token"] = words(err)
	}
	if _, err := s.host.GetState(mine, &proto.GetStateRequest{Call: "0", Key: "k"}); err != nil {
		notes["call"] = words(err)
	}
	return &proto.HandleReply{Results: []*proto.StageResult{{Stage: "stall", Verdict: &proto.Verdict{Kind: proto.Verdict_ACCEPT}, Notes: notes}}}, nil
}

// future needs what nobody has yet.
type future struct{ raw }

func (future) Describe(context.Context, *proto.DescribeRequest) (*proto.DescribeReply, error) {
	return &proto.DescribeReply{Name: "future", Version: "9", Stages: []*proto.Stage{{Name: "future"}}, Needs: []string{"state", "teleport"}}, nil
}

func TestAPluginThatNeedsWhatIsNotThereIsRefused(t *testing.T) {
	for _, c := range []struct {
		name, animal, stage string
		state               State
		want                string
	}{
		{"a capability from the future", "future", "future", &crowd{}, `future needs "teleport", which mlist 1 does not know (it has ` + strings.Join(sdk.Capabilities, ", ") + ")"},
		{"a service that is not offered", "asker", "ask1", nil, `asker needs "state", which is not to be had here`},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(t, []string{c.stage}, c.animal)
			cfg.Members, cfg.State = &crowd{}, c.state
			h, err := Start(t.Context(), cfg)
			if err == nil {
				_ = h.Close(t.Context())
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is\n%v, want\n%s", err, c.want)
			}
		})
	}
}

// greedy changes state, or submits a message, and has not said that it would.
type greedy struct{ raw }

func (greedy) Describe(context.Context, *proto.DescribeRequest) (*proto.DescribeReply, error) {
	return &proto.DescribeReply{Name: "greedy", Version: "1", Stages: []*proto.Stage{{Name: "greedy"}}}, nil
}

func (greedy) Handle(_ context.Context, req *proto.HandleRequest) (*proto.HandleReply, error) {
	r := &proto.StageResult{Stage: "greedy", Verdict: &proto.Verdict{Kind: proto.Verdict_ACCEPT}}
	switch message.ParseHeader(req.GetHeader()).Get("Subject") {
	case "state":
		r.StateEdits = []*proto.StateEdit{{Kind: proto.StateEdit_SET, Key: "k"}}
	case "submit":
		r.Submissions = []*proto.Submission{{Message: []byte("Subject: x\n\n")}}
	}
	return &proto.HandleReply{Results: []*proto.StageResult{r}}, nil
}

func TestAPluginThatTakesMoreThanItDeclaredIsRefused(t *testing.T) {
	h := start(t, askerConfig(t, &crowd{}, []string{"greedy"}, "greedy"))
	for _, subject := range []string{"state", "submit"} {
		p := post(t, subject)
		want := `has not declared that it needs "` + subject + `"`
		if _, err := h.Run(t.Context(), p); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "plugin greedy, stage greedy") {
			t.Errorf("%s: %v, want %q", subject, err, want)
		}
		if len(p.State)+len(p.Submissions) > 0 {
			t.Errorf("%s: it got state %v, submissions %v", subject, p.State, p.Submissions)
		}
	}
	if err := run(t, h, "nothing"); err != nil {
		t.Error(err)
	}
}

func TestAnMlistFromBeforeThereWereCapabilitiesIsTold(t *testing.T) {
	s, err := sdk.NewServer("asker", "1.0", sdk.Stage{Name: "s", State: true, Handler: handlerFunc(accept)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Describe(t.Context(), &proto.DescribeRequest{MlistVersion: "0.1"})
	if err == nil || words(err) != `asker 1.0 needs "state", and mlist 0.1 is too old to offer it` {
		t.Errorf("the error is %v", err)
	}
}

func TestAPluginFromBeforeThereWereCapabilitiesWorks(t *testing.T) {
	h := start(t, askerConfig(t, &crowd{}, []string{"n1", "n2"}, "nonsense"))
	if err := run(t, h, "sense"); err != nil {
		t.Fatal(err)
	}
	if info := h.Plugins()[0]; len(info.Needs) != 0 || len(info.Counts) != 0 {
		t.Errorf("info %+v", info)
	}
}

func TestAPinnedProgramMustBeTheOneThatWasChecked(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(program)
	right := strings.ToUpper(hex.EncodeToString(sum[:]))
	for _, c := range []struct {
		name string
		pins map[string]string
		want string
	}{
		{"the right one", map[string]string{"good": right}, ""},
		{"another one", map[string]string{"good": strings.Repeat("0", 64)}, "its SHA-256 is " + strings.ToLower(right) + ", and plugin_sha256 pins it to 000"},
		{"one that is not there", map[string]string{"godo": right}, "plugin_sha256 names godo, and "},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(t, []string{"a"}, "good")
			cfg.SHA256 = c.pins
			if c.want == "" {
				start(t, cfg)
				return
			}
			h, err := Start(t.Context(), cfg)
			if err == nil {
				_ = h.Close(t.Context())
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
		})
	}
}

func TestAPluginHasFewFiles(t *testing.T) {
	h := start(t, config(t, []string{"files"}, "files"))
	p := post(t, "hello")
	if _, err := h.Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscan(p.Notes["files"], &n); err != nil || n < 900 || n > openFiles {
		t.Errorf("it could open %q files", p.Notes["files"])
	}
}

func TestTheSocketGoesWithItsProcess(t *testing.T) {
	h := start(t, askerConfig(t, &crowd{}, []string{"ask1"}, "asker"))
	sockets := func() int {
		paths, err := filepath.Glob(filepath.Join(h.dir.path, socketPrefix+"*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(paths)
	}
	if n := sockets(); n != 1 {
		t.Errorf("%d sockets, want 1", n)
	}
	_ = run(t, h, "crash") // that is what it is for
	eventually(t, "there is one socket again", func() bool { return sockets() == 1 && h.Plugins()[0].PID != 0 })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := h.Close(ctx); err != nil {
		t.Error(err)
	}
}
