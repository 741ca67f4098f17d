// Package postgres starts throwaway PostgreSQL servers for tests: on a unix socket alone, in
// a directory of their own, gone when they stop.
package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mlist/mlist/test/harness"
)

// ErrMissing is that no PostgreSQL server is installed, or that none can be started here.
var ErrMissing = errors.New("no PostgreSQL: install Debian's package postgresql")

// Options say how a server differs from one that serves a test on its own machine, where
// nothing need last.
type Options struct {
	// Durable is for who ends the server, or measures it: what is written is synced.
	Durable bool
	// Listen is an address, "HOST:PORT", beside the unix socket. Whoever reaches it may do
	// anything: it must be nobody's but the test's.
	Listen string
	// Settings are the server's own, beside those that Start makes.
	Settings map[string]string
}

// Server is a server that runs.
type Server struct {
	dir    string
	bin    string
	as     *syscall.SysProcAttr
	log    string
	opts   Options
	server *exec.Cmd
	ended  chan error
	remove func()
}

const (
	startTime = 30 * time.Second
	stopTime  = 20 * time.Second
)

// Start makes a database cluster and starts its server.
func Start(ctx context.Context, opts Options) (*Server, error) {
	return create(ctx, opts, func(s *Server) error {
		out, err := s.command(ctx, "initdb", "--pgdata="+s.data(), "--auth=trust", "--username=mlist", "--encoding=UTF8",
			"--locale=C.UTF-8", "--no-sync").CombinedOutput()
		if err != nil {
			return fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
		}
		return s.trust()
	})
}

// create makes the directory of a server, has it filled, and starts the server.
func create(ctx context.Context, opts Options, fill func(*Server) error) (_ *Server, err error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, opts: opts}
	if s.dir, s.remove, err = harness.TempDir("postgres"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.remove()
		}
	}()
	if err := s.drop(); err != nil {
		return nil, err
	}
	s.log = filepath.Join(s.dir, "log")
	if err := fill(s); err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// trust lets whoever reaches the server's address in.
func (s *Server) trust() error {
	if s.opts.Listen == "" {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(s.data(), "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("host all all samenet trust\nhost replication all samenet trust\n")
	return errors.Join(err, f.Close())
}

// binaries is the folder of the server's programs.
func binaries() (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil { // the others are where it really is
			return filepath.Dir(path), nil
		}
	}
	find := func() []string {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is right
		slices.Sort(found)
		return found
	}
	found := find()
	if len(found) == 0 {
		if out, err := exec.Command(filepath.Join(root(), "test", "install-postgresql")).CombinedOutput(); err != nil || len(out) > 0 {
			os.Stderr.Write(out)
		}
		if found = find(); len(found) == 0 {
			return "", ErrMissing
		}
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// root is the checkout's: that of the folder in which Go runs tests, or of where one is.
func root() string {
	dir, err := os.Getwd()
	for err == nil && dir != "/" {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	return ""
}

// drop gives the directory to a user under whom the server runs: it refuses to run as root.
func (s *Server) drop() error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMissing, err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	s.as = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return os.Chown(s.dir, uid, gid)
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, filepath.Join(s.bin, program), args...)
	c.SysProcAttr = s.as
	c.Dir = s.dir
	return c
}

func (s *Server) start(ctx context.Context) error {
	set := map[string]string{"listen_addresses": "", "shared_buffers": "16MB", "max_connections": "100"}
	if !s.opts.Durable {
		maps.Copy(set, map[string]string{"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"})
	}
	if s.opts.Listen != "" {
		host, port, err := net.SplitHostPort(s.opts.Listen)
		if err != nil {
			return err
		}
		maps.Copy(set, map[string]string{"listen_addresses": host, "port": port})
	}
	maps.Copy(set, s.opts.Settings)
	args := []string{"-D", s.data(), "-k", s.dir}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		args = append(args, "-c", name+"="+set[name])
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	c := s.command(context.WithoutCancel(ctx), "postgres", args...)
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		return err
	}
	s.server, s.ended = c, make(chan error, 1)
	go func() { s.ended <- c.Wait() }()
	ready, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		err := s.command(ready, "pg_isready", "-q", "-h", s.dir, "-p", s.port()).Run()
		if err == nil {
			return nil
		}
		if no := (*exec.ExitError)(nil); !errors.As(err, &no) && ready.Err() == nil {
			return errors.Join(err, s.end())
		}
		select {
		case err := <-s.ended:
			return fmt.Errorf("the server ended: %w: %s", err, s.said())
		case <-ready.Done():
			return errors.Join(fmt.Errorf("the server does not start: %w: %s", ready.Err(), s.said()), s.end())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Server) said() []byte {
	text, _ := os.ReadFile(s.log) // what there is of it
	return bytes.TrimSpace(text)
}

// URL is how to reach a schema of the database, which need not be there yet.
func (s *Server) URL(schema string) string {
	u := url.URL{Scheme: "postgres", User: url.User("mlist"), Path: "/postgres"}
	u.RawQuery = url.Values{"host": {s.dir}, "port": {s.port()}, "search_path": {schema}}.Encode()
	return u.String()
}

// Run runs SQL as psql does.
func (s *Server) Run(ctx context.Context, statements string) error {
	_, err := s.Ask(ctx, statements)
	return err
}

// Ask is Run, for what a statement returns: a line for each row.
func (s *Server) Ask(ctx context.Context, statement string) (string, error) {
	c := s.command(ctx, "psql", "-q", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", s.dir, "-p", s.port(), "-U", "mlist", "-d", "postgres", "-c", statement)
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("psql: %w: %s", err, bytes.TrimSpace(out))
	}
	return string(bytes.TrimSpace(out)), nil
}

// Set changes a setting of the server that runs.
func (s *Server) Set(ctx context.Context, name, value string) error {
	if err := s.Run(ctx, fmt.Sprintf("ALTER SYSTEM SET %s = '%s'", name, value)); err != nil { // alone in its transaction
		return err
	}
	return s.Run(ctx, "SELECT pg_reload_conf()")
}

// Restart stops the server, which ends all connections, and starts it again. What it has
// written lasts from then on.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.end(); err != nil {
		return err
	}
	s.opts.Durable = true
	for begun := time.Now(); ; {
		err := s.start(ctx)
		// What a killed server leaves behind ends a little later than it does, and is not started over.
		if err == nil || !bytes.Contains(s.said(), []byte("pre-existing shared memory block")) || time.Since(begun) > startTime {
			return err
		}
	}
}

