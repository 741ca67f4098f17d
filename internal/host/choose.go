package host

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// check compares what is configured with what is offered.
func (c *candidates) check(cfg Config, offered map[string][]string) error {
	var problems []error
	var missing []string
	for _, stage := range cfg.Stages {
		switch paths := offered[stage]; len(paths) {
		case 0:
			missing = append(missing, stage)
		case 1:
		default:
			problems = append(problems, fmt.Errorf("stage %s is offered by more than one plugin: %s", stage, strings.Join(paths, ", ")))
		}
	}
	for _, stage := range slices.Sorted(maps.Keys(cfg.Plugins)) {
		if len(offered[stage]) == 0 && !slices.Contains(cfg.Stages, stage) {
			missing = append(missing, "")
			problems = append(problems, fmt.Errorf("[plugin.%s]: no plugin offers a stage of that name", stage))
		}
	}
	if missing != nil {
		// First what is likely to be the cause of the rest.
		problems = append(slices.Concat(c.failed, idle(cfg.Dir)), problems...)
		if missing = slices.DeleteFunc(missing, func(s string) bool { return s == "" }); len(missing) > 0 {
			problems = append(problems, fmt.Errorf("no plugin offers stage %s", strings.Join(missing, ", ")))
		}
		on := "none"
		if len(offered) > 0 {
			on = strings.Join(slices.Sorted(maps.Keys(offered)), ", ")
		}
		problems = append(problems, fmt.Errorf("the plugins in %s offer these stages: %s", cfg.Dir, on))
	}
	return errors.Join(problems...)
}

// build makes a generation of the processes that are used, and takes them out of the
// candidates.
func (c *candidates) build(cfg Config, used map[string][]string, tables map[string]map[string][]byte, offered map[string][]string) *generation {
	g := &generation{timeout: cfg.Timeout, consult: cfg.ConsultTimeout, logger: cfg.Logger, idle: make(chan struct{}), force: c.force}
	plugins := map[string]*supervised{}
	for _, path := range slices.Sorted(maps.Keys(used)) {
		plugins[path] = c.supervise(path, c.running[path], used[path], tables[path])
		g.plugins = append(g.plugins, plugins[path])
		delete(c.running, path)
	}
	for _, stage := range cfg.Stages {
		p := plugins[offered[stage][0]]
		if n := len(g.groups); n == 0 || g.groups[n-1].plugin != p {
			g.groups = append(g.groups, group{plugin: p})
		}
		last := &g.groups[len(g.groups)-1]
		last.stages = append(last.stages, stage)
	}
	return g
}
