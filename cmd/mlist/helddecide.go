package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/moderate"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
)

func (a *app) heldAccept() *cobra.Command {
	c, h := a.decide(store.VerdictAccept, "let posts through to the list", "for the log: why")
	c.Flags().BoolVar(&h.AcceptSender, "accept-sender", false, "and moderate the senders no more: members, or else nonmembers, get the action \"defer\"")
	c.Flags().BoolVar(&h.ClearFirst, "clear-first-posts", false, "and hold no more first posts of the senders who are members (moderate_until_posts)")
	return c
}

func (a *app) heldReject() *cobra.Command {
	c, h := a.decide(store.VerdictReject, "refuse posts, and tell their authors", "what the authors are told")
	c.Flags().BoolVar(&h.Ban, "ban", false, "and ban the senders from the list")
	return c
}

func (a *app) heldDiscard() *cobra.Command {
	c, h := a.decide(store.VerdictDiscard, "throw posts away: nobody is told", "for the log: why")
	c.Flags().BoolVar(&h.Ban, "ban", false, "and ban the senders from the list")
	return c
}

// maxReason keeps a reason fit for an envelope; a moderator who has more to say writes a mail.
const maxReason = 4000

// heldChoice says which posts.
type heldChoice struct {
	list string // "" if they are named by id alone
	ids  []spool.ID
	all  bool
	from func(sender address.Address) bool // nil: whoever
}

// decide is a command that ends the wait of posts.
func (a *app) decide(v store.Verdict, short, reason string) (*cobra.Command, *store.HeldDecision) {
	h := &store.HeldDecision{Verdict: v}
	var all bool
	var from string
	c := &cobra.Command{
		Use:     string(v) + " [LIST] ID... | LIST --all | LIST --from WHO",
		Short:   short,
		Example: fmt.Sprintf("  mlist held %[1]s aaaqeayeaudaocaj\n  mlist held %[1]s dev@lists.example.org --from ann@example.net\n  mlist held %[1]s dev@lists.example.org --from @example.com\n  mlist held %[1]s dev@lists.example.org --all --json", v),
		Args:    between(1, -1, "ids of held posts, or a list and --all or --from"),
	}
	c.Flags().BoolVar(&all, "all", false, "every held post of the list")
	c.Flags().StringVar(&from, "from", "", "every held post of the list by this sender: an address; @ and a domain; or a pattern that starts with ^, as for mlist ban")
	c.Flags().StringVar(&h.Why, "reason", "", reason)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		choice, err := readHeldChoice(args, all, from)
		if err != nil {
			return err
		}
		if len(h.Why) > maxReason {
			return usageError{fmt.Errorf("--reason: %d octets, want %d or less", len(h.Why), maxReason)}
		}
		h.By = operator()
		return a.withStore(cmd.Context(), false, func(st store.Store) error {
			return a.withSpool(cmd.Context(), func(sp spool.Admin) error { return a.decideHeld(cmd, st, sp, choice, *h) })
		})
	}
	return c, h
}

func readHeldChoice(args []string, all bool, from string) (c heldChoice, err error) {
	c.all = all
	if from != "" {
		what, err := list.ParseBan(from)
		if err == nil {
			c.from, err = list.Matcher(what)
		}
		if err != nil {
			return c, usageError{fmt.Errorf("--from: %w", err)}
		}
	}
	if strings.Contains(args[0], "@") {
		addr, err := listAddress(args[0])
		if err != nil {
			return c, err
		}
		c.list, args = addr.String(), args[1:]
	}
	if c.ids, err = parseIDs(args); err != nil {
		return c, err
	}
	many := all || from != ""
	switch {
	case many && c.list == "":
		return c, usageError{errors.New("--all and --from want a list, not ids alone")}
	case many && len(c.ids) > 0, all && from != "":
		return c, usageError{errors.New("want ids, --all or --from")}
	case !many && len(c.ids) == 0:
		return c, usageError{fmt.Errorf("say --all for every held post of %s, or --from WHO", c.list)}
	}
	return c, nil
}

// heldRow is what became of one post, as --json shows it.
type heldRow struct {
	ID     spool.ID `json:"id"`
	List   string   `json:"list"`
	Result string   `json:"result"` // accepted, rejected, discarded; decided before, gone, failed
	// Decision is what was decided, now or before.
	Decision *decisionJSON `json:"decision,omitempty"`
	Error    string        `json:"error,omitempty"`
}

