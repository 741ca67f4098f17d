package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/moderate"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/sdk/message"
)

func (a *app) heldCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "held",
		Short: "decide about posts that wait for a moderator",
		Example: `  mlist held ls dev@lists.example.org
  mlist held show aaaqeayeaudaocaj
  mlist held accept aaaqeayeaudaocaj
  mlist held reject aaaqeayeaudaocaj --reason "Off topic here."
  mlist held discard dev@lists.example.org --all`,
	}, a.heldLs(), a.heldShow(), a.heldAccept(), a.heldReject(), a.heldDiscard())
}

// heldJSON is a held post as `held ls --json` shows it.
type heldJSON struct {
	ID       spool.ID  `json:"id"`
	List     string    `json:"list"`
	Sender   string    `json:"sender"`
	From     string    `json:"from"`
	Subject  string    `json:"subject"`
	Reason   string    `json:"reason"`
	Code     string    `json:"code"`
	Stage    string    `json:"stage"`
	Received time.Time `json:"received"`
	Size     int64     `json:"size"`
}

func (a *app) heldLs() *cobra.Command {
	return &cobra.Command{
		Use:     "ls [LIST]",
		Short:   "print held posts, oldest first",
		Example: "  mlist held ls\n  mlist held ls dev@lists.example.org --json",
		Args:    between(0, 1, "the address of a list, or nothing"),
		RunE: func(cmd *cobra.Command, args []string) error {
			key := ""
			if len(args) > 0 {
				addr, err := listAddress(args[0])
				if err != nil {
					return err
				}
				key = addr.Key()
			}
			return a.withSpool(func(sp spool.Admin) error { return a.printHeld(cmd, sp, key) })
		},
	}
}

func (a *app) printHeld(cmd *cobra.Command, sp spool.Admin, list string) error {
	w := cmd.OutOrStdout()
	out := array{w: w}
	n, now := 0, time.Now()
	for e, err := range heldOf(cmd.Context(), sp, list) {
		if err != nil {
			return err
		}
		h, err := describeHeld(cmd.Context(), sp, e)
		if errors.Is(err, spool.ErrNotFound) {
			continue // decided meanwhile
		}
		if err != nil {
			return err
		}
		n++
		if a.json {
			err = out.add(h)
		} else {
			err = h.print(w, now)
		}
		if err != nil {
			return err
		}
	}
	if a.json {
		return out.end()
	}
	if n == 0 {
		_, err := fmt.Fprintln(w, "No posts are held.")
		return err
	}
	return nil
}

func describeHeld(ctx context.Context, sp spool.Admin, e spool.Entry) (heldJSON, error) {
	j := heldJSON{ID: e.ID, List: e.List, Sender: e.Sender, Reason: e.Reason, Code: e.Notes["code"], Stage: e.Notes["stage"], Received: e.Received, Size: e.Size}
	msg, err := sp.Read(ctx, e)
	if errors.Is(err, spool.ErrNotFound) {
		return j, err
	}
	if err != nil {
		j.Subject = "(" + err.Error() + ")" // a damaged entry must not hide the others
		return j, nil
	}
	defer msg.Close()
	h := headerOf(msg)
	j.From, j.Subject = message.DecodeText(h.Get("From")), h.Text("Subject")
	return j, nil
}

func (h heldJSON) print(w io.Writer, now time.Time) error {
	_, err := fmt.Fprintf(w, "%s  %4s  %s\n    from     %s\n    subject  %s\n    reason   %s\n", h.ID, age(h.Received, now), printable(h.List, false),
		cut(printable(h.From, false), 100), cut(printable(h.Subject, false), 100), cut(printable(h.Reason, false), 300))
	return err
}

func (a *app) heldShow() *cobra.Command {
	var whole bool
	c := &cobra.Command{
		Use:     "show ID",
		Short:   "show a held post: why it waits, and its header block",
		Example: "  mlist held show aaaqeayeaudaocaj\n  mlist held show aaaqeayeaudaocaj --message | less",
		Args:    between(1, 1, "the id of one post"),
	}
	c.Flags().BoolVar(&whole, "message", false, "only the message, as it is, every octet")
	c.RunE = func(cmd *cobra.Command, args []string) error { return a.showEntry(cmd, args[0], whole, spool.Held) }
	return c
}

