package sender

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mlist/mlist/outbound/internal/fakemta"
)

func TestMain(m *testing.M) {
	if os.Getenv("SENDER_TEST_SINK") != "" {
		serveSink()
		return
	}
	goleak.VerifyTestMain(m)
}

// serveSink is the server side of the benchmark, in a process of its own so that its
// work is not counted as the client's.
func serveSink() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("listening", ln.Addr())
	fakemta.ServeSink(ln)
}

func startSink(b *testing.B) string {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SENDER_TEST_SINK=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(strings.TrimPrefix(line, "listening "))
}

func cpu() time.Duration {
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// BenchmarkSend measures whole transactions of a 4 KB message on one connection.
func BenchmarkSend(b *testing.B) {
	addr := startSink(b)
	content := strings.Repeat("a line of mail that is about as long as most lines in mail are\r\n", 64)
	for _, n := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("recipients=%d", n), func(b *testing.B) {
			c := dialed(b, config(addr))
			tr := &Transaction{From: "dev-bounces@lists.example.org", Content: strings.NewReader(content), Size: int64(len(content))}
			for i := range n {
				tr.Recipients = append(tr.Recipients, fmt.Sprintf("member%06d@members.example.net", i))
			}
			b.ReportAllocs()
			start, cpu0 := time.Now(), cpu()
			for b.Loop() {
				if res, err := c.Send(b.Context(), tr); err != nil || res.Accepted != n {
					b.Fatal(res.Accepted, err)
				}
			}
			total := float64(n) * float64(b.N)
			b.ReportMetric(total/time.Since(start).Seconds(), "rcpts/s")
			b.ReportMetric(float64((cpu()-cpu0).Nanoseconds())/total, "cpu-ns/rcpt")
		})
	}
}
