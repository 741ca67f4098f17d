package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/spool"
)

// completed is how long Tab may take, and how many lists it offers.
const (
	completedWithin = 2 * time.Second
	completedMost   = 1000
)

// complete gives every command below c what Tab offers for its arguments, by what its first
// line calls them: files where one is wanted, and not elsewhere; lists; queues.
func (a *app) complete(c *cobra.Command) {
	for _, sub := range c.Commands() {
		a.complete(sub)
	}
	if c.HasSubCommands() && !strings.Contains(c.Use, " ") {
		return // it takes no arguments of its own
	}
	if c.Flags().Lookup("list") != nil {
		_ = c.RegisterFlagCompletionFunc("list", a.completeList) // fails for a flag that is not there
	}
	c.ValidArgsFunction = func(cmd *cobra.Command, args []string, part string) ([]string, cobra.ShellCompDirective) {
		switch argument(cmd, len(args)) {
		case "FILE", "PATH", "DIR", "PATH|NAME", "FILE|-", "FILE|DIR":
			return nil, cobra.ShellCompDirectiveDefault
		case "LIST":
			return a.completeList(cmd, args, part)
		case "QUEUE":
			return queueNames(), cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// argument is what the first line of a command's help calls its argument number n.
func argument(cmd *cobra.Command, n int) string {
	uses, _, _ := strings.Cut(cmd.Use, " | ")
	words := strings.Fields(uses)[1:]
	for i, w := range words {
		name := strings.TrimSuffix(strings.Trim(w, "[]"), "...")
		if i == n || i < n && strings.Contains(w, "...") {
			if cmd.Parent().Name() == "list" && name == "ADDRESS" && cmd.Name() != "create" {
				return "LIST"
			}
			return name
		}
	}
	return ""
}

func queueNames() []string {
	var out []string
	for _, q := range spool.Queues {
		out = append(out, string(q))
	}
	return out
}

// completeList offers the addresses of lists. Whoever may not read the store is offered none:
// this is not the place to complain.
func (a *app) completeList(cmd *cobra.Command, _ []string, part string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completedWithin)
	defer cancel()
	// In a process of its own, which becomes the store's owner.
	args := []string{"list", "ls", "--json"}
	if path, named := a.path(); named {
		args = append(args, "--config", path)
	}
	list := exec.CommandContext(ctx, "/proc/self/exe", args...)
	list.Args[0] = os.Args[0]
	text, err := list.Output()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var lists []struct{ Address string }
	if err := json.Unmarshal(text, &lists); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, l := range lists {
		if strings.HasPrefix(l.Address, part) && len(out) < completedMost {
			out = append(out, l.Address)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
