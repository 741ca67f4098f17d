package sdk

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/proto"
)

type handler func(context.Context, *Post) (Verdict, error)

func (h handler) Handle(ctx context.Context, p *Post) (Verdict, error) { return h(ctx, p) }

func accepts(context.Context, *Post) (Verdict, error) { return Accept, nil }

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newServer(t *testing.T, stages ...Stage) *Server {
	t.Helper()
	s, err := NewServer("test", "1", stages...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAPluginMustMakeSense(t *testing.T) {
	cases := []struct {
		name   string
		plugin string
		stages []Stage
	}{
		{"no name", "", []Stage{{Name: "a", Handler: handler(accepts)}}},
		{"no stage", "p", nil},
		{"a stage without a name", "p", []Stage{{Handler: handler(accepts)}}},
		{"a stage without a handler", "p", []Stage{{Name: "a"}}},
		{"two stages of one name", "p", []Stage{{Name: "a", Handler: handler(accepts)}, {Name: "a", Handler: handler(accepts)}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if _, err := NewServer(c.plugin, "1", c.stages...); err == nil {
				t.Error("it was accepted")
			}
		})
	}
}

func request(stages ...string) *proto.HandleRequest {
	return &proto.HandleRequest{Stages: stages, Header: []byte("Subject: x\r\n"), Entry: "e"}
}

func TestEachStageSeesTheEditsOfThoseBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(path, []byte("..body"), 0o600); err != nil {
		t.Fatal(err)
	}
	first := handler(func(_ context.Context, p *Post) (Verdict, error) {
		p.Header.Append("X-First", "1")
		p.Notes["first"] = "1"
		p.Recipients.Add("a@example.org")
		return Accept, p.Body.Splice(message.Splice{Offset: p.Body.Size(), Insert: []byte("+1")})
	})
	second := handler(func(_ context.Context, p *Post) (Verdict, error) {
		var body strings.Builder
		if _, err := p.Body.WriteTo(&body); err != nil {
			return Verdict{}, err
		}
		if p.Header.Get("X-First") != "1" || p.Notes["first"] != "1" || body.String() != "0body+1" || len(p.Recipients.Rules()) != 0 {
			return Verdict{}, errors.New("saw " + body.String())
		}
		p.Header.Append("X-Second", "2")
		return Accept, p.Body.Splice(message.Splice{Insert: []byte("2")})
	})
	blind := handler(func(_ context.Context, p *Post) (Verdict, error) {
		if p.Body != nil {
			return Verdict{}, errors.New("has a body that it did not ask for")
		}
		return Accept, nil
	})
	s := newServer(t, Stage{Name: "first", Body: true, Handler: first}, Stage{Name: "blind", Handler: blind}, Stage{Name: "second", Body: true, Handler: second})
	req := request("first", "blind", "second")
	req.Body = &proto.Body{Path: path, Offset: 2, Length: 4, Splices: []*proto.Splice{{Insert: []byte("0")}}}
	reply, err := s.Handle(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	r := reply.GetResults()
	if len(r) != 3 || len(r[0].GetHeaderOps()) != 1 || len(r[0].GetSplices()) != 1 || len(r[0].GetRules()) != 1 || r[0].GetNotes()["first"] != "1" {
		t.Errorf("results %v", r)
	}
	if len(r[2].GetHeaderOps()) != 1 || r[2].GetHeaderOps()[0].GetName() != "X-Second" || len(r[2].GetSplices()) != 1 || len(r[2].GetNotes()) != 0 {
		t.Errorf("the last result has more than its own edits: %v", r[2])
	}
}

func TestMistakesOfAHandlerAreErrorsThatNameTheStage(t *testing.T) {
	cases := []struct {
		name string
		f    handler
		want string
	}{
		{"an error", func(context.Context, *Post) (Verdict, error) { return Accept, errors.New("no luck") }, "stage s: no luck"},
		{"a panic", func(context.Context, *Post) (Verdict, error) { panic("oh") }, "stage s: panic: oh"},
		{"no verdict", func(context.Context, *Post) (Verdict, error) { return Verdict{}, nil }, "not a kind of verdict"},
		{"another header", func(_ context.Context, p *Post) (Verdict, error) { p.Header = &message.Header{}; return Accept, nil }, "instead of editing it"},
		{"the body that it did not ask for", func(_ context.Context, p *Post) (Verdict, error) { return Accept, p.Body.Splice(message.Splice{}) }, "stage s: panic"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t, Stage{Name: "s", Handler: c.f})
			if _, err := s.Handle(t.Context(), request("s")); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
		})
	}
	s := newServer(t, Stage{Name: "s", Handler: handler(accepts)}, Stage{Name: "b", Body: true, Handler: handler(accepts)})
	for name, req := range map[string]*proto.HandleRequest{
		"an unknown stage": request("zzz"), "a body that is missing": request("b"),
		"a body before the file": {Stages: []string{"s"}, Body: &proto.Body{Offset: -1}},
		"a splice outside":       {Stages: []string{"s"}, Body: &proto.Body{Splices: []*proto.Splice{{Offset: 7}}}},
	} {
		if _, err := s.Handle(t.Context(), req); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestTextOfAHandlerIsMadeFitToTravel(t *testing.T) {
	s := newServer(t, Stage{Name: "s", Handler: handler(func(_ context.Context, p *Post) (Verdict, error) {
		p.Notes["raw"] = "a\xffb"
		return Hold("code", "subject \x1b[2J\xff"+strings.Repeat("é", 5000)), nil
	})})
	reply, err := s.Handle(t.Context(), request("s"))
	if err != nil {
		t.Fatal(err)
	}
	r := reply.GetResults()[0]
	if reason := r.GetVerdict().GetReason(); strings.ContainsRune(reason, 0x1b) || len(reason) > maxReason || !strings.HasPrefix(reason, "subject  [2J\uFFFDé") {
		t.Errorf("reason %.40q, %d bytes", reason, len(reason))
	}
	if r.GetNotes()["raw"] != "a\uFFFDb" {
		t.Errorf("notes %q", r.GetNotes())
	}
}

func TestTheBodyIsReadOnlyWhileTheCallLasts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(path, []byte("body"), 0o600); err != nil {
		t.Fatal(err)
	}
	var kept *message.Body
	s := newServer(t, Stage{Name: "s", Body: true, Handler: handler(func(_ context.Context, p *Post) (Verdict, error) {
		kept = p.Body
		_, err := p.Body.ReadAt(make([]byte, 4), 0)
		return Accept, err
	})})
	req := request("s")
	req.Body = &proto.Body{Path: path, Length: 4}
	if _, err := s.Handle(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if _, err := kept.ReadAt(make([]byte, 4), 0); err == nil || !strings.Contains(err.Error(), "after Handle returned") {
		t.Errorf("reading it later: %v", err)
	}
	req.Body.Path += "-missing"
	if _, err := s.Handle(t.Context(), req); err == nil || !strings.Contains(err.Error(), "stage s: ") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestHealthFailsWhileACallDoesNotReturn(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := newServer(t, Stage{Name: "s", Handler: handler(func(context.Context, *Post) (Verdict, error) {
		close(entered)
		<-release
		return Accept, nil
	})})
	now := time.Now()
	s.now = func() time.Time { return now }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = s.Handle(ctx, request("s")) // what it says is of no interest here
	}()
	<-entered
	for i, want := range []codes.Code{codes.OK, codes.OK, codes.OK, codes.FailedPrecondition} {
		if i == 1 {
			cancel()
		}
		if i >= 2 {
			now = now.Add(s.grace)
		}
		if _, err := s.Health(t.Context(), nil); status.Code(err) != want {
			t.Errorf("check %d: %v, want %s", i, err, want)
		}
	}
	drain, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := s.Drain(drain, nil); err == nil {
		t.Error("it drained with a call under way")
	}
	close(release)
	<-done
	if _, err := s.Drain(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if _, err := s.Health(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if _, err := s.Handle(t.Context(), request("s")); status.Code(err) != codes.Unavailable {
		t.Errorf("a call after draining: %v", err)
	}
}

type configured struct {
	c struct {
		Name  string   `json:"name" help:"a name"`
		Count int      `json:"count"`
		Deep  struct{} `json:"deep"`
		Many  []string `json:"many"`
	}
}

func (c *configured) Config() any {
	c.c.Name, c.c.Count = "default", 3
	return &c.c
}

func (c *configured) Handle(context.Context, *Post) (Verdict, error) { return Accept, nil }

func TestConfigurationIsDecodedStrictly(t *testing.T) {
	cases := []struct{ name, table, want string }{
		{"nothing", `{}`, ""},
		{"a value", `{"name":"x"}`, ""},
		{"an unknown key", `{"nmae":"x"}`, "[plugin.s] nmae: unknown key"},
		{"a wrong type", `{"count":"x"}`, "[plugin.s] count: a string where a whole number is wanted"},
		{"not a table", `[]`, "[plugin.s]"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := &configured{}
			s := newServer(t, Stage{Name: "s", Handler: h})
			reply, err := s.Configure(t.Context(), &proto.ConfigureRequest{Config: map[string][]byte{"s": []byte(c.table)}})
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(reply.GetProblems(), "; ")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("problems %q, want %q", got, c.want)
			}
			if c.want == "" && h.c.Count != 3 {
				t.Errorf("the default of count is lost: %+v", h.c)
			}
		})
	}
	s := newServer(t, Stage{Name: "s", Handler: &configured{}})
	reply, err := s.Configure(t.Context(), &proto.ConfigureRequest{Config: map[string][]byte{"other": []byte("{}")}})
	if err != nil || len(reply.GetProblems()) != 1 {
		t.Errorf("a table for a stage that is not there: %v %v", reply, err)
	}
}

func TestDescribeDocumentsTheConfiguration(t *testing.T) {
	s := newServer(t, Stage{Name: "s", Help: "helps", Body: true, Handler: &configured{}})
	d, err := s.Describe(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	st := d.GetStages()[0]
	if st.GetHelp() != "helps" || len(st.GetNeeds()) != 1 || len(st.GetConfig()) != 4 {
		t.Fatalf("stage %v", st)
	}
	if k := st.GetConfig()[0]; k.GetName() != "name" || k.GetKind() != "a string" || k.GetDefault() != `"default"` || k.GetHelp() != "a name" {
		t.Errorf("key %v", k)
	}
}
