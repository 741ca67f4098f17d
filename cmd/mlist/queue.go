package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/spool"
)

func (a *app) queueCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "queue",
		Short: "look at what is on its way, retry it or drop it",
		Long: `Shows and changes the spool: the queues incoming, bounces and outgoing, and the resting places held and failed.
It works while the daemons run, and while they do not.`,
		Example: `  mlist queue ls
  mlist queue ls failed --json
  mlist queue show aaaqeayeaudaocaj
  mlist queue retry --all failed
  mlist queue drop aaaqeayeaudaocaj`,
	}, a.queueLs(), a.queueShow(), a.queueRetry(), a.queueDrop())
}

// entryJSON is an entry as --json shows it; of outgoing it is a post.
type entryJSON struct {
	Queue      spool.Queue `json:"queue"`
	ID         spool.ID    `json:"id"`
	List       string      `json:"list"`
	Role       string      `json:"role,omitempty"`
	Sender     string      `json:"sender"`
	Recipient  string      `json:"recipient,omitempty"`
	Received   time.Time   `json:"received"`
	Size       int64       `json:"size,omitempty"` // octets
	Tries      int         `json:"tries"`
	Due        *time.Time  `json:"due,omitempty"` // absent: at once
	Reason     string      `json:"reason,omitempty"`
	Flags      []string    `json:"flags,omitempty"`
	Chunks     int         `json:"chunks,omitempty"`     // of outgoing: that are left
	Deferred   int         `json:"deferred,omitempty"`   // of those: that wait
	Recipients int         `json:"recipients,omitempty"` // of outgoing: that are left
	Paused     bool        `json:"paused,omitempty"`     // of outgoing
}

func entryOf(e spool.Entry) entryJSON {
	j := entryJSON{Queue: e.Queue, ID: e.ID, List: e.List, Role: e.Role, Sender: e.Sender, Recipient: e.Recipient,
		Received: e.Received, Size: e.Size, Tries: e.Tries, Reason: e.Reason, Flags: e.Flags}
	j.wait(e.Due)
	return j
}

// wait keeps the earliest due time.
func (j *entryJSON) wait(due time.Time) {
	if !due.IsZero() && (j.Due == nil || due.Before(*j.Due)) {
		j.Due = &due
	}
}

// addChunk counts one more chunk of the post in.
func (j *entryJSON) addChunk(c spool.Chunk) {
	j.Chunks++
	j.Recipients += len(c.Recipients)
	j.Paused = j.Paused || c.Paused
	j.Tries = max(j.Tries, c.Tries)
	if c.Reason != "" {
		j.Reason = c.Reason
	}
	if !c.Due.IsZero() {
		j.Deferred++
		j.wait(c.Due)
	}
}

// posts yields what is in outgoing, post by post: chunks of one come together.
func posts(ctx context.Context, sp spool.Admin) iter.Seq2[entryJSON, error] {
	return func(yield func(entryJSON, error) bool) {
		var post entryJSON
		for c, err := range sp.Chunks(ctx, true) {
			if err != nil {
				yield(entryJSON{}, err)
				return
			}
			if c.Post != post.ID {
				if post.ID != "" && !yield(post, nil) {
					return
				}
				post = entryJSON{Queue: spool.Outgoing, ID: c.Post, List: c.List, Sender: c.Sender, Received: c.Created, Flags: c.Flags}
			}
			post.addChunk(c)
		}
		if post.ID != "" {
			yield(post, nil)
		}
	}
}

// entries yields what is in the queues, one queue after the other.
func entries(ctx context.Context, sp spool.Admin, queues []spool.Queue) iter.Seq2[entryJSON, error] {
	return func(yield func(entryJSON, error) bool) {
		for _, q := range queues {
			for e, err := range entriesOf(ctx, sp, q) {
				if !yield(e, err) || err != nil {
					return
				}
			}
		}
	}
}

func entriesOf(ctx context.Context, sp spool.Admin, q spool.Queue) iter.Seq2[entryJSON, error] {
	if q == spool.Outgoing {
		return posts(ctx, sp)
	}
	return func(yield func(entryJSON, error) bool) {
		for e, err := range sp.Entries(ctx, q) {
			if !yield(entryOf(e), err) {
				return
			}
		}
	}
}

