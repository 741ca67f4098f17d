package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/proto"
)

// This test program is every handler that is checked: a link to it is named after what
// it does wrong.
func TestMain(m *testing.M) {
	if wrong := handlers[filepath.Base(os.Args[0])]; wrong != nil {
		wrong()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

var handlers = map[string]func(){
	"good": func() {
		sdk.Serve("good", "1.0", stage(accept), sdk.Stage{Name: "second", Help: "h", Handler: &picky{}})
	},
	"exits":     func() { fmt.Fprintln(os.Stderr, "no coffee"); os.Exit(3) },
	"chatty":    func() { fmt.Println("good morning"); sdk.Serve("chatty", "1.0", stage(accept)) },
	"future":    func() { fmt.Println("1|99|unix|/nowhere|grpc"); time.Sleep(time.Minute) },
	"tcp":       func() { fmt.Println("1|1|tcp|127.0.0.1:1|grpc"); time.Sleep(time.Minute) },
	"nobody":    func() { fmt.Println("1|1|unix|/nowhere|grpc"); time.Sleep(time.Minute) },
	"nameless":  func() { sdk.Serve("no name", "1.0", stage(accept)) },
	"demanding": func() { sdk.Serve("demanding", "1.0", sdk.Stage{Name: "s", Help: "h", Handler: &demanding{}}) },
	"hangs":     func() { sdk.Serve("hangs", "1.0", stage(hang)) },
	"crashes":   func() { sdk.Serve("crashes", "1.0", stage(crashOnNUL)) },
	"fails":     func() { sdk.Serve("fails", "1.0", stage(failWithoutFrom)) },
	"injects": func() {
		serveRaw(&raw{ops: []*proto.HeaderOp{{Kind: proto.HeaderOp_APPEND, Name: "X: y\r\nBcc", Value: "all"}}})
	},
	"alone":      func() { sdk.Serve("alone", "1.0", stage(alone())) },
	"mumbles":    func() { serveRaw(&raw{mumble: true}) },
	"credulous":  func() { serveRaw(&raw{}) },
	"immortal":   func() { signal.Ignore(syscall.SIGTERM); serveRaw(&raw{}) },
	"undraining": func() { serveRaw(&raw{drain: errors.New("not now")}) },
	"greedy":     func() { serveRaw(&raw{needs: []string{"telepathy"}}) },
	"sneaky":     func() { serveRaw(&raw{state: []*proto.StateEdit{{Kind: proto.StateEdit_SET, Key: "k"}}}) },
	"guesses":    func() { serveRaw(&raw{uses: []string{sdk.CapRevisions}}) },
	"blank":      func() { serveRaw(&raw{uses: []string{sdk.CapRevisions}, blank: true}) },
	"asks": func() {
		sdk.Serve("asks", "1.0", sdk.Stage{Name: "s", Help: "h", Members: true, State: true, Handler: handlerFunc(ask)})
	},
	"leaves": func() { startSleeper(); serveUntilLifelineEnds() },
}

type handlerFunc func(context.Context, *sdk.Post) (sdk.Verdict, error)

func (f handlerFunc) Handle(ctx context.Context, p *sdk.Post) (sdk.Verdict, error) { return f(ctx, p) }

func stage(f handlerFunc) sdk.Stage {
	return sdk.Stage{Name: "s", Help: "a stage", Body: true, Handler: f}
}

func accept(context.Context, *sdk.Post) (sdk.Verdict, error) { return sdk.Accept, nil }

func hang(context.Context, *sdk.Post) (sdk.Verdict, error) { select {} }

func crashOnNUL(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	if strings.Contains(p.Header.Get("X-Nul"), "\x00") {
		os.Exit(7)
	}
	return sdk.Accept, nil
}

func failWithoutFrom(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	if !p.Header.Has("From") {
		return sdk.Verdict{}, errors.New("who is it from?")
	}
	return sdk.Accept, nil
}

// alone cannot do two things at once.
func alone() handlerFunc {
	busy := make(chan struct{}, 1)
	return func(context.Context, *sdk.Post) (sdk.Verdict, error) {
		select {
		case busy <- struct{}{}:
		default:
			return sdk.Verdict{}, errors.New("one at a time")
		}
		defer func() { <-busy }()
		time.Sleep(20 * time.Millisecond)
		return sdk.Accept, nil
	}
}

type picky struct {
	config struct {
		Most int `json:"most"`
	}
}

func (p *picky) Config() any { return &p.config }

func (p *picky) Handle(context.Context, *sdk.Post) (sdk.Verdict, error) { return sdk.Accept, nil }

// demanding has a key without a default.
type demanding struct{ config demands }

type demands struct {
	URL string `json:"url"`
}

func (d *demands) Validate() error {
	if d.URL == "" {
		return errors.New("url: is missing")
	}
	return nil
}

func (d *demanding) Config() any {
	d.config = demands{}
	return &d.config
}

func (d *demanding) Handle(context.Context, *sdk.Post) (sdk.Verdict, error) { return sdk.Accept, nil }

// raw is a handler that is not built on the SDK and minds nothing.
type raw struct {
	proto.UnimplementedPluginServer
	plugin.NetRPCUnsupportedPlugin
	mumble bool
	needs  []string
	uses   []string
	blank  bool // it knows no revision
	ops    []*proto.HeaderOp
	state  []*proto.StateEdit
	drain  error
}

func (r *raw) Describe(context.Context, *proto.DescribeRequest) (*proto.DescribeReply, error) {
	return &proto.DescribeReply{Name: "raw", Version: "1", Needs: r.needs, Uses: r.uses, Stages: []*proto.Stage{{Name: "s", Help: "h"}}}, nil
}

func (*raw) Configure(context.Context, *proto.ConfigureRequest) (*proto.ConfigureReply, error) {
	return &proto.ConfigureReply{}, nil
}

func (r *raw) Handle(_ context.Context, req *proto.HandleRequest) (*proto.HandleReply, error) {
	if r.mumble {
		return &proto.HandleReply{}, nil
	}
	if r.blank && req.GetList().GetRevision() != "" {
		return &proto.HandleReply{UnknownRevision: true}, nil
	}
	return &proto.HandleReply{Results: []*proto.StageResult{{Stage: "s", Verdict: &proto.Verdict{Kind: proto.Verdict_ACCEPT}, HeaderOps: r.ops, StateEdits: r.state}}}, nil
}

func (*raw) Health(context.Context, *proto.HealthRequest) (*proto.HealthReply, error) {
	return &proto.HealthReply{}, nil
}

func (r *raw) Drain(context.Context, *proto.DrainRequest) (*proto.DrainReply, error) {
	return &proto.DrainReply{}, r.drain
}

func (r *raw) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	proto.RegisterPluginServer(s, r)
	return nil
}

func (*raw) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this side serves")
}

