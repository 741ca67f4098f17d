package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/trace"
)

func (a *app) postCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "post",
		Short: "look at posts that are going out, pause them or take them back",
		Long: `Shows and stops posts that are on their way from mlist to the MTA. It works while the daemons run, and while they do
not, and it lasts: a post that is paused stays so until it is resumed, whatever is restarted. What the MTA has taken already
cannot be stopped here.`,
		Example: `  mlist post ls
  mlist post pause aaaqeayeaudaocaj
  mlist post recall aaaqeayeaudaocaj --yes`,
	}, a.postLs(), a.postPause(), a.postResume(), a.postRecall())
}

func (a *app) postLs() *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "print the posts that are going out, oldest first, with how many recipients are left",
		Example: "  mlist post ls --json",
		Args:    between(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.printQueues(cmd, []spool.Queue{spool.Outgoing}, "")
		},
	}
}

func (a *app) postPause() *cobra.Command {
	return a.changePosts("pause ID...", "send no more of a post until it is resumed", "paused", func(ctx context.Context, sp spool.Admin, id spool.ID) error {
		return sp.PausePost(ctx, id)
	})
}

func (a *app) postResume() *cobra.Command {
	return a.changePosts("resume ID...", "go on with a post that was paused", "resumed", func(ctx context.Context, sp spool.Admin, id spool.ID) error {
		return sp.ResumePost(ctx, id)
	})
}

func (a *app) changePosts(use, short, done string, do changeEntry) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: between(1, -1, "the ids of posts, as `mlist post ls` shows them"),
		Example: "  mlist post " + strings.Replace(use, "ID...", "aaaqeayeaudaocaj", 1),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.change(cmd, args, "", done, do) },
	}
}

func (a *app) postRecall() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:     "recall ID...",
		Short:   "take a post back from all who do not have it yet: they never get it",
		Example: "  mlist post recall aaaqeayeaudaocaj\n  mlist post recall aaaqeayeaudaocaj --yes",
		Args:    between(1, -1, "the ids of posts, as `mlist post ls` shows them"),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := a.confirm(yes, "Those who do not have the post yet will never get it."); err != nil {
			return err
		}
		return a.change(cmd, args, "", "recalled", a.recall)
	}
	return c
}

// recall pauses a post first, so that what it counts is what is left, except for what is
// being sent at this moment.
func (a *app) recall(ctx context.Context, sp spool.Admin, id spool.ID) error {
	if err := sp.PausePost(ctx, id); err != nil {
		return err
	}
	left, list := 0, ""
	for c, err := range sp.Chunks(ctx, true) {
		if err != nil {
			return err
		}
		if c.Post == id {
			left, list = left+len(c.Recipients), c.List
		}
	}
	if err := sp.RemovePost(ctx, id); err != nil && !errors.Is(err, spool.ErrNotFound) {
		return err
	}
	c, err := a.load()
	if err != nil || !c.Trace.Enabled {
		return err
	}
	j := trace.New(tracePath(c), trace.Options{Existing: true, MaxSize: int64(c.Trace.MaxSize), Log: slog.New(slog.DiscardHandler)})
	defer j.Close()
	j.Trace(string(id), list, trace.Recalled, "recipients", fmt.Sprint(left), "by", operator())
	return nil
}
