package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/proto"
)

// The zoo: this test program is every plugin that the tests need. A link to it in a
// plugin directory becomes the animal that the link is named after.

func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	switch {
	case os.Getenv("MLIST_TEST_HOST") != "":
		beHost()
	case zoo[name] != nil:
		zoo[name]()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var zoo = map[string]func(){
	"good":     func() { sdk.Serve("good", "1.0", goodStages()...) },
	"second":   func() { sdk.Serve("second", "2.0", stage("x", accept), stage("y", accept)) },
	"twin":     func() { sdk.Serve("twin", "1.0", stage("a", accept)) },
	"wild":     func() { sdk.Serve("wild", "1.0", stage("wild", wild), stage("after", accept)) },
	"picky":    func() { sdk.Serve("picky", "1.0", sdk.Stage{Name: "picky", Handler: &picky{}}) },
	"nonsense": func() { serveRaw(&nonsense{}) },
	"chatty":   beChatty,
	"loud":     func() { fmt.Println("good morning"); sdk.Serve("loud", "1.0", stage("loud", accept)) },
	"parent":   beParent,
	"deaf":     beDeaf,
	"frozen":   func() { signal.Ignore(syscall.SIGTERM); serveRaw(&frozen{}) },
	"slow":     func() { time.Sleep(time.Minute) },
	"slowish":  func() { time.Sleep(300 * time.Millisecond); sdk.Serve("slowish", "1.0", stage("slowish", accept)) },
	"stranger": func() { fmt.Println("hello, world"); time.Sleep(time.Minute) },
	"exits":    func() { fmt.Fprintln(os.Stderr, "no coffee"); os.Exit(3) },
	"silent":   beSilent,
	"foreign":  func() { handshake("another", sdk.ProtocolVersion) },
	"old":      func() { handshake(sdk.CookieValue, 99) },
	"tcp":      func() { fmt.Println("1|1|tcp|127.0.0.1:1|grpc"); time.Sleep(time.Minute) },
	"once":     beOnce,
	"bodiless": beBodiless,
	"flood":    beFlood,
	"nameless": func() { serveRaw(&nameless{}) },
	"nth":      beNth,
	"runaway":  beRunaway,
	"babble":   beBabble,
	"netrpc":   func() { fmt.Println("1|1|unix|/nowhere|netrpc"); time.Sleep(time.Minute) },
}

func stage(name string, f handlerFunc) sdk.Stage {
	return sdk.Stage{Name: name, Body: true, Handler: f}
}

type handlerFunc func(context.Context, *sdk.Post) (sdk.Verdict, error)

func (f handlerFunc) Handle(ctx context.Context, p *sdk.Post) (sdk.Verdict, error) { return f(ctx, p) }

func accept(context.Context, *sdk.Post) (sdk.Verdict, error) { return sdk.Accept, nil }

// goodStages are nine stages that do a little work each: the load of BenchmarkRun.
func goodStages() []sdk.Stage {
	var stages []sdk.Stage
	for i := range 9 {
		name := string(rune('a' + i))
		stages = append(stages, sdk.Stage{Name: name, Body: i == 8, Digests: i == 2 || i == 8, Handler: handlerFunc(func(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
			if p.Header.Get("Subject") == "stop at "+name {
				p.Header.Append("X-Lost", "this is not kept")
				p.Notes["why"] = name
				return sdk.Hold("stopped", "because of "+p.Header.Get("From")), nil
			}
			p.Header.Append("X-Stage", name)
			p.Notes["last"] = name
			p.Recipients.Add(name + "@example.org")
			if p.Body != nil {
				return sdk.Accept, p.Body.Splice(message.Splice{Offset: p.Body.Size(), Insert: []byte("-- \r\nfooter\r\n")})
			}
			return sdk.Accept, nil
		})})
	}
	return stages
}

// wild does what the subject says.
func wild(ctx context.Context, p *sdk.Post) (sdk.Verdict, error) {
	p.Header.Append("X-Wild", "was here")
	switch p.Header.Get("Subject") {
	case "panic":
		panic("wild animal")
	case "crash":
		go func() { panic("goroutine crash") }()
		<-ctx.Done()
	case "exit":
		os.Exit(7)
	case "hang":
		select {}
	case "wait":
		<-ctx.Done()
		return sdk.Verdict{}, ctx.Err()
	case "pause":
		time.Sleep(300 * time.Millisecond)
	case "error":
		return sdk.Verdict{}, errors.New("no luck today")
	case "no verdict":
		return sdk.Verdict{}, nil
	case "env":
		p.Notes["env"] = strings.Join(os.Environ(), "\n")
	}
	return sdk.Accept, nil
}

// picky has a configuration.
type picky struct{ config pickyConfig }

type pickyConfig struct {
	Taste string `json:"taste" help:"sweet or sour"`
	Count int    `json:"count"`
}

func (c *pickyConfig) Validate() error {
	if c.Taste != "sweet" && c.Taste != "sour" {
		return fmt.Errorf("taste: %q is neither sweet nor sour", c.Taste)
	}
	return nil
}

func (p *picky) Config() any {
	p.config = pickyConfig{Taste: "sour", Count: 3}
	return &p.config
}

func (p *picky) Handle(_ context.Context, post *sdk.Post) (sdk.Verdict, error) {
	post.Notes["config"] = fmt.Sprintf("%s %d at %s", p.config.Taste, p.config.Count, post.Hostname)
	return sdk.Accept, nil
}

// beChatty prints where a plugin must not, and what go-plugin's parser dies of.
func beChatty() {
	sdk.Serve("chatty", "1.0", stage("chatty", func(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
		for range 100 { // more than a pipe holds
			fmt.Println(strings.Repeat("stdout ", 100))
		}
		fmt.Fprintln(os.Stderr, `{"@message": 5}`)
		fmt.Fprintln(os.Stderr, "null")
		fmt.Fprintln(os.Stderr, `{"@level": {}, "msg": []}`)
		cmd := exec.Command("/bin/echo", "a child of the plugin")
		cmd.Stdout = os.NewFile(1, "stdout")
		return sdk.Accept, cmd.Run()
	}))
}

// beParent starts a process that outlives it if it can, and holds its standard error.
func beParent() {
	cmd := exec.Command("/bin/sleep", "600")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	note(fmt.Sprintf(".child-%d", cmd.Process.Pid))
	sdk.Serve("parent", "1.0", stage("parent", func(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
		if p.Header.Get("Subject") == "exit" {
			os.Exit(7)
		}
		return sdk.Accept, nil
	}))
}

// note leaves a file beside the link that this program was started by.
func note(name string) {
	if err := os.WriteFile(filepath.Join(filepath.Dir(os.Args[0]), name), nil, 0o600); err != nil {
		panic(err)
	}
}

// beOnce starts well once, and never again.
func beOnce() {
	if _, err := os.Stat(filepath.Join(filepath.Dir(os.Args[0]), ".once")); err == nil {
		fmt.Fprintln(os.Stderr, "once is enough")
		os.Exit(4)
	}
	note(".once")
	sdk.Serve("once", "1.0", stage("once", wild))
}

// beBodiless wants no body, until it finds that a newer program is there.
func beBodiless() {
	_, err := os.Stat(filepath.Join(filepath.Dir(os.Args[0]), ".newer"))
	st := stage("z", func(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
		if err == nil && p.Body == nil {
			return sdk.Verdict{}, errors.New("no body")
		}
		return sdk.Accept, nil
	})
	st.Body = err == nil
	sdk.Serve("bodiless", "1.0", st)
}

// beFlood prints a line that is longer than any memory should hold, then very many, and
// then a few.
func beFlood() {
	go func() {
		for range 4000 {
			fmt.Fprint(os.Stderr, strings.Repeat("flood ", 1000))
		}
		for range 20_000 {
			fmt.Fprintln(os.Stderr, strings.Repeat("flood ", 20))
		}
		for range time.Tick(100 * time.Millisecond) {
			fmt.Fprintln(os.Stderr, "drip")
		}
	}()
	sdk.Serve("flood", "1.0", stage("flood", accept))
}

// beDeaf speaks the contract without go-plugin, and does not want to end.
func beDeaf() {
	signal.Ignore(syscall.SIGTERM)
	l, err := net.Listen("unix", filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "deaf"))
	if err != nil {
		panic(err)
	}
	s, err := sdk.NewServer("deaf", "1.0", stage("deaf", accept))
	if err != nil {
		panic(err)
	}
	g := grpc.NewServer()
	proto.RegisterPluginServer(g, s)
	fmt.Printf("1|1|unix|%s|grpc\n", l.Addr())
	_ = g.Serve(l)
	select {}
}

