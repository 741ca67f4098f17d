package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// assemble starts every program in the plugin directory, learns what it offers, and
// keeps those that the configuration needs.
func (h *Host) assemble(ctx context.Context, cfg Config) (*generation, error) {
	if err := distinct(cfg.Stages); err != nil {
		return nil, err
	}
	paths, refused, err := discover(cfg.Dir, cfg.CheckOwner)
	if err != nil {
		return nil, err
	}
	l := &launcher{dir: h.dir.path, hostname: cfg.Hostname, version: cfg.Version, memory: cfg.Memory, check: cfg.CheckOwner,
		timing: cfg.timing, logger: cfg.Logger, force: h.force,
		members: cfg.Members, state: cfg.State, readers: h.readers, counters: h.counters, pins: cfg.SHA256}
	if err := l.checkPins(cfg.Dir, paths); err != nil {
		return nil, errors.Join(append(refused, err)...)
	}
	c := &candidates{launcher: l, failed: refused, running: map[string]*process{}}
	c.launchAll(ctx, paths)
	g, err := c.choose(ctx, cfg)
	if err != nil {
		c.stopAll()
		return nil, err
	}
	c.stopAll() // those that are not needed
	return g, nil
}

func distinct(stages []string) error {
	for i, s := range stages {
		if slices.Contains(stages[:i], s) {
			return fmt.Errorf("stage %s is configured twice", s)
		}
	}
	return nil
}

// candidates is the programs of the plugin directory while nobody has chosen yet.
type candidates struct {
	*launcher
	mu      sync.Mutex
	running map[string]*process // by path
	failed  []error
}

func (c *candidates) launchAll(ctx context.Context, paths []string) {
	var g errgroup.Group
	g.SetLimit(4)
	for _, path := range paths {
		g.Go(func() error {
			p, err := c.launch(ctx, path)
			c.mu.Lock()
			defer c.mu.Unlock()
			if err != nil {
				c.failed = append(c.failed, err)
			} else {
				c.running[path] = p
			}
			return nil
		})
	}
	_ = g.Wait() // a program that does not start matters only if its stages are missed
}

func (c *candidates) stopAll() {
	var g sync.WaitGroup
	for _, p := range c.running {
		g.Go(func() { p.stop(c.force, c.launcher) })
	}
	g.Wait()
}

// choose takes the processes that the configuration needs out of the candidates.
func (c *candidates) choose(ctx context.Context, cfg Config) (*generation, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start plugins: %w", err)
	}
	offered := c.offers()
	if err := c.check(cfg, offered); err != nil {
		return nil, err
	}
	for _, err := range c.failed {
		c.logger.Error("plugin left out", "err", err)
	}
	used := map[string][]string{} // stages by path
	for _, stage := range cfg.Stages {
		path := offered[stage][0]
		used[path] = append(used[path], stage)
	}
	tables, err := c.configureAll(ctx, cfg, used)
	if err != nil {
		return nil, err
	}
	return c.build(cfg, used, tables, offered), nil
}

// configureAll hands its tables to each process that is used, and returns them by path.
func (c *candidates) configureAll(ctx context.Context, cfg Config, used map[string][]string) (map[string]map[string][]byte, error) {
	all := map[string]map[string][]byte{}
	var problems []error
	for _, path := range slices.Sorted(maps.Keys(used)) {
		tables, err := c.tables(cfg, c.running[path], used[path])
		if err == nil {
			err = c.running[path].configure(ctx, c.launcher, tables)
		}
		problems = append(problems, err)
		all[path] = tables
	}
	return all, errors.Join(problems...)
}

// tables returns the configuration of a plugin's stages as JSON; {} is that of a stage
// which is used and has none. A table for a stage that is offered and not used is
// handed over too, so that mistakes in it show.
func (c *candidates) tables(cfg Config, p *process, used []string) (map[string][]byte, error) {
	tables := map[string][]byte{}
	for _, stage := range used {
		tables[stage] = []byte("{}")
	}
	for _, st := range p.stages {
		table, ok := cfg.Plugins[st.GetName()]
		if !ok {
			continue
		}
		data, err := json.Marshal(table)
		if err != nil {
			return nil, fmt.Errorf("[plugin.%s]: %w", st.GetName(), err)
		}
		tables[st.GetName()] = data
	}
	return tables, nil
}

// offers returns the paths of the programs that offer each stage.
func (c *candidates) offers() map[string][]string {
	offered := map[string][]string{}
	for _, path := range slices.Sorted(maps.Keys(c.running)) {
		for _, st := range c.running[path].stages {
			offered[st.GetName()] = append(offered[st.GetName()], path)
		}
	}
	return offered
}
