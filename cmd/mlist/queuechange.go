package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/spool"
)

func (a *app) queueRetry() *cobra.Command {
	var all string
	c := &cobra.Command{
		Use:   "retry ID... | --all QUEUE",
		Short: "try again now, instead of later or never",
		Long: `Makes entries due now: those of incoming, bounces and outgoing that wait, and those in failed by moving them
back to the queue they came from, with their tries set to none. What is held needs a moderator: mlist held accept.`,
		Example: "  mlist queue retry aaaqeayeaudaocaj\n  mlist queue retry --all failed",
		Args:    cobra.ArbitraryArgs,
	}
	c.Flags().StringVar(&all, "all", "", "everything in this queue")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if all == string(spool.Held) {
			return withHint(usageError{errors.New("what is held needs a moderator")}, "`mlist held accept LIST --all` lets it through.")
		}
		return a.change(cmd, args, all, "retried", retryEntry)
	}
	return c
}

func (a *app) queueDrop() *cobra.Command {
	var all string
	var yes bool
	c := &cobra.Command{
		Use:     "drop ID... | --all QUEUE",
		Short:   "throw entries away: nobody gets them, nobody is told",
		Example: "  mlist queue drop aaaqeayeaudaocaj\n  mlist queue drop --all failed --yes",
		Args:    cobra.ArbitraryArgs,
	}
	c.Flags().StringVar(&all, "all", "", "everything in this queue")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if all != "" {
			if _, err := parseQueues([]string{all}); err != nil {
				return err
			}
			if err := a.confirm(yes, fmt.Sprintf("This throws away all that is in %s.", all)); err != nil {
				return err
			}
		}
		return a.change(cmd, args, all, "dropped", dropEntry)
	}
	return c
}

// changeEntry does one thing to what has an id, in whatever queue it is.
type changeEntry func(ctx context.Context, sp spool.Admin, id spool.ID) error

func retryEntry(ctx context.Context, sp spool.Admin, id spool.ID) error {
	e, err := sp.Find(ctx, id)
	if errors.Is(err, spool.ErrNotFound) {
		return sp.RetryChunks(ctx, id)
	}
	if err != nil {
		return err
	}
	if e.Queue == spool.Held {
		return withHint(fmt.Errorf("entry %s is held", id), "`mlist held accept %s` lets it through.", id)
	}
	return sp.Retry(ctx, e)
}

func dropEntry(ctx context.Context, sp spool.Admin, id spool.ID) error {
	e, err := sp.Find(ctx, id)
	if errors.Is(err, spool.ErrNotFound) {
		return sp.RemovePost(ctx, id)
	}
	if err != nil {
		return err
	}
	return sp.Remove(ctx, e)
}

// change does one thing to the entries named, or to all of one queue.
func (a *app) change(cmd *cobra.Command, args []string, all, done string, do changeEntry) error {
	ids, err := parseIDs(args)
	if err != nil {
		return err
	}
	var queue spool.Queue
	switch {
	case all == "" && len(ids) == 0:
		return usageError{errors.New("want ids, or --all QUEUE")}
	case all != "" && len(ids) > 0:
		return usageError{errors.New("want ids or --all, not both")}
	case all != "":
		queues, err := parseQueues([]string{all})
		if err != nil {
			return err
		}
		queue = queues[0]
	}
	return a.withSpool(cmd.Context(), func(sp spool.Admin) error {
		if all == "" {
			return changeEach(a, cmd, done, each(ids), func(id spool.ID) error { return notFoundHint(do(cmd.Context(), sp, id)) })
		}
		return changeEach(a, cmd, done, entriesOf(cmd.Context(), sp, queue), func(e entryJSON) error {
			return goneIsFine(do(cmd.Context(), sp, e.ID))
		})
	})
}

// errGone says that an entry is no longer there, which is no mistake: that is what queues do.
var errGone = errors.New("gone meanwhile")

func goneIsFine(err error) error {
	if errors.Is(err, spool.ErrNotFound) {
		return errGone
	}
	return err
}

// changeEach does one thing to each item, and tells how many there were. An error with
// one does not stop the others; the first is what the command ends with.
func changeEach[T any](a *app, cmd *cobra.Command, done string, items iter.Seq2[T, error], do func(T) error) error {
	var n, failed int64
	var first error
	for item, err := range items {
		if err != nil {
			first = cmp.Or(first, err)
			break
		}
		switch err := do(item); {
		case errors.Is(err, errGone):
		case err == nil:
			n++
		case first == nil:
			first, failed = err, failed+1
		default:
			failed++
			fmt.Fprintf(a.err, "mlist: %s\n", printable(err.Error(), false))
		}
	}
	if n == 0 && first != nil {
		return first
	}
	var err error
	if a.json {
		err = printJSON(cmd.OutOrStdout(), map[string]any{done: n, "failed": failed})
	} else {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s.\n", count(n, "entry", "entries"), done)
	}
	return cmp.Or(first, err)
}
