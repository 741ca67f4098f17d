package host

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/wire"
)

// Error is the failure of a plugin at a post. The post may be tried again.
type Error struct {
	Plugin string
	Stage  string // several, with commas, if it is not known which
	Err    error
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("plugin %s, stage %s: %v", e.Plugin, e.Stage, e.Err)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Run takes a post through all stages, neighbouring stages of one plugin in one call.
// On an error, which names the plugin and stage, the post may have been changed by
// the stages before, and should be read anew for the next try. It is an *Error unless
// it is ErrClosed.
func (h *Host) Run(ctx context.Context, p *Post) (Result, error) { return h.Observe(ctx, p, nil) }

// Observe is Run that shows each stage's result, with its edits, to observe if that is
// not nil, in order; the post has them already by then.
func (h *Host) Observe(ctx context.Context, p *Post, observe func(wire.Result)) (Result, error) {
	g, err := h.enter()
	if err != nil {
		return Result{}, err
	}
	defer g.leave()
	h.counters.posts.Add(1)
	return g.run(ctx, p, observe)
}

// run takes a post through the stages that are to see it.
func (g *generation) run(ctx context.Context, p *Post, observe func(wire.Result)) (Result, error) {
	var res Result
	for i := range g.groups {
		c := g.groups[i].of(p)
		last := p.AtRCPT && len(c.stages) < len(g.groups[i].stages)
		if len(c.stages) == 0 && !last {
			continue
		}
		if len(c.stages) == 0 {
			break
		}
		results, err := c.remembered(p, func() ([]wire.Result, error) { return g.call(ctx, &c, p) })
		if err != nil {
			return Result{}, err
		}
		for _, r := range results {
			if observe != nil {
				observe(r)
			}
			res.Stages = append(res.Stages, StageTime{Stage: r.Stage, Verdict: r.Verdict.Kind, Took: r.Took})
			if r.Verdict.Kind != sdk.KindAccept {
				res.Verdict, res.Stage = r.Verdict, r.Stage
				return res, nil
			}
		}
		if last {
			break
		}
	}
	res.Verdict = sdk.Accept
	return res, nil
}

// enter counts a run in at the current generation.
func (h *Host) enter() (*generation, error) {
	for {
		g := h.current.Load()
		if g == nil {
			return nil, ErrClosed
		}
		if g.enter() {
			return g, nil
		}
		// A reload has put another in its place; or Close nil.
	}
}

// call runs one group of stages, and applies what they answer.
func (g *generation) call(ctx context.Context, c *group, post *Post) ([]wire.Result, error) {
	a, err := g.handle(ctx, c, post)
	if err != nil {
		return nil, err
	}
	before := len(post.State)
	results, err := wire.Apply(post, a.needs, c.stages, a.reply)
	if err != nil {
		c.plugin.tally.errors.Add(1)
		return nil, c.blame(err)
	}
	for i := range post.State[before:] {
		post.State[before+i].Plugin = c.plugin.name
	}
	if !post.AtSMTP { // the message comes again, to be counted
		c.plugin.counters.add(c.plugin.name, post.Counts)
	}
	return results, nil
}

// explain makes an error that names the stage of one that came over gRPC. A call that is
// not back when its time is up may still run in the plugin; if it never returns, the
// health check finds out.
func (g *generation) explain(ctx context.Context, c *group, p *process, atSMTP bool, err error) error {
	code, text := status.Code(err), words(err)
	if ctx.Err() != nil || code == codes.DeadlineExceeded {
		if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return c.fail(ctx.Err())
		}
		limit := g.timeout
		if atSMTP {
			limit = g.consult
		}
		return c.fail(fmt.Errorf("no answer within %s: %w", limit, context.DeadlineExceeded))
	}
	for _, stage := range c.stages {
		if rest, ok := strings.CutPrefix(text, "stage "+stage+": "); ok {
			return &Error{Plugin: c.plugin.name, Stage: stage, Err: errors.New(rest)}
		}
	}
	return c.fail(p.death(ctx, err)) // most likely of this post
}

// blame is for a reply that is not valid.
func (c *group) blame(err error) error {
	var at *wire.StageError
	if errors.As(err, &at) {
		return &Error{Plugin: c.plugin.name, Stage: at.Stage, Err: fmt.Errorf("invalid reply: %w", at.Err)}
	}
	return c.fail(fmt.Errorf("invalid reply: %w", err))
}

// fail is for an error that could be any of the group's stages.
func (c *group) fail(err error) error {
	return &Error{Plugin: c.plugin.name, Stage: strings.Join(c.stages, ","), Err: err}
}

// words is the text of an error of gRPC, fit for a log.
func words(err error) string {
	return printable(cut(status.Convert(err).Message(), 4096))
}
