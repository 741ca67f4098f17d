package host

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/mlist/mlist/sdk"
)

// generation is the plugins of one configuration. It never changes; a reload makes
// another.
type generation struct {
	plugins []*supervised
	groups  []group
	timeout time.Duration // of one call
	consult time.Duration // of a whole consultation
	logger  *slog.Logger

	mu     sync.Mutex
	runs   int
	closed bool
	idle   chan struct{} // closed when closed and no run is left
	force  context.Context
}

// group is neighbouring stages of one plugin, which cost one call.
type group struct {
	plugin *supervised
	stages []string
}

// of returns the part of a group that is to see a post: of a digest, the stages that want
// to; not one that led to the post itself, unless it wants that; at SMTP time, those
// alone that judge then; and at RCPT, those before the first that does not judge then.
func (c *group) of(p *Post) group {
	digest := slices.Contains(p.Envelope.Flags, sdk.FlagDigest)
	if !digest && !p.AtSMTP && len(p.SubmittedBy) == 0 {
		return *c
	}
	part := group{plugin: c.plugin}
	for _, stage := range c.stages {
		o := c.plugin.offer(stage)
		if p.AtRCPT {
			if !o.GetAtRcpt() {
				break // it might hold the post, and what comes after it would not be asked
			}
			part.stages = append(part.stages, stage)
			continue
		}
		switch {
		case digest && !o.GetDigests():
		case slices.Contains(p.SubmittedBy, stage) && !o.GetOwnPosts():
		case p.AtSMTP && !o.GetAtSmtp():
		case p.AtSMTP && p.Body == nil && slices.Contains(o.GetNeeds(), "body"):
		default:
			part.stages = append(part.stages, stage)
		}
	}
	return part
}

// enter counts a run in; it fails when the generation is being replaced.
func (g *generation) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.runs++
	return true
}

func (g *generation) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.runs--; g.closed && g.runs == 0 {
		close(g.idle)
	}
}

// close waits for the runs under way, then stops the plugins. When force ends it does
// not wait.
func (g *generation) close() {
	g.mu.Lock()
	g.closed = true
	if g.runs == 0 {
		close(g.idle)
	}
	g.mu.Unlock()
	select {
	case <-g.idle:
	case <-g.force.Done():
	}
	var all sync.WaitGroup
	for _, p := range g.plugins {
		all.Go(p.close)
	}
	all.Wait()
}
