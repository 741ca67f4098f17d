package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/moderate"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk/message"
)

func (a *app) heldCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "held",
		Short: "decide about posts that wait for a moderator",
		Long: `Posts that a list holds wait until a moderator decides: by answering the mail that tells them, or here. Who has decided what, and why, is
kept for half a year.`,
		Example: `  mlist held ls dev@lists.example.org
  mlist held show aaaqeayeaudaocaj
  mlist held accept aaaqeayeaudaocaj --accept-sender
  mlist held reject aaaqeayeaudaocaj --reason "Off topic here."
  mlist held discard dev@lists.example.org --from eve@example.net --ban
  mlist held log dev@lists.example.org`,
	}, a.heldLs(), a.heldShow(), a.heldAccept(), a.heldReject(), a.heldDiscard(), a.heldLog())
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

	Hits []moderate.Hit `json:"hits"` // every rule that hit it, not only the one that holds it
}

func (a *app) heldLs() *cobra.Command {
	return &cobra.Command{
		Use:     "ls [LIST]",
		Short:   "print held posts, oldest first",
		Example: "  mlist held ls\n  mlist held ls dev@lists.example.org --json",
		Args:    between(0, 1, "the address of a list, or nothing"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var wanted address.Address
			if len(args) > 0 {
				var err error
				if wanted, err = listAddress(args[0]); err != nil {
					return err
				}
			}
			return a.withStore(cmd.Context(), false, func(st store.Store) error {
				return a.withSpool(cmd.Context(), func(sp spool.Admin) error { return a.printHeld(cmd, st, sp, wanted) })
			})
		},
	}
}

// printHeld prints the posts that a list holds, whatever its address was when they came, or with the zero
// address all.
func (a *app) printHeld(cmd *cobra.Command, st store.Store, sp spool.Admin, wanted address.Address) error {
	w := cmd.OutOrStdout()
	out := array{w: w}
	n, now := 0, time.Now()
	d := heldDecider{st: st, sp: sp}
	name := wanted.Key()
	if l, err := d.listOf(cmd.Context(), name); err != nil {
		return err
	} else if l != nil {
		name = l.Address.Key()
	}
	for e, err := range sp.Entries(cmd.Context(), spool.Held) {
		if err != nil {
			return err
		}
		l, err := d.listOf(cmd.Context(), e.List)
		if err != nil {
			return err
		}
		if l != nil {
			e.List = l.Address.String() // it may have been renamed since
		}
		if !wanted.IsZero() && !sameList(e.List, name) {
			continue
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
	j := heldJSON{ID: e.ID, List: e.List, Sender: e.Sender, Reason: e.Reason, Code: e.Notes["code"], Stage: e.Notes["stage"], Received: e.Received, Size: e.Size,
		Hits: moderate.Hits(e.Notes)}
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
