// Package conformance drives a handler's program, in whatever language it is written,
// through what happens to handlers in mlist: the handshake, configurations with
// mistakes, strange mail, calls that are cancelled or come several at once, the ways in
// which it is asked to end. It says in sentences what the program breaks.
//
// It starts the program many times, and leaves none running. `mlist plugin check` is
// this package on the command line; a test of a handler may call it too:
//
//	found, err := conformance.Check(t.Context(), "./shout", conformance.Options{})
package conformance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mlist/mlist/sdk/proto"
	"github.com/mlist/mlist/sdk/wire"
)

// Options are what a check may be told. The zero value will do.
type Options struct {
	// Timeout is how long one call may take; 0 is 30 s, which is mlist's own.
	Timeout time.Duration
	// Config holds the tables [plugin.STAGE], by stage, of stages that cannot do without.
	Config map[string]map[string]any
	// Settings are those of the list that the posts are for.
	Settings map[string]string
	// Host, if not nil, runs the program the way mlist does, with these stages, on a post.
	// mlist's own command fills it in: this package has no access to that part.
	Host func(ctx context.Context, path string, stages []string) error
	// Done, if not nil, is called after each trial.
	Done func(trial string, found []Finding)
}

// Finding is one thing that is wrong with a program.
type Finding struct {
	Trial string `json:"trial"`
	Stage string `json:"stage,omitempty"`
	// Breaks is set for what breaks the contract; the rest is advice.
	Breaks bool   `json:"breaks"`
	Text   string `json:"text"` // a sentence
}

// Broken tells whether any finding breaks the contract.
func Broken(found []Finding) bool {
	for _, f := range found {
		if f.Breaks {
			return true
		}
	}
	return false
}

// check is one run of the kit.
type check struct {
	Options
	path   string
	corpus *corpus
	stages []*proto.Stage
	needs  wire.Needs
	uses   []string

	trial string
	found []Finding
}

// trials are what a program goes through, in this order. Without the first two the
// others mean nothing.
var trials = []struct {
	name string
	run  func(c *check, ctx context.Context)
}{
	{"handshake", (*check).handshake},
	{"describe", (*check).describe},
	{"configuration", (*check).configuration},
	{"messages", (*check).messages},
	{"calls", (*check).calls},
	{"revisions", (*check).revisions},
	{"cancellation", (*check).cancellation},
	{"drain", (*check).drain},
	{"SIGTERM", (*check).terminate},
	{"lifeline", (*check).lifeline},
	{"kill", (*check).kill},
	{"by hand", (*check).byHand},
	{"mlist", (*check).host},
}

const needed = 2

// Check checks the program at path. The error is about the check itself: there is no
// such program, no room for files, or ctx ended.
func Check(ctx context.Context, path string, opt Options) ([]Finding, error) {
	path, err := executable(path)
	if err != nil {
		return nil, err
	}
	if opt.Timeout <= 0 {
		opt.Timeout = 30 * time.Second
	}
	dir, err := os.MkdirTemp("", "check-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // of a temporary directory
	c := &check{Options: opt, path: path, corpus: &corpus{dir: dir, settings: opt.Settings}}
	for i, t := range trials {
		c.trial = t.name
		before := len(c.found)
		t.run(c, ctx)
		if ctx.Err() != nil {
			return c.found, ctx.Err()
		}
		if c.Done != nil {
			c.Done(t.name, c.found[before:])
		}
		if i < needed && Broken(c.found) {
			break
		}
	}
	return c.found, nil
}

// executable returns the absolute path of a program.
func executable(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return "", fmt.Errorf("%s is no program: it must be an executable file", path)
	}
	return path, nil
}

// breaks notes what breaks the contract, and advise what only could be better.
func (c *check) breaks(stage, format string, args ...any) {
	c.found = append(c.found, Finding{Trial: c.trial, Stage: stage, Breaks: true, Text: fmt.Sprintf(format, args...)})
}

func (c *check) advise(stage, format string, args ...any) {
	c.found = append(c.found, Finding{Trial: c.trial, Stage: stage, Text: fmt.Sprintf(format, args...)})
}
