package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/control"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/conformance"
)

func (a *app) pluginCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "plugin",
		Short: "list handlers, try one, write one",
		Long: `Handlers decide about posts and edit them; plugins are the programs that offer them. These commands start plugins
for themselves, beside those of a running mlist. docs/handlers.md tells how to write one.`,
		Example: `  mlist plugin ls
  mlist plugin new shout
  mlist plugin check ./shout
  mlist plugin run ./shout --stage shout < message`,
	}, a.pluginLs(), a.pluginCheck(), a.pluginRun(), a.pluginNew())
}

// pluginJSON is a program of the plugin directory as `plugin ls --json` shows it.
type pluginJSON struct {
	Name     string   `json:"name"` // "" if it could not be asked
	Version  string   `json:"version"`
	Stages   []string `json:"stages"`
	InUse    []string `json:"in_use"`  // of those: that the configuration names
	Needs    []string `json:"needs"`   // what it asks mlist for beyond posts
	AtSMTP   []string `json:"at_smtp"` // stages that judge while the sender's SMTP session waits, too
	Path     string   `json:"path"`
	Problems []string `json:"problems"`
	// Running is the one that a running mlist has of this program, if any.
	Running *control.Plugin `json:"running"`
}

func (a *app) pluginLs() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "list the plugins, and what is wrong with them",
		Long: `Starts every program in the plugin directory, asks what it offers, hands it its configuration, and ends it. A program
that mlist would refuse, because others could have changed it, is not started. If mlist runs, it tells how those that it
has started fare: calls and their times are counted since mlist started. The exit status is 1 if there is a problem.`,
		Example: "  mlist plugin ls\n  mlist plugin ls --json",
		Args:    between(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			programs, problem := host.Programs(c.Pipeline.PluginDir, c.Pipeline.CheckOwner, c.Pipeline.PluginSHA256)
			if problem != nil && len(programs) == 0 {
				return problem
			}
			list := []pluginJSON{}
			for _, p := range programs {
				if problem != nil && p.Refused == nil {
					p.Refused = problem // none of them is safe to start
				}
				list = append(list, inspect(cmd.Context(), c, p))
			}
			live, err := ask(cmd.Context(), c)
			if err != nil {
				return err
			}
			problems := missing(c, list)
			for _, r := range live {
				list = withRunning(list, r.Plugins)
			}
			return a.printPlugins(cmd.OutOrStdout(), list, problems, live)
		},
	}
}

// inspect asks a program what it is.
func inspect(ctx context.Context, c *config.Config, p host.Program) pluginJSON {
	j := pluginJSON{Path: p.Path, Stages: []string{}, InUse: []string{}, Needs: []string{}, AtSMTP: []string{}, Problems: []string{}}
	if p.Refused != nil {
		j.Problems = append(j.Problems, p.Refused.Error())
		return j
	}
	d, err := conformance.Describe(ctx, p.Path, c.Pipeline.Stages, c.Plugin)
	if err != nil {
		j.Problems = append(j.Problems, err.Error())
	}
	j.Name, j.Version = d.Name, d.Version
	j.Problems = append(j.Problems, d.Problems...)
	j.Needs = append(j.Needs, d.Needs...)
	for _, s := range d.Stages {
		j.Stages = append(j.Stages, s.Name)
		if s.AtSMTP {
			j.AtSMTP = append(j.AtSMTP, s.Name)
		}
		if slices.Contains(c.Pipeline.Stages, s.Name) {
			j.InUse = append(j.InUse, s.Name)
		}
	}
	return j
}

// missing compares the stages of the configuration with those on offer.
func missing(c *config.Config, list []pluginJSON) []string {
	offered := map[string][]string{}
	for _, p := range list {
		for _, s := range p.Stages {
			offered[s] = append(offered[s], p.Path)
		}
	}
	problems := []string{}
	for _, s := range c.Pipeline.Stages {
		switch n := len(offered[s]); {
		case n == 0:
			problems = append(problems, fmt.Sprintf("no plugin offers stage %s", s))
		case n > 1:
			problems = append(problems, fmt.Sprintf("stage %s is offered by more than one plugin: %s", s, strings.Join(offered[s], ", ")))
		}
	}
	return problems
}

func (a *app) printPlugins(w io.Writer, list []pluginJSON, problems []string, live []running) error {
	bad := len(problems) > 0
	for _, p := range list {
		bad = bad || len(p.Problems) > 0
	}
	if a.json {
		if err := printJSON(w, map[string]any{"plugins": list, "problems": problems, "running": statuses(live)}); err != nil {
			return err
		}
	} else {
		for _, p := range list {
			printPlugin(w, p)
		}
		for _, p := range problems {
			fmt.Fprintf(w, "problem: %s\n", printable(p, false))
		}
		if len(list) == 0 {
			fmt.Fprintln(w, "There are no plugins.")
		}
		printLive(w, live)
	}
	if bad {
		return errTold
	}
	return nil
}

