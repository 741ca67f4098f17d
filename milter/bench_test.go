package milter

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store/sqlstore"
)

// BenchmarkRCPT is what one answer at RCPT costs here, with the store and the handlers of a usual
// installation: `go test -bench RCPT -cpuprofile` shows where it goes.
func BenchmarkRCPT(b *testing.B) {
	ctx := b.Context()
	st, err := sqlstore.Open(ctx, "sqlite:"+filepath.Join(b.TempDir(), "mlist.db"), sqlstore.Options{Migrate: true})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	dev := address.Address{Local: "dev", Domain: "lists.test"}
	// Two lists: one that goes by From, where the envelope says nothing, and one whose handlers are asked about each sender.
	news := list.Defaults()
	news.SenderHeaders, news.RejectTheseNonmembers = []string{"envelope"}, []string{`^.*@spam\.test$`}
	for _, l := range []*list.List{{Address: dev, Settings: list.Defaults()}, {Address: address.Address{Local: "news", Domain: "lists.test"}, Settings: news}} {
		if err := st.CreateList(ctx, l); err != nil {
			b.Fatal(err)
		}
	}
	dir := b.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "standard"), "../plugins/standard").CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	h, err := host.Start(ctx, host.Config{Dir: dir, RunDir: b.TempDir(), Memory: 512 << 20, State: noState{}, Logger: slog.New(slog.DiscardHandler),
		Stages: strings.Split("loop authenticate posting limits mime", " ")})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			b.Error(err)
		}
	}()
	d := New(Config{Hostname: "mx.test", MaxSessions: 1, MaxMessageSize: 1, IdleTimeout: time.Minute, Listen: []string{"tcp:127.0.0.1:0"}}, st, h, slog.New(slog.DiscardHandler))
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.Run(run) }()
	<-d.Ready()
	defer func() { stop(); <-ended }()
	s := newSession(d, nil)
	if _, err := s.MailFrom("ann@net.test", nil); err != nil {
		b.Fatal(err)
	}
	for _, to := range []string{"dev@lists.test", "news@lists.test"} {
		b.Run(to, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r, err := s.RcptTo(to, nil); err != nil || !r.Continue() {
					b.Fatal(r, err)
				}
			}
		})
	}
}

// noState is what handlers have kept: nothing.
type noState struct{}

func (noState) PluginState(context.Context, int64, string, string, string) ([]byte, bool, error) {
	return nil, false, nil
}