// beSilent listens, and says nothing.
func beSilent() {
	l, err := net.Listen("unix", filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "silent"))
	if err != nil {
		panic(err)
	}
	fmt.Printf("1|1|unix|%s|grpc\n", l.Addr())
	time.Sleep(time.Minute)
}

// serveRaw serves through go-plugin without the SDK: no lifeline, no care about output.
func serveRaw(s proto.PluginServer) { serve(s, sdk.CookieValue, sdk.ProtocolVersion) }

func handshake(cookie string, version uint) { serve(&nonsense{}, cookie, version) }

func serve(s proto.PluginServer, cookie string, version uint) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: version, MagicCookieKey: sdk.CookieKey, MagicCookieValue: cookie},
		Plugins:         plugin.PluginSet{sdk.PluginSet: &rawPlugin{server: s}},
		GRPCServer: func(o []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(o, grpc.MaxSendMsgSize(64<<20))...)
		},
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Off}),
	})
}

type rawPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	server proto.PluginServer
}

func (p *rawPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	proto.RegisterPluginServer(s, p.server)
	return nil
}

func (p *rawPlugin) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this side serves")
}

// raw answers everything but Handle.
type raw struct {
	proto.UnimplementedPluginServer
}

func (raw) Configure(context.Context, *proto.ConfigureRequest) (*proto.ConfigureReply, error) {
	return &proto.ConfigureReply{}, nil
}
func (raw) Health(context.Context, *proto.HealthRequest) (*proto.HealthReply, error) {
	return &proto.HealthReply{}, nil
}
func (raw) Drain(context.Context, *proto.DrainRequest) (*proto.DrainReply, error) {
	return &proto.DrainReply{}, nil
}

