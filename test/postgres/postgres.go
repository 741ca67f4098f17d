// Package postgres starts throwaway PostgreSQL servers for tests: on a unix socket alone, in
// a directory of their own, gone when they stop.
package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/mlist/mlist/test/harness"
)

// ErrMissing is that no PostgreSQL server is installed, or that none can be started here.
var ErrMissing = errors.New("no PostgreSQL: install Debian's package postgresql")

// Server is a server that runs.
type Server struct {
	dir    string
	bin    string
	as     *syscall.SysProcAttr
	log    string
	server *exec.Cmd
	ended  chan error
	remove func()
}

const (
	startTime = 30 * time.Second
	stopTime  = 20 * time.Second
)

// Start makes a database cluster and starts its server. Tests that do not end the server
// themselves want nothing synced: durable says whether it is.
func Start(ctx context.Context, durable bool) (_ *Server, err error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin}
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
	if out, err := s.command(ctx, "initdb", "--pgdata="+s.data(), "--auth=trust", "--username=mlist", "--encoding=UTF8",
		"--locale=C.UTF-8", "--no-sync").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	if err := s.start(ctx, durable); err != nil {
		return nil, err
	}
	return s, nil
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
		_, here, _, _ := runtime.Caller(0)
		if out, err := exec.Command(filepath.Join(filepath.Dir(here), "..", "install-postgresql")).CombinedOutput(); err != nil || len(out) > 0 {
			os.Stderr.Write(out)
		}
		if found = find(); len(found) == 0 {
			return "", ErrMissing
		}
	}
	return filepath.Dir(found[len(found)-1]), nil
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

func (s *Server) start(ctx context.Context, durable bool) error {
	args := []string{"-D", s.data(), "-k", s.dir, "-c", "listen_addresses=", "-c", "shared_buffers=16MB", "-c", "max_connections=100"}
	if !durable {
		args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	}
	log, err := os.Create(s.log)
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
		err := s.command(ready, "pg_isready", "-q", "-h", s.dir).Run()
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
	u.RawQuery = url.Values{"host": {s.dir}, "search_path": {schema}}.Encode()
	return u.String()
}

// Run runs SQL as psql does.
func (s *Server) Run(ctx context.Context, statements string) error {
	c := s.command(ctx, "psql", "-q", "-X", "-v", "ON_ERROR_STOP=1", "-h", s.dir, "-U", "mlist", "-d", "postgres", "-c", statements)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("psql: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// Restart stops the server, which ends all connections, and starts it again.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.end(); err != nil {
		return err
	}
	return s.start(ctx, true)
}

// Stop ends the server and removes all that it had.
func (s *Server) Stop() error {
	defer s.remove()
	return s.end()
}

// end stops the server as for a fast shutdown: clients are cut off.
func (s *Server) end() error {
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
