package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/control"
	"github.com/mlist/mlist/internal/list"
)

// reload reads the configuration again, and returns the keys whose change needs a restart.
// What can fail comes first, and an error, which it has logged, leaves everything as it was.
func (s *server) reload(ctx context.Context) (keys []string, err error) {
	begun := time.Now()
	next, err := s.loadAgain()
	if err == nil {
		err = s.take(ctx, next)
	}
	s.metrics.Reloads.Reload(err, time.Since(begun))
	if err != nil {
		s.log.Error("configuration not taken on: the old one stays in effect", "err", err)
		before := *s.taken.Load()
		before.Refused = &control.Refusal{At: begun, Reason: err.Error()}
		s.taken.Store(&before)
		return nil, err
	}
	keys = needRestart(s.cfg, next)
	for _, key := range keys {
		s.log.Warn("a change of this key needs a restart", "key", key)
	}
	s.keep(next)
	s.taken.Store(&control.Config{Taken: time.Now(), NeedRestart: keys})
	s.log.Info("configuration taken on")
	return keys, nil
}

// loadAgain is load, and takes no defaults for a file that has gone: a full disk, or an editor
// that fails, may leave none, or an empty one.
func (s *server) loadAgain() (*config.Config, error) {
	next, err := s.load()
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(s.path)
	switch {
	case err == nil && info.Size() > 0:
		s.written = true
	case s.written && errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s is gone: without it the defaults would hold; a restart takes them on", s.path)
	case s.written && err == nil:
		return nil, fmt.Errorf("%s is empty, and was not: a comment in it, or a restart, says that the defaults are meant", s.path)
	}
	return next, nil
}

// take hands the configuration to the daemons.
func (s *server) take(ctx context.Context, next *config.Config) error {
	set, err := translate(next, s.log)
	if err != nil {
		return err
	}
	if err := s.readTexts(next, set); err != nil {
		return err
	}
	if err := s.relisten(set); err != nil {
		s.listenAsBefore()
		return err
	}
	if err := s.restyle(ctx, next); err != nil {
		s.listenAsBefore()
		return err
	}
	if s.host != nil {
		set.host.Members, set.host.State = members{s.store}, s.store
		if err := s.host.Reload(ctx, set.host); err != nil {
			s.listenAsBefore()
			_ = s.restyle(ctx, s.cfg) // that was in effect before
			return fmt.Errorf("plugins: %w", err)
		}
	}
	if s.pipeline != nil {
		s.pipeline.Reload(set.pipeline)
	}
	if s.outbound != nil {
		s.outbound.Reload(set.outbound)
	}
	s.level.Set(logLevel(next.Log))
	s.metrics.CountLists(next.Metrics.Lists)
	s.set = set
	return nil
}

// restyle has lists follow the styles of a configuration.
func (s *server) restyle(ctx context.Context, c *config.Config) error {
	if s.store == nil {
		return nil
	}
	styles, err := list.ReadStyles(c.Styles)
	if err != nil {
		return err
	}
	if err := s.store.SetStyles(ctx, styles); err != nil {
		return err
	}
	s.store.SetSite(c.SiteName)
	return nil
}

// relisten hands the configuration to the daemons that others connect to: they are the
// ones that can refuse it.
func (s *server) relisten(set *settings) error {
	if s.lmtpd != nil {
		if err := s.lmtpd.Reload(set.lmtpd); err != nil {
			return err
		}
		if err := s.live.Reload(set.live); err != nil {
			return err
		}
	}
	if s.milter != nil {
		return s.milter.Reload(set.milter)
	}
	return nil
}

// listenAsBefore takes relisten back.
func (s *server) listenAsBefore() {
	if err := s.relisten(s.set); err != nil {
		s.log.Error("a daemon keeps the new configuration", "err", err)
	}
}

// keep makes next the configuration in effect, except for what needs a restart.
func (s *server) keep(next *config.Config) {
	kept := *next
	for _, k := range fixed {
		k.copy(&kept, s.cfg)
	}
	s.cfg = &kept
	s.effective.Store(&kept)
}

// fixed are the keys that a running mlist cannot change.
var fixed = []struct {
	key  string
	get  func(c *config.Config) string
	copy func(to, from *config.Config)
}{
	{"store.url", func(c *config.Config) string { return c.Store.URL }, func(to, from *config.Config) { to.Store = from.Store }},
	{"spool.url", func(c *config.Config) string { return c.Spool.URL }, func(to, from *config.Config) { to.Spool.URL = from.Spool.URL }},
	{"spool.host", func(c *config.Config) string { return c.Spool.Host }, func(to, from *config.Config) { to.Spool.Host = from.Spool.Host }},
	{"spool.lease", func(c *config.Config) string { return c.Spool.Lease.String() }, func(to, from *config.Config) { to.Spool.Lease = from.Spool.Lease }},
	{"archive.url", func(c *config.Config) string { return c.Archive.URL }, func(to, from *config.Config) { to.Archive = from.Archive }},
	{"pipeline.workers", func(c *config.Config) string { return fmt.Sprint(c.Pipeline.Workers) }, func(to, from *config.Config) { to.Pipeline.Workers = from.Pipeline.Workers }},
	{"trace", func(c *config.Config) string { return fmt.Sprint(c.Trace) }, func(to, from *config.Config) { to.Trace = from.Trace }},
	{"control.listen", func(c *config.Config) string { return c.Control.Listen }, func(to, from *config.Config) { to.Control = from.Control }},
	{"metrics.listen", func(c *config.Config) string { return c.Metrics.Listen }, func(to, from *config.Config) { to.Metrics.Listen = from.Metrics.Listen }},
	{"log.format", func(c *config.Config) string { return c.Log.Format }, func(to, from *config.Config) { to.Log.Format = from.Log.Format }},
}

// needRestart names the keys that differ and cannot be changed in a running mlist.
func needRestart(have, next *config.Config) []string {
	var out []string
	for _, k := range fixed {
		if k.get(have) != k.get(next) {
			out = append(out, k.key)
		}
	}
	return out
}