// decideHeld decides about each of the chosen posts, and prints a line for each. An error
// with one does not stop the others; the first is what the command ends with.
func (a *app) decideHeld(cmd *cobra.Command, st store.Store, sp spool.Admin, choice heldChoice, h store.HeldDecision) error {
	tell, closeTrace, err := a.traceDecisions()
	if err != nil {
		return err
	}
	decider := heldDecider{st: st, sp: sp, desk: &moderate.Desk{Store: st, Spool: sp}, decision: h}
	ids, err := decider.choose(cmd.Context(), choice)
	if err != nil {
		return closing(err, closeTrace)
	}
	w := cmd.OutOrStdout()
	out := array{w: w}
	var first error
	failed := 0
	for _, id := range ids {
		row, err := decider.decide(cmd.Context(), id)
		if errors.Is(err, moderate.ErrGone) && len(choice.ids) == 0 {
			continue // that is what queues do
		}
		if row.Result == h.Verdict.Done() {
			tell(string(id), row.List, store.Decision{Verdict: h.Verdict, By: h.By})
		}
		if err != nil {
			failed++
			row.Error = err.Error()
			if first == nil {
				first = err
			} else if !a.json {
				fmt.Fprintf(a.err, "mlist: %s\n", printable(err.Error(), false))
			}
		}
		switch {
		case a.json:
			err = out.add(row)
		case err == nil:
			err = row.print(w)
		default:
			err = nil
		}
		if err != nil {
			return closing(err, closeTrace)
		}
	}
	if a.json {
		err = out.end()
	} else if len(ids) > 1 {
		_, err = fmt.Fprintf(w, "%s, %d failed.\n", count(int64(len(ids)), "post", "posts"), failed)
	} else if len(ids) == 0 {
		_, err = fmt.Fprintln(w, "No posts are held.")
	}
	return closing(cmp.Or(first, err), closeTrace)
}

func (r heldRow) print(w io.Writer) error {
	line := fmt.Sprintf("%-9s  %s", r.Result, r.ID)
	if d := r.Decision; d != nil {
		if r.Result == decidedBefore {
			line = fmt.Sprintf("%s  %s  by %s, %s: %s", r.Result, r.ID, d.By, moment(d.At), strings.TrimSpace(d.Verdict+" "+d.Also))
		} else {
			line += fmt.Sprintf("  %s  %s", d.Address, cut(d.Subject, 60))
			if d.Also != "" {
				line += "  (" + d.Also + ")"
			}
		}
	}
	_, err := fmt.Fprintln(w, printable(line, false))
	return err
}

const decidedBefore = "decided before"

const goneHint = "It may have been decided meanwhile: `mlist held log LIST` shows what was, `mlist held ls` what waits."

// heldDecider decides about posts of several lists.
type heldDecider struct {
	st       store.Store
	sp       spool.Admin
	desk     *moderate.Desk
	decision store.HeldDecision
	wanted   *list.List            // whose posts they are; or nil, if that is not said
	lists    map[string]*list.List // by how entries call them; nil: it is gone
}

// listOf finds an entry's list; nil if it is gone.
func (d *heldDecider) listOf(ctx context.Context, name string) (*list.List, error) {
	if l, ok := d.lists[name]; ok {
		return l, nil
	}
	addr, err := address.Parse(name)
	if err != nil {
		return nil, nil // a damaged entry
	}
	l, err := d.st.List(ctx, addr)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if err != nil {
		l = nil
	}
	if d.lists == nil {
		d.lists = map[string]*list.List{}
	}
	d.lists[name] = l
	return l, nil
}

// choose finds the posts that are meant.
func (d *heldDecider) choose(ctx context.Context, c heldChoice) ([]spool.ID, error) {
	if c.list == "" {
		return c.ids, nil
	}
	wanted, err := findList(ctx, d.st, c.list)
	if err != nil {
		return nil, err
	}
	d.wanted = wanted
	if len(c.ids) > 0 {
		for _, id := range c.ids {
			e, err := d.sp.Find(ctx, id)
			if errors.Is(err, spool.ErrNotFound) {
				continue // decide tells
			}
			if err != nil {
				return nil, err
			}
			if l, err := d.listOf(ctx, e.List); err != nil || l == nil || l.ID != wanted.ID {
				return nil, cmp.Or(err, fmt.Errorf("post %s is one of %s, not of %s", id, e.List, c.list))
			}
		}
		return c.ids, nil
	}
	var ids []spool.ID
	for e, err := range d.sp.Entries(ctx, spool.Held) {
		if err != nil {
			return nil, err
		}
		l, err := d.listOf(ctx, e.List)
		if err != nil {
			return nil, err
		}
		if l == nil || l.ID != wanted.ID {
			continue
		}
		if c.from != nil {
			by, err := d.by(ctx, l, e, c.from)
			if err != nil {
				return nil, err
			}
			if !by {
				continue
			}
		}
		ids = append(ids, e.ID)
	}
	return ids, nil
}