// Standby starts a server that follows this one, under a name by which this one may wait for
// it (synchronous_standby_names). listen is as in Options.
func (s *Server) Standby(ctx context.Context, name, listen string) (*Server, error) {
	opts := Options{Durable: true, Listen: listen, Settings: map[string]string{"cluster_name": name}}
	return create(ctx, opts, func(b *Server) error {
		out, err := b.command(ctx, "pg_basebackup", "--pgdata="+b.data(), "--host="+s.dir, "--port="+s.port(), "--username=mlist",
			"--write-recovery-conf", "--checkpoint=fast", "--no-sync").CombinedOutput()
		if err != nil {
			return fmt.Errorf("pg_basebackup: %w: %s", err, bytes.TrimSpace(out))
		}
		return nil
	})
}

// Promote has a standby take writes.
func (s *Server) Promote(ctx context.Context) error { return s.Run(ctx, "SELECT pg_promote()") }

// URLOf is how to reach whichever of some servers takes writes.
func URLOf(schema string, servers ...*Server) string {
	var hosts, ports []string
	for _, s := range servers {
		hosts, ports = append(hosts, s.dir), append(ports, s.port())
	}
	u := url.URL{Scheme: "postgres", User: url.User("mlist"), Path: "/postgres"}
	u.RawQuery = url.Values{"host": {strings.Join(hosts, ",")}, "port": {strings.Join(ports, ",")}, "search_path": {schema}, "target_session_attrs": {"read-write"}}.Encode()
	return u.String()
}

// Kill ends the server as a crash of its machine does: none of its processes is left.
func (s *Server) Kill() error {
	if err := s.server.Process.Signal(syscall.SIGSTOP); err != nil { // it starts no others meanwhile
		return err
	}
	pids, err := s.children()
	err = errors.Join(err, s.server.Process.Kill())
	<-s.ended
	s.server = nil
	err = errors.Join(err, signalAll(pids, syscall.SIGKILL))
	for end := time.Now().Add(stopTime); err == nil && len(pids) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("%d processes of a server that was killed are left", len(pids))
		}
		pids = slices.DeleteFunc(pids, func(pid int) bool { return !runs(pid) })
	}
	return err
}

// runs tells whether a process is there that has not ended: whoever inherits one may be slow to
// look after it.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := bytes.Cut(stat, []byte(") "))
	return !bytes.HasPrefix(state, []byte("Z")) && !bytes.HasPrefix(state, []byte("X"))
}

// Hang stops all processes of the server where they are, or has them go on. Its machine still
// takes connections meanwhile, and what is sent over those that there are.
func (s *Server) Hang(hang bool) error {
	sig := syscall.SIGCONT
	if hang {
		sig = syscall.SIGSTOP
	}
	if err := s.server.Process.Signal(sig); err != nil { // first: then there are no new ones
		return err
	}
	pids, err := s.children()
	if err != nil {
		return err
	}
	return signalAll(pids, sig)
}

func (s *Server) children() (pids []int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", s.server.Process.Pid))
	if err != nil {
		return nil, err
	}
	for _, child := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(child)
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// signalAll sends a signal to those that are there.
func signalAll(pids []int, sig syscall.Signal) error {
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

// PID is the server's process, whose children serve the connections.
func (s *Server) PID() int { return s.server.Process.Pid }

func (s *Server) port() string {
	if _, port, err := net.SplitHostPort(s.opts.Listen); err == nil {
		return port
	}
	return "5432"
}

// Stop ends the server and removes all that it had.
func (s *Server) Stop() error {
	defer s.remove()
	return s.end()
}

// end stops the server as for a fast shutdown: clients are cut off.
func (s *Server) end() error {
	if s.server == nil {
		return nil // it was killed
	}
	if err := s.server.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	select {
	case err := <-s.ended:
		return err
	case <-time.After(stopTime):
		return errors.Join(fmt.Errorf("the server did not stop within %s", stopTime), s.server.Process.Kill(), <-s.ended)
	}
}
