package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/mlist/mlist/sdk/proto"
	"github.com/mlist/mlist/sdk/wire"
)

// begin starts the program and configures it as the trials want it; nil if that fails,
// which is then told.
func (c *check) begin(ctx context.Context) *program {
	p, err := start(ctx, c.path)
	if err != nil {
		c.breaks("", "It does not start: %v.", err)
		return nil
	}
	problems, err := c.configure(ctx, p, c.tables())
	if err == nil && len(problems) == 0 {
		return p
	}
	defer p.end()
	if err == nil {
		err = errors.New(strings.Join(problems, "; "))
	}
	c.breaks("", "It does not take the configuration that it took before: %v.", err)
	return nil
}

func (c *check) handshake(ctx context.Context) {
	p, err := start(ctx, c.path)
	if err != nil {
		c.breaks("", "It does not start: %v.", err)
		return
	}
	defer p.end()
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	// The first call, because connecting is only tried then.
	_, err = grpc_health_v1.NewHealthClient(p.conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "plugin"})
	switch status.Code(err) {
	case codes.OK:
	case codes.Unavailable, codes.DeadlineExceeded:
		c.breaks("", "It cannot be called at the socket of its handshake: %s%s.", words(err), p.fate())
	default:
		c.advise("", "It has no gRPC health service that knows the service \"plugin\", which go-plugin asks for (%s).", words(err))
	}
}

func (c *check) describe(ctx context.Context) {
	p, err := start(ctx, c.path)
	if err != nil {
		c.breaks("", "It does not start a second time: %v.", err)
		return
	}
	defer p.end()
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	d, err := p.describe(ctx)
	if err != nil {
		c.breaks("", "Describe fails: %s%s.", words(err), p.fate())
		return
	}
	for _, fault := range describeFaults(d) {
		c.breaks("", "%s", fault)
	}
	c.stages, c.needs, c.uses = d.GetStages(), wire.NeedsOf(d), slices.Concat(d.GetUses(), d.GetNeeds())
	for _, s := range c.stages {
		if s.GetHelp() == "" {
			c.advise(s.GetName(), "The stage has no help, one line for people.")
		}
	}
	if _, err := p.rpc.Health(ctx, &proto.HealthRequest{}); err != nil {
		c.breaks("", "Health fails, for which mlist would replace the program: %s%s.", words(err), p.fate())
	}
}

func (c *check) names() []string {
	names := make([]string, len(c.stages))
	for i, s := range c.stages {
		names[i] = s.GetName()
	}
	return names
}

func (c *check) tables() map[string][]byte {
	out, err := tables(c.names(), c.Config)
	if err != nil {
		c.breaks("", "The configuration for this check is no JSON: %v.", err)
	}
	return out
}

func (c *check) configure(ctx context.Context, p *program, tables map[string][]byte) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	if _, err := p.describe(ctx); err != nil { // always the first call
		return nil, fmt.Errorf("%s%s", words(err), p.fate())
	}
	reply, err := p.configure(ctx, tables)
	if err != nil {
		return nil, fmt.Errorf("%s%s", words(err), p.fate())
	}
	return reply.GetProblems(), nil
}

// configuration hands over one with and several without mistakes, each to a program of
// its own: Configure is called once in a program's life.
func (c *check) configuration(ctx context.Context) {
	c.try(ctx, "", c.tables(), func(problems []string) {
		if len(problems) > 0 {
			c.breaks("", "It refuses a configuration without any key (%.300q): give every key a default. If that cannot be, check it with a configuration.",
				strings.Join(problems, "; "))
		}
	})
	const key = "no-such-key"
	for _, s := range c.stages {
		name := s.GetName()
		with := func(key string, value any) map[string][]byte {
			table := map[string]any{}
			for k, v := range c.Config[name] {
				table[k] = v
			}
			table[key] = value
			text, _ := json.Marshal(table) // tables() told
			return map[string][]byte{name: text}
		}
		c.try(ctx, name, with(key, true), func(problems []string) {
			if !strings.Contains(strings.Join(problems, "\n"), key) {
				c.breaks(name, "It takes an unknown key, or does not name it in a problem: a typing mistake would go unnoticed.")
			}
		})
		c.try(ctx, name, map[string][]byte{name: []byte(`{"a":`)}, func(problems []string) {
			if len(problems) == 0 {
				c.breaks(name, "It takes a configuration that is no JSON.")
			}
		})
		for _, k := range s.GetConfig() {
			c.try(ctx, name, with(k.GetName(), []any{map[string]any{"no": "such type"}, nil, -1.5}), func(problems []string) {
				if len(problems) == 0 {
					c.breaks(name, "It takes a value of a wrong type for the key %s.", k.GetName())
				}
			})
		}
	}
}

func (c *check) try(ctx context.Context, stage string, tables map[string][]byte, judge func(problems []string)) {
	p, err := start(ctx, c.path)
	if err != nil {
		c.breaks(stage, "It does not start: %v.", err)
		return
	}
	defer p.end()
	problems, err := c.configure(ctx, p, tables)
	if err != nil {
		c.breaks(stage, "Configure fails on %.100q: %v. Mistakes belong into the reply.", tables, err)
		return
	}
	judge(problems)
}

// byHand runs it as someone does who wonders what it is.
func (c *check) byHand(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.path)
	cmd.Env, cmd.WaitDelay = environment(), endPatience/10
	_ = cmd.Run() // with which status is its own business
	if ctx.Err() != nil {
		c.advise("", "Run by hand, without mlist's cookie in the environment, it goes on; it should say what it is, and end.")
	}
}

func (c *check) host(ctx context.Context) {
	if c.Host == nil {
		return
	}
	if err := c.Host(ctx, c.path, c.names()); err != nil {
		c.breaks("", "Run by mlist itself: %v.", err)
	}
}
