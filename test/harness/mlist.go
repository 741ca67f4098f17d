package harness

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options say how an installation differs from the default.
type Options struct {
	MTA string // host:port where outbound hands over
	// Set adds or changes keys of the configuration: "outbound.connections" = "4". Values
	// are TOML.
	Set map[string]string
	// Config is the name of the configuration file: several processes of one installation may
	// differ in it. "mlist.toml" when empty.
	Config string
	// Under is a command that daemons are run under: it gets their command line behind its own.
	Under []string
	// DNS stands in for DNS: TXT records by name. No test asks the net.
	DNS map[string][]string
}

// Mlist is an installation of mlist in a directory of its own.
type Mlist struct {
	Dir    string
	Bin    string // the mlist binary
	Config string // path of the configuration file
	LMTP   string // path of the LMTP socket
	Milter string // path of the milter's socket
	Spool  string
	under  []string

	mu     sync.Mutex
	proc   *exec.Cmd
	exited chan struct{} // closed when proc has ended
	err    error         // how proc ended
	log    bytes.Buffer
}

// Root is the directory of the module, found from the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, e := os.Stat(filepath.Join(dir, "go.mod")); e == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}

// Build builds mlist and its plugins, as `make build` does, and returns the dist
// directory. MLIST_DIST names one that is built already.
func Build(ctx context.Context) (string, error) {
	if dist := os.Getenv("MLIST_DIST"); dist != "" {
		return filepath.Abs(dist)
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "make", "-s", "build")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make build: %w: %s", err, out)
	}
	return filepath.Join(root, "dist"), nil
}

// Install makes an installation under dir with the binaries of dist.
func Install(dir, dist string, opts Options) (*Mlist, error) {
	m := &Mlist{
		Dir:    dir,
		Bin:    filepath.Join(dist, "mlist"),
		Config: filepath.Join(dir, cmp.Or(opts.Config, "mlist.toml")),
		LMTP:   filepath.Join(dir, "run", "lmtp.sock"),
		Milter: filepath.Join(dir, "run", "milter.sock"),
		Spool:  filepath.Join(dir, "spool"),
		under:  opts.Under,
	}
	for _, d := range []string{"", "run"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	quote := func(s string) string { return fmt.Sprintf("%q", s) }
	set := map[string]string{
		"hostname":            quote("lists.test"),
		"store.url":           quote("sqlite:" + filepath.Join(dir, "mlist.db")),
		"archive.url":         quote("dir:" + filepath.Join(dir, "archive")),
		"spool.url":           quote("dir:" + m.Spool),
		"lmtpd.listen":        "[" + quote("unix:"+m.LMTP) + "]",
		"milter.listen":       "[" + quote("unix:"+m.Milter) + "]",
		"control.listen":      quote("unix:" + filepath.Join(dir, "run", "control.sock")),
		"metrics.listen":      quote(""),
		"pipeline.plugin_dir": quote(filepath.Join(dist, "plugins")),
		"pipeline.retry_min":  quote("100ms"),
		"pipeline.retry_max":  quote("1s"),
		"outbound.mta":        quote("smtp://" + opts.MTA),
	}
	maps.Copy(set, opts.Set)
	// Dotted keys at the top level are TOML too; sorted, a file reads the same each time.
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(set)) {
		fmt.Fprintf(&text, "%s = %s\n", key, set[key])
	}
	if err := os.WriteFile(m.Config, []byte(text.String()), 0o644); err != nil {
		return nil, err
	}
	if opts.DNS == nil {
		opts.DNS = map[string][]string{}
	}
	dns, err := json.Marshal(opts.DNS)
	if err != nil {
		return nil, err
	}
	return m, os.WriteFile(m.dnsFile(), dns, 0o644)
}

func (m *Mlist) dnsFile() string { return filepath.Join(m.Dir, "dns.json") }

// environment is what mlist is started with.
func (m *Mlist) environment() []string {
	return append(os.Environ(), "MLIST_DNS_FILE="+m.dnsFile())
}

// Start runs `mlist serve` and waits until it says that it is ready.
func (m *Mlist) Start(ctx context.Context) error { return m.StartDaemon(ctx, "serve") }

// StartDaemon runs `mlist NAME` in the foreground and waits until it is ready.
func (m *Mlist) StartDaemon(ctx context.Context, args ...string) error {
	line := slices.Concat(m.under, []string{m.Bin, "--config", m.Config}, args)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = m.environment()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start mlist: %w", err)
	}
	ready := make(chan struct{})
	exited := make(chan struct{})
	m.mu.Lock()
	m.proc, m.exited, m.err = cmd, exited, nil
	m.mu.Unlock()
	go func() {
		m.follow(stderr, ready)
		err := cmd.Wait()
		m.mu.Lock()
		m.err = err
		m.mu.Unlock()
		close(exited)
	}()
	timeout := time.NewTimer(30 * time.Second)
	defer timeout.Stop()
	select {
	case <-ready:
		return nil
	case <-exited:
		return fmt.Errorf("mlist ended before it was ready: %v\n%s", m.err, m.Log())
	case <-timeout.C:
		m.Kill()
		return fmt.Errorf("mlist is not ready after 30 s\n%s", m.Log())
	case <-ctx.Done():
		m.Kill()
		return ctx.Err()
	}
}

// follow keeps the log and closes ready at the line that says so.
func (m *Mlist) follow(r io.Reader, ready chan struct{}) {
	said := false
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		m.mu.Lock()
		m.log.WriteString(line)
		m.mu.Unlock()
		if !said && (strings.Contains(line, "msg=ready") || strings.Contains(line, `"msg":"ready"`)) {
			said = true
			close(ready)
		}
		if err != nil {
			return
		}
	}
}

// Log is what mlist has logged since the installation was made.
func (m *Mlist) Log() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log.String()
}

// PID is the process id of the daemon started last.
func (m *Mlist) PID() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc == nil {
		return 0
	}
	return m.proc.Process.Pid
}

// Signal sends a signal to the daemon.
func (m *Mlist) Signal(sig os.Signal) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc == nil {
		return errors.New("mlist is not running")
	}
	return m.proc.Process.Signal(sig)
}

// Kill ends the daemon with SIGKILL and waits for its end.
func (m *Mlist) Kill() { m.end(syscall.SIGKILL, time.Minute) }

// Stop ends the daemon with SIGTERM, so that it drains, and waits for its end.
func (m *Mlist) Stop() error {
	if m.PID() == 0 {
		return nil
	}
	if !m.end(syscall.SIGTERM, 40*time.Second) {
		m.Kill()
		return fmt.Errorf("mlist did not end within 40 s of SIGTERM\n%s", m.Log())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return fmt.Errorf("mlist ended with %w\n%s", m.err, m.log.String())
	}
	return nil
}

func (m *Mlist) end(sig os.Signal, within time.Duration) bool {
	m.mu.Lock()
	exited := m.exited
	m.mu.Unlock()
	if exited == nil {
		return true
	}
	m.Signal(sig)
	select {
	case <-exited:
		return true
	case <-time.After(within):
		return false
	}
}

// Command runs an administrator's command and returns what it printed on stdout.
func (m *Mlist) Command(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, m.Bin, append([]string{"--config", m.Config}, args...)...)
	cmd.Env = m.environment()
	cmd.Stdin = stdin
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("mlist %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}
