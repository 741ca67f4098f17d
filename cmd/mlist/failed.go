package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/spool"
)

// failedCommand is `mlist queue`, for what nobody looks after but the operator.
func (a *app) failedCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "failed",
		Short: "look at messages that could not be processed, try them again or drop them",
		Long: `Shows and changes what is in failed: messages whose stages failed each time (pipeline.max_tries), or that cannot be read, with the
reason beside each. When its cause is mended, retry puts them back where they came from; nothing of them has gone out before.`,
		Example: `  mlist failed ls
  mlist failed show aaaqeayeaudaocaj
  mlist failed retry --all
  mlist failed drop aaaqeayeaudaocaj`,
	}, a.failedLs(), a.failedShow(), a.failedRetry(), a.failedDrop())
}

func (a *app) failedLs() *cobra.Command {
	var only string
	c := &cobra.Command{
		Use:     "ls",
		Short:   "print what has failed, and why, oldest first",
		Example: "  mlist failed ls\n  mlist failed ls --list dev@lists.example.org --json",
		Args:    between(0, 0, "nothing"),
	}
	c.Flags().StringVar(&only, "list", "", "only what is of this list")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.printQueues(cmd, []spool.Queue{spool.Failed}, only)
	}
	return c
}

func (a *app) failedShow() *cobra.Command {
	var whole bool
	c := &cobra.Command{
		Use:     "show ID",
		Short:   "show one: why it failed, its envelope and the message's header block",
		Example: "  mlist failed show aaaqeayeaudaocaj\n  mlist failed show aaaqeayeaudaocaj --message > post.eml",
		Args:    between(1, 1, "the id of one entry"),
	}
	c.Flags().BoolVar(&whole, "message", false, "only the message, as it is, every octet")
	c.RunE = func(cmd *cobra.Command, args []string) error { return a.showEntry(cmd, args[0], whole, spool.Failed) }
	return c
}

func (a *app) failedRetry() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:     "retry ID... | --all",
		Short:   "put them back where they came from, with their tries set to none",
		Example: "  mlist failed retry aaaqeayeaudaocaj\n  mlist failed retry --all",
		Args:    cobra.ArbitraryArgs,
	}
	c.Flags().BoolVar(&all, "all", false, "all that has failed")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return a.change(cmd, args, failedIf(all), "retried", onlyFailed(retryEntry))
	}
	return c
}

func (a *app) failedDrop() *cobra.Command {
	var all, yes bool
	c := &cobra.Command{
		Use:     "drop ID... | --all",
		Short:   "throw them away: nobody gets them, nobody is told",
		Example: "  mlist failed drop aaaqeayeaudaocaj\n  mlist failed drop --all --yes",
		Args:    cobra.ArbitraryArgs,
	}
	c.Flags().BoolVar(&all, "all", false, "all that has failed")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if all {
			if err := a.confirm(yes, "This throws away all that is in failed."); err != nil {
				return err
			}
		}
		return a.change(cmd, args, failedIf(all), "dropped", onlyFailed(dropEntry))
	}
	return c
}

func failedIf(all bool) string {
	if all {
		return string(spool.Failed)
	}
	return ""
}

// onlyFailed does it to what is in failed, and to nothing else.
func onlyFailed(do changeEntry) changeEntry {
	return func(ctx context.Context, sp spool.Admin, id spool.ID) error {
		e, err := sp.Find(ctx, id)
		if err != nil {
			return err
		}
		if e.Queue != spool.Failed {
			return withHint(fmt.Errorf("entry %s is in %s, and has not failed", id, e.Queue), "`mlist queue show %s` shows it.", id)
		}
		return do(ctx, sp, id)
	}
}
