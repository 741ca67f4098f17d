// Package host runs plugins: it finds the programs in the plugin directory, starts
// them, watches them, gives every call a deadline, restarts what dies and replaces all
// of them on reload while posts flow.
//
// A plugin that crashes, hangs, answers nonsense or eats memory costs one error of one
// Handle. No plugin outlives the process that started it, however that ended.
package host

import (
	"context"
	"log/slog"
	"time"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// Config says which plugins to run and how.
type Config struct {
	Dir      string                    // the plugin directory
	RunDir   string                    // for sockets: made with mode 0700; "" is a new temporary directory
	Stages   []string                  // in the order of the pipeline
	Plugins  map[string]map[string]any // the tables [plugin.STAGE], by stage
	Hostname string
	Version  string        // mlist's own
	Timeout  time.Duration // of one call to a plugin
	Memory   int64         // bytes that one plugin may use; 0 is no limit
	// CheckOwner refuses plugins, or a directory, that someone other than root or the
	// current user owns or can write.
	CheckOwner bool
	Logger     *slog.Logger
}

// Post is a post on its way through the stages. Run changes Header, Body, Rules and
// Notes as the stages ask.
type Post struct {
	Entry    string
	Number   int64
	Approved bool
	List     sdk.List
	Envelope sdk.Envelope
	Senders  []sdk.Sender
	Header   *message.Header
	Body     *message.Body
	// File is where the body's original bytes are, for the plugin to read.
	File           string
	Offset, Length int64
	Rules          []sdk.Rule
	Notes          map[string]string
}

// Result is what the stages made of a post.
type Result struct {
	Verdict sdk.Verdict
	Stage   string // the stage that decided, if it was not accepted
	Stages  []StageTime
}

// StageTime is how long one stage took, as its plugin measured it.
type StageTime struct {
	Stage   string        `json:"stage"`
	Verdict sdk.Kind      `json:"verdict"`
	Took    time.Duration `json:"took"`
}

// Host runs plugins. Use Start to make one.
type Host struct{}

// Start starts the plugins that the configured stages need, and waits until they are
// ready. A stage that no plugin offers, or two do, is an error, as is a plugin that
// refuses its configuration.
func Start(ctx context.Context, cfg Config) (*Host, error) { panic("TODO") }

// Reload starts the plugins of a new configuration beside those that run, swaps them
// in, and drains the old. On an error the old ones go on.
func (h *Host) Reload(ctx context.Context, cfg Config) error { panic("TODO") }

// Run takes a post through all stages, neighbouring stages of one plugin in one call.
// On an error, which names the plugin and stage, the post may have been changed by
// the stages before, and should be read anew for the next try.
func (h *Host) Run(ctx context.Context, p *Post) (Result, error) { panic("TODO") }

// PluginInfo describes a plugin that runs.
type PluginInfo struct {
	Name, Version, Path string
	PID                 int
	Stages              []string
	Restarts            int
}

// Plugins describes the plugins that run.
func (h *Host) Plugins() []PluginInfo { panic("TODO") }

// Close drains and stops every plugin, forcibly when ctx ends.
func (h *Host) Close(ctx context.Context) error { panic("TODO") }
