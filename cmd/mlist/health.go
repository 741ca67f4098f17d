package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/metrics"
)

// patience is how long something may take to say that it is well.
const patience = 5 * time.Second

// errNoAnswer is why something is not well that does not say anything.
var errNoAnswer = fmt.Errorf("no answer within %v", patience)

// probe asks one thing that may not come back, such as a disk in trouble. Who asks while it
// is still being asked shares the answer, so that askers do not pile up.
type probe struct {
	patience time.Duration // 0 is what the constant says

	mu    sync.Mutex
	asked *question
}

type question struct {
	done chan struct{}
	err  error
}

func (p *probe) ask(f func() error) error {
	p.mu.Lock()
	q := p.asked
	if q == nil {
		q = &question{done: make(chan struct{})}
		p.asked = q
		go func() {
			q.err = f()
			p.mu.Lock()
			p.asked = nil
			p.mu.Unlock()
			close(q.done)
		}()
	}
	p.mu.Unlock()
	late := time.NewTimer(cmp.Or(p.patience, patience))
	defer late.Stop()
	select {
	case <-q.done:
		return q.err
	case <-late.C:
		return errNoAnswer
	}
}

// alive comes back without an error while mlist gets on: it takes the locks that what is
// stuck would hold, and asks the disk. The watchdog of systemd and /healthz go by it.
func (s *server) alive() error {
	s.look()
	_, err := os.Stat(s.disk)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has answered: a trace that nothing was written to yet has no directory
	}
	return err
}

// health is alive, for who must not wait.
func (s *server) health() metrics.Health {
	return metrics.HealthOf([]metrics.Check{checkOf("process", s.probes.alive.ask(s.alive))})
}

func checkOf(name string, err error) metrics.Check {
	if err != nil {
		return metrics.Check{Name: name, Reason: err.Error()}
	}
	return metrics.Check{Name: name, OK: true}
}

// readiness is whether the process can do what it is there for.
func (s *server) readiness() metrics.Health { return metrics.HealthOf(s.checks()) }

// meanwhile is what happens while a daemon is in trouble.
var meanwhile = map[string]string{"lmtpd": "mail waits in the MTA", "pipeline": "posts wait", "outbound": "what was delivered cannot be noted"}

// checks look at all that the daemons of this process need.
func (s *server) checks() []metrics.Check {
	var out []metrics.Check
	add := func(name string, err error) { out = append(out, checkOf(name, err)) }
	troubles, lacks := s.metrics.Troubles(), s.lacks()
	for _, d := range s.running {
		trouble, troubled := troubles[d.name]
		switch {
		case !isClosed(d.Ready()):
			add(d.name, errors.New(notReady))
		case lacks[d.name] != "":
			add(d.name, fmt.Errorf("waits for its segments: %s", lacks[d.name]))
		case troubled:
			add(d.name, fmt.Errorf("%s since %s: %s", meanwhile[d.name], trouble.Since.Format(time.RFC3339), trouble.Why))
		default:
			add(d.name, nil)
		}
	}
	add("spool", s.probes.spool.ask(s.spoolUsable))
	if s.ping != nil {
		add("store", s.probes.store.ask(func() error {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			return s.ping(ctx)
		}))
	}
	if s.host != nil {
		for _, p := range s.host.Plugins() {
			var err error
			if p.PID == 0 || !p.Healthy {
				err = errors.New("down; posts wait until it is back")
				if p.Why != nil {
					err = fmt.Errorf("down; posts wait until it is back: %w", p.Why)
				}
			}
			add("plugin "+p.Name, err)
		}
	}
	return out
}

// lacks tells why daemons wait for their segments, by daemon.
func (s *server) lacks() map[string]string {
	out := map[string]string{}
	if s.pipeline != nil {
		out["pipeline"] = s.pipeline.Lacks()
	}
	if s.outbound != nil {
		out["outbound"] = s.outbound.Lacks()
	}
	return out
}

// spoolUsable asks the spool, and whether there is room in it.
func (s *server) spoolUsable() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := s.spool.Owners(ctx); err != nil {
		return err
	}
	path, ok := spoolDir(s.cfgNow())
	if !ok {
		return nil
	}
	disk, err := diskAt("spool", path)
	if err != nil {
		return err
	}
	if least := uint64(s.cfgNow().Spool.MinFree); disk.Free < least {
		return fmt.Errorf("only %s is free on its disk, less than spool.min_free (%s): lmtpd answers 452", size(int64(disk.Free)), size(int64(least)))
	}
	return nil
}

// notReady is what is said of a daemon that has not come as far as to work.
const notReady = "not ready yet"

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// diskAt is what is free where path lies. A path that is not there yet is to be made in
// what is there of it.
func diskAt(of, path string) (metrics.Disk, error) {
	d, err := statDisk(path)
	for errors.Is(err, fs.ErrNotExist) && path != filepath.Dir(path) {
		path = filepath.Dir(path)
		d, err = statDisk(path)
	}
	d.Of = of
	return d, err
}

func statDisk(path string) (metrics.Disk, error) {
	var fs unix.Statfs_t
	var at unix.Stat_t
	if err := errors.Join(unix.Statfs(path, &fs), unix.Stat(path, &at)); err != nil {
		return metrics.Disk{}, fmt.Errorf("ask how much of %s is free: %w", path, err)
	}
	block := uint64(fs.Bsize)
	return metrics.Disk{Free: fs.Bavail * block, Total: fs.Blocks * block, FreeFiles: fs.Ffree, Files: fs.Files, Device: uint64(at.Dev)}, nil
}