func serveRaw(r *raw) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: sdk.ProtocolVersion, MagicCookieKey: sdk.CookieKey, MagicCookieValue: sdk.CookieValue},
		Plugins:         plugin.PluginSet{sdk.PluginSet: r},
		GRPCServer:      plugin.DefaultGRPCServer,
		Logger:          hclog.New(&hclog.LoggerOptions{Level: hclog.Off}),
	})
}

func startSleeper() {
	if os.Getenv(sdk.CookieKey) == "" {
		os.Exit(1)
	}
	if err := exec.Command("sleep", "60").Start(); err != nil {
		panic(err)
	}
}

// serveUntilLifelineEnds minds the lifeline, and forgets what it started.
func serveUntilLifelineEnds() {
	go func() {
		_, _ = os.NewFile(3, "lifeline").Read(make([]byte, 1))
		os.Exit(0)
	}()
	serveRaw(&raw{})
}

// handler links a handler of this test program.
func handler(t *testing.T, name string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAHandlerThatKeepsTheContractHasNoFindings(t *testing.T) {
	var trialsRun []string
	found, err := Check(t.Context(), handler(t, "good"), Options{Done: func(trial string, _ []Finding) { trialsRun = append(trialsRun, trial) }})
	if err != nil || len(found) > 0 {
		t.Errorf("%v %+v", err, found)
	}
	if len(trialsRun) != len(trials) {
		t.Errorf("only %v were run", trialsRun)
	}
}

// broken are handlers, and what is said of them, as regular expressions.
var broken = map[string][]string{
	"exits":      {`handshake: It does not start: it ended \(exit status 3\) before its handshake; it said "no coffee"`},
	"chatty":     {`handshake: It does not start: the first line on its standard output must be 1\|1\|unix\|PATH\|grpc, .* it is "good morning"`},
	"future":     {`handshake: .* it speaks version "99" of the contract, this mlist speaks 1`},
	"tcp":        {`handshake: .* it listens on "tcp"`},
	"nobody":     {`handshake: It cannot be called at the socket`},
	"nameless":   {`describe: Its name, "no name", must be`},
	"demanding":  {`configuration: It refuses a configuration without any key .*url: is missing`},
	"hangs":      {`messages: A post like any other fails: no answer within`, `cancellation: It is not well .* has not returned`},
	"crashes":    {`messages: A post with NUL octets fails: .*the program died: exit status 7`},
	"fails":      {`messages: A post without a single octet fails: stage s: who is it from`},
	"injects":    {`messages: A post like any other fails: its reply is invalid: .*X: y`},
	"alone":      {`calls: Of 16 posts at once, \d+ fail; one says: stage s: one at a time`},
	"mumbles":    {`messages: .*its reply is invalid: stage s: no result`, `calls: One call for all its stages fails`},
	"credulous":  {`configuration: It takes an unknown key`, `configuration: It takes a configuration that is no JSON`, `calls: It answers a call for a stage that it does not have`, `lifeline: It outlives mlist`, `SIGTERM: It ends at SIGTERM`},
	"immortal":   {`lifeline: It outlives mlist`},
	"undraining": {`drain: Drain fails: not now`},
	"greedy":     {`describe: It needs "telepathy", which this mlist does not know`},
	"sneaky":     {`messages: A post like any other fails: its reply is invalid: stage s: it changes state, and has not declared that it needs "state"`},
	"guesses":    {`revisions: It handles a post whose list's settings have a revision that it was never told`},
	"blank":      {`revisions: It does not know a revision that is in the same request`},
	"leaves":     {`lifeline: Processes that it started outlive it`},
}

func TestWhatAHandlerBreaksIsSaid(t *testing.T) {
	// All at once: most of the time they wait.
	said := make(map[string]chan string)
	for name := range broken {
		path, told := handler(t, name), make(chan string, 1)
		said[name] = told
		go func() { told <- checked(t.Context(), path) }()
	}
	for name, want := range broken {
		t.Run(name, func(t *testing.T) {
			all := <-said[name]
			for _, w := range want {
				if !regexp.MustCompile(w).MatchString(all) {
					t.Errorf("no finding says %s:\n%s", w, all)
				}
			}
			if !strings.HasSuffix(all, "broken: true\n") {
				t.Errorf("nothing is broken:\n%s", all)
			}
		})
	}
}

// checked is what a check finds, a line for each.
func checked(ctx context.Context, path string) string {
	found, err := Check(ctx, path, Options{Timeout: 2 * time.Second})
	if err != nil {
		return err.Error()
	}
	var all strings.Builder
	for _, f := range found {
		fmt.Fprintf(&all, "%s: %s\n", f.Trial, f.Text)
	}
	fmt.Fprintf(&all, "broken: %t\n", Broken(found))
	return all.String()
}

func TestAConfigurationMakesADemandingHandlerPass(t *testing.T) {
	found, err := Check(t.Context(), handler(t, "demanding"), Options{Config: map[string]map[string]any{"s": {"url": "x"}}})
	if err != nil || Broken(found) {
		t.Errorf("%v %+v", err, found)
	}
}

func TestDescribeTellsWhatAProgramSaysOfItself(t *testing.T) {
	d, err := Describe(t.Context(), handler(t, "good"), []string{"second"}, map[string]map[string]any{"second": {"mots": 3}})
	if err != nil || d.Name != "good" || d.Version != "1.0" || len(d.Stages) != 2 {
		t.Errorf("%+v %v", d, err)
	}
	if len(d.Problems) != 1 || !strings.Contains(d.Problems[0], "mots: unknown key") {
		t.Errorf("problems %q", d.Problems)
	}
	if _, err := Describe(t.Context(), handler(t, "exits"), nil, nil); err == nil || !strings.Contains(err.Error(), "no coffee") {
		t.Errorf("%v", err)
	}
}

func TestWhatIsNoProgramIsAnErrorOfTheCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, path + "-missing", t.TempDir()} {
		if _, err := Check(t.Context(), p, Options{}); err == nil {
			t.Errorf("%s: no error", p)
		}
	}
}

// ask uses what mlist offers handlers.
func ask(ctx context.Context, p *sdk.Post) (sdk.Verdict, error) {
	n := 0
	for _, err := range p.Members(ctx, sdk.MemberFilter{}) {
		if err != nil {
			return sdk.Verdict{}, err
		}
		n++
	}
	if _, found, err := p.State().Get(ctx, "seen"); err != nil || found || n != 3 {
		return sdk.Verdict{}, fmt.Errorf("%d members, state found: %t, %w", n, found, err)
	}
	return sdk.Accept, p.State().Set("seen", "yes")
}

func TestAHandlerThatAsksIsAnswered(t *testing.T) {
	found, err := Check(t.Context(), handler(t, "asks"), Options{})
	if err != nil || len(found) > 0 {
		t.Errorf("%v %+v", err, found)
	}
}