// by tells whether a post is one by a sender that is meant.
func (d *heldDecider) by(ctx context.Context, l *list.List, e spool.Entry, from func(address.Address) bool) (bool, error) {
	p, err := d.st.HeldPost(ctx, l.ID, string(e.ID), "")
	if err == nil {
		return from(p.Sender), nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	sender, err := address.Parse(e.Sender)
	return err == nil && from(sender), nil
}

// decide decides about one post.
func (d *heldDecider) decide(ctx context.Context, id spool.ID) (heldRow, error) {
	row := heldRow{ID: id, Result: "failed"}
	l := d.wanted
	e, err := d.sp.Find(ctx, id)
	switch {
	case errors.Is(err, spool.ErrNotFound) && l == nil:
		row.Result = "gone"
		return row, withHint(fmt.Errorf("post %s: %w", id, moderate.ErrGone), goneHint)
	case errors.Is(err, spool.ErrNotFound): // somebody may have decided
		row.List = l.Address.Key()
	case err != nil:
		return row, err
	default:
		row.List = e.List
		if l, err = d.listOf(ctx, e.List); err != nil {
			return row, err
		}
		if l == nil {
			return d.decideStray(ctx, row, e)
		}
	}
	dec, first, err := d.desk.Decide(ctx, store.Step{ListID: l.ID, At: time.Now()}, l, id, d.decision)
	switch {
	case errors.Is(err, moderate.ErrGone):
		row.Result = "gone"
		return row, withHint(fmt.Errorf("post %w", err), goneHint)
	case errors.Is(err, moderate.ErrNotHeld):
		return row, withHint(fmt.Errorf("entry %s is in %s, not held", id, e.Queue), "`mlist held ls` shows what is held.")
	case err != nil:
		return row, fmt.Errorf("post %s: %w", id, err)
	}
	row.Decision = ptrTo(describeDecision(dec))
	if row.Result = decidedBefore; first {
		row.Result = dec.Verdict.Done()
	}
	return row, nil
}

// decideStray decides about a post whose list is gone.
func (d *heldDecider) decideStray(ctx context.Context, row heldRow, e spool.Entry) (heldRow, error) {
	if e.Queue != spool.Held {
		return row, withHint(fmt.Errorf("entry %s is in %s, not held", e.ID, e.Queue), "`mlist held ls` shows what is held.")
	}
	if d.decision.AcceptSender || d.decision.ClearFirst || d.decision.Ban {
		return row, fmt.Errorf("the list %s of post %s is gone, and with it who may post there", e.List, e.ID)
	}
	if err := d.desk.DecideStray(ctx, e, d.decision.Verdict, d.decision.Why); err != nil {
		return row, notFoundHint(err)
	}
	row.Result = d.decision.Verdict.Done()
	return row, nil
}

func ptrTo[T any](v T) *T { return &v }

// decisionJSON is a decision as `held log --json` and `request log --json` show it.
type decisionJSON struct {
	At      time.Time `json:"at"`
	ID      string    `json:"id,omitempty"` // of a post
	Address string    `json:"address,omitempty"`
	Subject string    `json:"subject,omitempty"`
	Want    string    `json:"want,omitempty"` // of a request
	Verdict string    `json:"verdict"`
	Also    string    `json:"also,omitempty"`
	By      string    `json:"by"`
	Why     string    `json:"why,omitempty"`
}

func describeDecision(d store.Decision) decisionJSON {
	j := decisionJSON{At: d.At, ID: d.Entry, Address: d.Address.String(), Verdict: string(d.Verdict), Also: d.Also, By: d.By, Why: d.Why}
	if d.Kind == store.AboutRequest {
		j.Want = d.Subject
	} else {
		j.Subject = d.Subject
	}
	return j
}

func (a *app) heldLog() *cobra.Command {
	return a.decisionLog(store.AboutPost, "  mlist held log dev@lists.example.org --json")
}

// decisionLog is a command that prints what was decided.
func (a *app) decisionLog(kind store.DecisionKind, example string) *cobra.Command {
	return &cobra.Command{
		Use:     "log LIST",
		Short:   "print who has decided what, when and why, the newest first",
		Example: example,
		Args:    between(1, 1, "the address of a list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
				w := cmd.OutOrStdout()
				out := array{w: w}
				n := 0
				for d, err := range st.Decisions(cmd.Context(), l.ID, kind) {
					if err != nil {
						return err
					}
					n++
					if j := describeDecision(d); a.json {
						err = out.add(j)
					} else {
						err = j.print(w)
					}
					if err != nil {
						return err
					}
				}
				if a.json {
					return out.end()
				}
				if n == 0 {
					_, err := fmt.Fprintln(w, "Nothing was decided in the last half year.")
					return err
				}
				return nil
			})
		},
	}
}

func (j decisionJSON) print(w io.Writer) error {
	what := strings.Join(strings.Fields(j.Want+" "+j.Address), " ")
	if j.Subject != "" {
		what += ": " + cut(j.Subject, 60)
	}
	line := fmt.Sprintf("%s  %-9s  by %s  %s", moment(j.At), store.Verdict(j.Verdict).Done(), j.By, what)
	if j.Also != "" {
		line += "  (" + j.Also + ")"
	}
	if j.Why != "" {
		line += "\n    " + j.Why
	}
	_, err := fmt.Fprintln(w, printable(line, true))
	return err
}