// decision is a command that ends the wait of posts.
type decision struct {
	use, short, example, done string
	do                        func(ctx context.Context, sp spool.Admin, e spool.Entry) error
}

func (a *app) decide(d decision) *cobra.Command {
	var all bool
	c := &cobra.Command{Use: d.use + " ID... | LIST --all", Short: d.short, Example: d.example, Args: between(1, -1, "ids of held posts, or a list and --all")}
	c.Flags().BoolVar(&all, "all", false, "every held post of the list")
	d.do = a.tracing(d)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if strings.Contains(args[0], "@") {
			addr, err := listAddress(args[0])
			switch {
			case err != nil:
				return err
			case len(args) > 1:
				return usageError{errors.New("want one list, or ids")}
			case !all:
				return usageError{fmt.Errorf("say --all for every held post of %s", addr)}
			}
			return a.withSpool(func(sp spool.Admin) error { return a.decideAll(cmd, sp, addr.Key(), d) })
		}
		ids, err := parseIDs(args)
		if err != nil {
			return err
		}
		if all {
			return usageError{errors.New("--all wants a list, not ids")}
		}
		return a.withSpool(func(sp spool.Admin) error { return a.decideSome(cmd, sp, ids, d) })
	}
	return c
}

func (a *app) decideSome(cmd *cobra.Command, sp spool.Admin, ids []spool.ID, d decision) error {
	return changeEach(a, cmd, d.done, each(ids), func(id spool.ID) error {
		e, err := sp.Find(cmd.Context(), id)
		if err != nil {
			return notFoundHint(err)
		}
		if e.Queue != spool.Held {
			return withHint(fmt.Errorf("entry %s is in %s, not held", id, e.Queue), "`mlist held ls` shows what is held.")
		}
		return notFoundHint(d.do(cmd.Context(), sp, e))
	})
}

func (a *app) decideAll(cmd *cobra.Command, sp spool.Admin, list string, d decision) error {
	return changeEach(a, cmd, d.done, heldOf(cmd.Context(), sp, list), func(e spool.Entry) error {
		return goneIsFine(d.do(cmd.Context(), sp, e))
	})
}

// heldOf yields the held posts of one list, or of all if list is empty.
func heldOf(ctx context.Context, sp spool.Admin, list string) iter.Seq2[spool.Entry, error] {
	return func(yield func(spool.Entry, error) bool) {
		for e, err := range sp.Entries(ctx, spool.Held) {
			if err == nil && list != "" && !sameList(e.List, list) {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

func (a *app) heldAccept() *cobra.Command {
	return a.decide(decision{
		use: "accept", short: "let posts through to the list", done: "accepted",
		example: "  mlist held accept aaaqeayeaudaocaj\n  mlist held accept dev@lists.example.org --all",
		do: func(ctx context.Context, sp spool.Admin, e spool.Entry) error {
			return sp.Retry(ctx, e, spool.FlagApproved)
		},
	})
}

// maxReason keeps a reason fit for an envelope; a moderator who has more to say writes a mail.
const maxReason = 4000

func (a *app) heldReject() *cobra.Command {
	var reason string
	c := a.decide(decision{
		use: "reject", short: "refuse posts, and tell their authors", done: "rejected",
		example: "  mlist held reject aaaqeayeaudaocaj --reason \"Off topic here.\"\n  mlist held reject dev@lists.example.org --all",
		do: func(ctx context.Context, sp spool.Admin, e spool.Entry) error {
			return sp.Retry(ctx, e, moderate.RejectFlags(reason)...)
		},
	})
	c.Flags().StringVar(&reason, "reason", "", "what the author is told")
	run := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(reason) > maxReason {
			return usageError{fmt.Errorf("--reason: %d octets, want %d or less", len(reason), maxReason)}
		}
		return run(cmd, args)
	}
	return c
}

func (a *app) heldDiscard() *cobra.Command {
	return a.decide(decision{
		use: "discard", short: "throw posts away: nobody is told", done: "discarded",
		example: "  mlist held discard aaaqeayeaudaocaj\n  mlist held discard dev@lists.example.org --all",
		do:      func(ctx context.Context, sp spool.Admin, e spool.Entry) error { return sp.Remove(ctx, e) },
	})
}
