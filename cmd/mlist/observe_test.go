package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/control"
	"github.com/mlist/mlist/internal/metrics"
)

// read asks a running mlist over HTTP.
func (p *process) read(t *testing.T, page string) (status int, text string) {
	t.Helper()
	client := &http.Client{Timeout: bound, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(p.dir, "metrics.sock"))
	}}}
	res, err := client.Get("http://mlist/" + page)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// shows waits until a page has all of the lines.
func (p *process) shows(t *testing.T, page string, want ...string) {
	t.Helper()
	for deadline := time.Now().Add(bound); ; time.Sleep(50 * time.Millisecond) {
		_, text := p.read(t, page)
		missing := ""
		for _, line := range want {
			if !strings.Contains(text, line) {
				missing = line
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s lacks %s:\n%s", page, missing, text)
		}
	}
}

func TestAPostIsSeenInTheMetrics(t *testing.T) {
	dir := installed(t, "")
	own := t.TempDir() // plugins that can be taken away
	program, err := os.ReadFile(filepath.Join(plugins(t), "standard"))
	if err != nil {
		t.Fatal(err)
	}
	standard := filepath.Join(own, "standard")
	if err := os.WriteFile(standard, program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(own, 0o755); err != nil {
		t.Fatal(err)
	}
	base := fmt.Sprintf("metrics.listen = \"unix:%s/metrics.sock\"\noutbound.mta = \"unix:/nowhere\"\npipeline.plugin_dir = %q\n", dir, own)
	configure(t, dir, base)
	p := start(t, dir, "serve")
	p.says(t, "msg=ready", 1)
	if status, text := p.read(t, "healthz"); status != 200 || !strings.Contains(text, `"ok": true`) {
		t.Errorf("healthz: %d %s", status, text)
	}
	if status, text := p.read(t, "readyz"); status != 200 || !strings.Contains(text, `"name": "plugin standard"`) {
		t.Errorf("readyz: %d %s", status, text)
	}
	command(t, dir, "list", "create", "dev@lists.test")
	command(t, dir, "member", "add", "dev@lists.test", "ann@net.test", "bob@net.test")
	lmtp(t, dir, "LHLO mx.test", 250, "MAIL FROM:<ann@net.test>", 250, "RCPT TO:<nobody@lists.test>", 550, "RCPT TO:<dev@lists.test>", 250, "DATA", 354,
		"From: ann@net.test\r\nTo: dev@lists.test\r\nSubject: x\r\n\r\nHello.\r\n.", 250)
	p.says(t, `msg="post accepted"`, 1) // before the queues are counted for the first time
	p.shows(t, "metrics",
		`mlist_lmtpd_replies_total{code="250",command="DATA"} 1`, `mlist_lmtpd_replies_total{code="550",command="RCPT"} 1`, "mlist_lmtpd_kept_total 1",
		`mlist_pipeline_entries_total{outcome="accepted"} 1`, "mlist_pipeline_recipients_total 2", `mlist_stage_verdicts_total{stage="posting",verdict="accept"} 1`,
		`mlist_outbound_transactions_total{result="nothing"} `, "mlist_mta_up 0", `mlist_plugin_up{plugin="standard"} 1`, `mlist_ready{daemon="outbound"} 1`,
		`mlist_disk_free_bytes{of="spool"}`, `mlist_disk_free_bytes{of="trace"}`, `mlist_queue_unserved_ratio{queue="incoming"} 0`, "mlist_spool_full 0")
	p.shows(t, "metrics", `mlist_queue_entries{queue="outgoing"} 1`, "mlist_queue_recipients 2", `mlist_queue_entries{queue="failed"} 0`)
	// Reloads are counted, and one that failed shows.
	configure(t, dir, "nonsense = 1\n")
	p.signal(t, syscall.SIGHUP)
	p.shows(t, "metrics", "mlist_config_last_reload_success 0", `mlist_config_reloads_total{result="failure"} 1`)
	// Status finds what runs, though the file does not tell any more where.
	problem(t, dir, "the configuration file would not be taken on, and what runs goes on with what it has: ")
	configure(t, dir, base)
	problem(t, dir, "lmtpd, milter, pipeline, outbound did not take the configuration on at ")
	if status, text := p.read(t, "readyz"); status != 200 {
		t.Errorf("it works with what it has: %d %s", status, text)
	}
	command(t, dir, "reload")
	well(t, dir, "configuration")

	// A plugin that dies and does not come back: not ready, with the reason.
	if err := os.Rename(standard, filepath.Join(dir, "away")); err != nil {
		t.Fatal(err)
	}
	var st statusJSON
	if err := json.Unmarshal([]byte(statusOf(t, dir)), &st); err != nil {
		t.Fatal(err)
	}
	if len(st.Plugins) != 1 || st.Plugins[0].PID == 0 {
		t.Fatalf("plugins %+v", st.Plugins)
	}
	if err := syscall.Kill(st.Plugins[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.shows(t, "readyz", `"reason": "down; posts wait until it is back: died: signal: killed"`, `"ok": false`)
	if status, _ := p.read(t, "readyz"); status != 503 {
		t.Errorf("readyz: %d", status)
	}
	if status, _ := p.read(t, "healthz"); status != 200 {
		t.Errorf("healthz: %d: a restart would help nobody", status)
	}
	if out := statusOf(t, dir); !strings.Contains(out, "plugin standard: down; posts wait until it is back: ") {
		t.Errorf("status: %s", out)
	}
	if err := os.Rename(filepath.Join(dir, "away"), standard); err != nil {
		t.Fatal(err)
	}
	p.shows(t, "metrics", `mlist_plugin_up{plugin="standard"} 1`, `mlist_plugin_restarts_total{plugin="standard"} 1`)
	// One that comes back each time, and is lost again.
	for n := 2; n <= oftenLost; n++ {
		if err := json.Unmarshal([]byte(statusOf(t, dir)), &st); err != nil || len(st.Plugins) != 1 || st.Plugins[0].PID == 0 {
			t.Fatalf("plugins %+v: %v", st.Plugins, err)
		}
		if err := syscall.Kill(st.Plugins[0].PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		p.shows(t, "metrics", `mlist_plugin_up{plugin="standard"} 1`, fmt.Sprintf(`mlist_plugin_restarts_total{plugin="standard"} %d`, n))
	}
	problem(t, dir, "plugin standard is lost again and again, and posts wait meanwhile: 3 times in 15 minutes, last because of this: died: signal: killed")
	if out := try(t, dir, "doctor", "--no-dns"); !strings.Contains(out, "What runs is not well: plugin standard is lost again and again") {
		t.Errorf("doctor: %s", out)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.ends(t); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// statusOf is what `mlist status --json` prints, whatever it finds.
func statusOf(t *testing.T, dir string) string {
	t.Helper()
	return try(t, dir, "status", "--json")
}

func TestSingleDaemonsShowTheirMetricsBesideEachOther(t *testing.T) {
	c := config.Default()
	tests := []struct {
		which    parts
		instance string
		tcp      string
		unix     string
	}{
		{everything, "", "tcp:127.0.0.1:9130", "unix:/run/m.sock"},
		{parts{lmtpd: true}, "", "tcp:127.0.0.1:9131", "unix:/run/m-lmtpd.sock"},
		{parts{milter: true}, "", "tcp:127.0.0.1:9132", "unix:/run/m-milter.sock"},
		{parts{pipeline: true}, "", "tcp:127.0.0.1:9133", "unix:/run/m-pipeline.sock"},
		{parts{outbound: true}, "", "tcp:127.0.0.1:9134", "unix:/run/m-outbound.sock"},
		{parts{outbound: true}, "0000-7fff", "", "unix:/run/m-outbound-0000-7fff.sock"},
	}
	for _, tt := range tests {
		c.Metrics.Listen = "tcp:127.0.0.1:9130"
		if got := metricsAddress(c, tt.which, tt.instance); got != tt.tcp {
			t.Errorf("%+v %s: %q, want %q", tt.which, tt.instance, got, tt.tcp)
		}
		c.Metrics.Listen = "unix:/run/m.sock"
		if got := metricsAddress(c, tt.which, tt.instance); got != tt.unix {
			t.Errorf("%+v %s: %q, want %q", tt.which, tt.instance, got, tt.unix)
		}
	}
	c.Metrics.Listen = ""
	if got := metricsAddress(c, everything, ""); got != "" {
		t.Errorf("off: %q", got)
	}
}

func TestASingleDaemonHasMetricsOfItsOwn(t *testing.T) {
	dir, _ := watched(t, "")
	p := start(t, dir, "lmtpd")
	p.says(t, "msg=ready", 1)
	if err := os.Symlink(filepath.Join(dir, "metrics-lmtpd.sock"), filepath.Join(dir, "metrics.sock")); err != nil {
		t.Fatal(err)
	}
	p.shows(t, "metrics", `mlist_ready{daemon="lmtpd"} 1`, `mlist_queue_unserved_ratio{queue="outgoing"} 1`)
	if status, text := p.read(t, "readyz"); status != 200 || strings.Contains(text, "plugin") {
		t.Errorf("readyz: %d %s", status, text)
	}
}

func TestMlistRunsWithoutAPortForItsMetrics(t *testing.T) {
	dir := installed(t, "")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := start(t, dir, "lmtpd", "--metrics", "tcp:"+l.Addr().String())
	p.says(t, "msg=ready", 1)
	p.says(t, "level=WARN msg=\"nobody can read the metrics of this process", 1)
	cmd := exec.Command("mlist", "--config", filepath.Join(dir, "mlist.toml"), "lmtpd", "--metrics", "9130")
	if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != exitUsage || !strings.Contains(string(out), "--metrics: ") {
		t.Errorf("a bad address: %s", out)
	}
}

// What nothing was written to yet is not there, and no reason to start anew.
func TestAliveWithoutADirectory(t *testing.T) {
	s := &server{metrics: metrics.New(), disk: filepath.Join(t.TempDir(), "trace")}
	s.taken.Store(&control.Config{})
	if err := s.alive(); err != nil {
		t.Error(err)
	}
	s.disk = filepath.Join(os.Args[0], "no directory")
	if err := s.alive(); err == nil {
		t.Error("whatever the disk says")
	}
}

// Who asks a probe that does not come back is told so, and does not start another.
func TestAProbeThatIsStuckIsAskedOnce(t *testing.T) {
	p := probe{patience: 50 * time.Millisecond}
	release, asked := make(chan struct{}), make(chan struct{}, 10)
	stuck := func() error {
		asked <- struct{}{}
		<-release
		return nil
	}
	errs := make(chan error, 2)
	for range 2 {
		go func() { errs <- p.ask(stuck) }()
	}
	for range 2 {
		if err := <-errs; err != errNoAnswer {
			t.Errorf("stuck: %v", err)
		}
	}
	if len(asked) != 1 {
		t.Errorf("asked %d times", len(asked))
	}
	close(release)
	p.patience = bound
	for deadline := time.Now().Add(bound); p.ask(func() error { return nil }) != nil; {
		if time.Now().After(deadline) {
			t.Fatal("it does not recover")
		}
	}
	if got := metrics.HealthOf([]metrics.Check{checkOf("x", errNoAnswer)}); got.OK || got.Checks[0].Reason == "" {
		t.Errorf("%+v", got)
	}
}

// try runs a command and returns what it prints, whatever its status.
func try(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("mlist", append([]string{"--config", filepath.Join(dir, "mlist.toml")}, args...)...)
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out)
}