func parseQueues(args []string) ([]spool.Queue, error) {
	if len(args) == 0 {
		return spool.Queues, nil
	}
	var out []spool.Queue
	for _, arg := range args {
		if !slices.Contains(spool.Queues, spool.Queue(arg)) {
			return nil, usageError{fmt.Errorf("queue %q: want one of %s", arg, words(spool.Queues))}
		}
		out = append(out, spool.Queue(arg))
	}
	return out, nil
}

func (a *app) queueLs() *cobra.Command {
	var only string
	c := &cobra.Command{
		Use:     "ls [QUEUE...]",
		Short:   "print what is in the queues, oldest first",
		Long:    "Prints what is in the queues, oldest first: " + words(spool.Queues) + ". Posts in outgoing show how many of their recipients are left.",
		Example: "  mlist queue ls\n  mlist queue ls failed\n  mlist queue ls outgoing --list dev@lists.example.org --json",
	}
	c.Flags().StringVar(&only, "list", "", "only what is of this list")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		queues, err := parseQueues(args)
		if err != nil {
			return err
		}
		return a.printQueues(cmd, queues, only)
	}
	return c
}

// printQueues prints what is in the queues, of one list or of all if none is named.
func (a *app) printQueues(cmd *cobra.Command, queues []spool.Queue, only string) error {
	key := ""
	if only != "" {
		addr, err := listAddress(only)
		if err != nil {
			return err
		}
		key = addr.Key()
	}
	return a.withSpool(cmd.Context(), func(sp spool.Admin) error { return a.printEntries(cmd, sp, queues, key) })
}

func (a *app) printEntries(cmd *cobra.Command, sp spool.Admin, queues []spool.Queue, list string) error {
	w := cmd.OutOrStdout()
	out := array{w: w}
	n, now := 0, time.Now()
	for e, err := range entries(cmd.Context(), sp, queues) {
		if err != nil {
			return err
		}
		if list != "" && !sameList(e.List, list) {
			continue
		}
		if n++; a.json {
			err = out.add(e)
		} else {
			if n == 1 {
				fmt.Fprintf(w, "%-8s %-16s %4s %7s %5s  %s\n", "QUEUE", "ID", "AGE", "SIZE", "TRIES", "LIST, SENDER, REASON")
			}
			err = e.print(w, now)
		}
		if err != nil {
			return err
		}
	}
	if a.json {
		return out.end()
	}
	if n == 0 {
		_, err := fmt.Fprintln(w, "Nothing there.")
		return err
	}
	return nil
}

func sameList(have, key string) bool {
	if have == key {
		return true
	}
	addr, err := address.Parse(have)
	return err == nil && addr.Key() == key
}

// print writes the entry on one line.
func (e entryJSON) print(w io.Writer, now time.Time) error {
	what := size(e.Size)
	if e.Queue == spool.Outgoing {
		what = fmt.Sprintf("%drcpt", e.Recipients)
	}
	text := fmt.Sprintf("%s  <%s>", printable(e.List, false), printable(e.Sender, false))
	if e.Reason != "" {
		text += "  " + cut(printable(e.Reason, false), 200)
	}
	if e.Paused {
		text += "  (paused)"
	}
	if e.Due != nil && e.Due.After(now) {
		text += "  (again in " + age(now, *e.Due) + ")"
	}
	_, err := fmt.Fprintf(w, "%-8s %-16s %4s %7s %5d  %s\n", e.Queue, e.ID, age(e.Received, now), what, e.Tries, text)
	return err
}

// notFoundHint says where to look for an entry that is not there.
func notFoundHint(err error) error {
	if errors.Is(err, spool.ErrNotFound) {
		return withHint(err, "It may have gone on its way meanwhile; `mlist queue ls` shows what is there.")
	}
	return err
}

// parseIDs reads arguments that name entries.
func parseIDs(args []string) ([]spool.ID, error) {
	ids := make([]spool.ID, len(args))
	for i, arg := range args {
		var err error
		if ids[i], err = spool.CheckID(strings.ToLower(arg)); err != nil {
			return nil, usageError{err}
		}
	}
	return ids, nil
}
