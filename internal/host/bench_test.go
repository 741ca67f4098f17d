package host

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/sdk/message"
)

// BenchmarkRun is a post through nine stages of one plugin, which is a program of its
// own and not this test, so that its memory is that of a real one.
func BenchmarkRun(b *testing.B) {
	dir := b.TempDir()
	if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "nine"), "./testdata/nine").CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	h, err := Start(b.Context(), Config{Dir: dir, RunDir: b.TempDir(), Stages: strings.Split("abcdefghi", ""), Memory: 512 << 20,
		Logger: slog.New(slog.DiscardHandler)})
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
	idle := pss(b, pid(h))
	p := post(b, "hello")
	header, body := bytes.Clone(p.Header.Bytes()), p.Body
	b.ResetTimer()
	for range b.N {
		p.Header, p.Body, p.Rules, p.Notes = message.ParseHeader(header), body, nil, nil
		if _, err := h.Run(b.Context(), p); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(idle, "idle-MiB-PSS")
	b.ReportMetric(pss(b, pid(h)), "MiB-PSS")
}

// pss is the memory of a process in MiB, its share of what is shared included.
func pss(b *testing.B, pid int) float64 {
	b.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if kb, ok := strings.CutPrefix(lines.Text(), "Pss:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(kb, "kB")))
			if err != nil {
				b.Fatal(err)
			}
			return float64(n) / 1024
		}
	}
	b.Fatal("no Pss")
	return 0
}