type nameless struct{ raw }

func (nameless) Describe(context.Context, *proto.DescribeRequest) (*proto.DescribeReply, error) {
	return &proto.DescribeReply{Name: "../../etc", Stages: []*proto.Stage{{Name: "nameless"}}}, nil
}

// frozen stops itself, so that it answers nothing any more.
type frozen struct{ raw }

func (frozen) Describe(context.Context, *proto.DescribeRequest) (*proto.DescribeReply, error) {
	return &proto.DescribeReply{Name: "frozen", Version: "1", Stages: []*proto.Stage{{Name: "frozen"}}}, nil
}

func (frozen) Handle(_ context.Context, req *proto.HandleRequest) (*proto.HandleReply, error) {
	if strings.Contains(string(req.GetHeader()), "freeze") {
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		time.Sleep(time.Minute) // until every thread has noticed
	}
	return &proto.HandleReply{Results: []*proto.StageResult{{Stage: "frozen", Verdict: &proto.Verdict{Kind: proto.Verdict_ACCEPT}}}}, nil
}

// nonsense answers what the subject says, see replies_test.go.
type nonsense struct{ raw }

func (nonsense) Describe(context.Context, *proto.DescribeRequest) (*proto.DescribeReply, error) {
	return &proto.DescribeReply{Name: "nonsense", Version: "0", Stages: []*proto.Stage{{Name: "n1", Needs: []string{"body"}}, {Name: "n2", Needs: []string{"body"}}}}, nil
}

func (nonsense) Handle(_ context.Context, req *proto.HandleRequest) (*proto.HandleReply, error) {
	fmt.Println("a plugin without the SDK prints")
	r := &proto.HandleReply{Results: []*proto.StageResult{
		{Stage: "n1", Verdict: &proto.Verdict{Kind: proto.Verdict_ACCEPT}, HeaderOps: []*proto.HeaderOp{{Kind: proto.HeaderOp_APPEND, Name: "X-N", Value: "1"}},
			Splices: []*proto.Splice{{Insert: []byte("n1 ")}}, Notes: map[string]string{"n": "1"}, Rules: []*proto.RecipientRule{{Kind: proto.RecipientRule_SELECT}}},
		{Stage: "n2", Verdict: &proto.Verdict{Kind: proto.Verdict_ACCEPT}},
	}}
	subject := message.ParseHeader(req.GetHeader()).Get("Subject")
	for _, c := range nonsenseCases {
		if c.name == subject {
			c.spoil(r)
			return r, nil
		}
	}
	return r, nil
}