func printPlugin(w io.Writer, p pluginJSON) {
	name := p.Name + " " + p.Version
	if p.Name == "" {
		name = filepath.Base(p.Path)
	}
	fmt.Fprintf(w, "%-20s %s\n", printable(strings.TrimSpace(name), false), printable(p.Path, false))
	stages := make([]string, len(p.Stages))
	for i, s := range p.Stages {
		if stages[i] = s; !slices.Contains(p.InUse, s) {
			stages[i] += " (not in use)"
		}
	}
	if len(stages) > 0 {
		fmt.Fprintf(w, "    stages   %s\n", printable(strings.Join(stages, ", "), false))
	}
	for _, line := range []struct {
		what  string
		words []string
	}{{"needs", p.Needs}, {"at SMTP", p.AtSMTP}} {
		if len(line.words) > 0 {
			fmt.Fprintf(w, "    %-8s %s\n", line.what, printable(strings.Join(line.words, ", "), false))
		}
	}
	if p.Running != nil {
		printRunning(w, p.Running)
	}
	for _, problem := range p.Problems {
		fmt.Fprintf(w, "    problem  %s\n", printable(problem, false))
	}
}

// alone starts one program the way mlist does. The caller closes what it gets.
func (a *app) alone(ctx context.Context, c *config.Config, path string, stages, offers []string, log *slog.Logger, members people) (*host.Host, func() error, error) {
	dir, remove, err := host.Alone(path)
	if err != nil {
		return nil, nil, err
	}
	// Another program's table would be a mistake here.
	tables := map[string]map[string]any{}
	for _, s := range offers {
		if t, ok := c.Plugin[s]; ok {
			tables[s] = t
		}
	}
	h, err := host.Start(ctx, host.Config{Dir: dir, Stages: stages, Plugins: tables, Hostname: c.Hostname, Version: versionText(),
		Timeout: c.Pipeline.Timeout.Std(), Memory: int64(c.Pipeline.PluginMemory), Logger: log, Members: members, State: nothing{}})
	if err != nil {
		return nil, nil, closing(err, remove)
	}
	return h, func() error { return closing(h.Close(context.WithoutCancel(ctx)), remove) }, nil
}

// people are the members of the list that a plugin is tried with.
type people []string

// Members implements host.Members.
func (p people) Members(_ context.Context, _ int64, f sdk.MemberFilter) iter.Seq2[sdk.Member, error] {
	fits := func(words []string, word string) bool { return len(words) == 0 || slices.Contains(words, word) }
	return func(yield func(sdk.Member, error) bool) {
		if !fits(f.Roles, "member") || !fits(f.Modes, "regular") || !fits(f.Statuses, "enabled") {
			return
		}
		for _, address := range p {
			m := sdk.Member{Address: address, Membership: sdk.Membership{Role: "member", Mode: "regular", Status: "enabled"}}
			if !yield(m, nil) {
				return
			}
		}
	}
}

// nothing is the state of a plugin that has kept none.
type nothing struct{}

// PluginState implements host.State.
func (nothing) PluginState(context.Context, int64, string, string, string) ([]byte, bool, error) {
	return nil, false, nil
}

// checkFile tells whether a program's file is as mlist wants it: refused if it must not be
// started, and else advice, if mlist would refuse it where it has not been put yet. Nobody
// starts, as root, what others could have changed.
func checkFile(c *config.Config, path string) (advice string, refused error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	dir, err := filepath.Abs(c.Pipeline.PluginDir)
	if err != nil {
		return "", err
	}
	if filepath.Dir(path) == dir {
		return "", host.CheckFile(path, c.Pipeline.CheckOwner, c.Pipeline.PluginSHA256)
	}
	if err := host.CheckFile(path, c.Pipeline.CheckOwner, nil); err != nil {
		if os.Geteuid() == 0 {
			return "", err
		}
		return fmt.Sprintf("mlist would refuse it as it lies here: %v.", err), nil
	}
	if err := host.CheckFile(path, false, c.Pipeline.PluginSHA256); err != nil {
		return fmt.Sprintf("In the plugin directory mlist would refuse it: %v.", err), nil
	}
	return "", nil
}

// findPlugin finds a program by its path, or else in the plugin directory by the name
// of its file or the one that it gives itself.
func findPlugin(ctx context.Context, c *config.Config, arg string) (string, error) {
	if info, err := os.Stat(arg); strings.ContainsRune(arg, filepath.Separator) || err == nil && info.Mode().IsRegular() {
		if err == nil {
			_, err = checkFile(c, arg)
		}
		return arg, err
	}
	programs, err := host.Programs(c.Pipeline.PluginDir, c.Pipeline.CheckOwner, c.Pipeline.PluginSHA256)
	if err != nil {
		return "", err
	}
	for _, p := range programs {
		if p.Path != "" && filepath.Base(p.Path) == arg {
			return p.Path, p.Refused
		}
	}
	for _, p := range programs {
		if p.Refused == nil && inspect(ctx, c, p).Name == arg {
			return p.Path, nil
		}
	}
	return "", withHint(fmt.Errorf("no plugin %s in %s", arg, c.Pipeline.PluginDir), "`mlist plugin ls` shows all; a path needs a slash: ./%s", arg)
}
