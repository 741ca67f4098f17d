package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk/password"
)

func (a *app) approvalCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "approval",
		Short: "one-time passwords, with which one post passes a list's checks",
		Long: `A one-time password lets one post through whatever the list's checks would say, as the moderators' password does: in a field
"Approved:", or as the first line of the text, "Approved: PASSWORD". It is used up with the post, and taken out of it.
Only its hash is kept.`,
		Example: `  mlist approval new dev@lists.example.org --note "for the press office"
  mlist approval new dev@lists.example.org --life 2h
  mlist approval ls dev@lists.example.org
  mlist approval revoke dev@lists.example.org 5e0dfc2a81`,
	}, a.approvalNew(), a.approvalLs(), a.approvalRevoke())
}

// Bounds of how long a one-time password lives.
const (
	minApprovalLife = time.Minute
	maxApprovalLife = 366 * 24 * time.Hour
)

// approvalJSON is a one-time password as programs see it.
type approvalJSON struct {
	ID       string     `json:"id"`
	List     string     `json:"list"`
	Password string     `json:"password,omitempty"` // of a new one
	Note     string     `json:"note"`
	Added    time.Time  `json:"added"`
	Expires  time.Time  `json:"expires"`
	Used     *time.Time `json:"used"`
	Entry    string     `json:"entry,omitempty"`
}

// approvalID is a name for one that tells nobody what it is.
func approvalID(a store.Approval) string {
	return strings.TrimPrefix(a.Hash, password.OnceForm)[:10]
}

func describeApproval(l *list.List, a store.Approval) approvalJSON {
	j := approvalJSON{ID: approvalID(a), List: l.Address.String(), Note: a.Note, Added: a.Added, Expires: a.Expires, Entry: a.Entry}
	if !a.Used.IsZero() {
		j.Used = &a.Used
	}
	return j
}

func (a *app) approvalNew() *cobra.Command {
	var life config.Duration
	var note string
	c := &cobra.Command{
		Use:     "new LIST",
		Short:   "make a one-time password, and print it: it is kept nowhere",
		Example: "  mlist approval new dev@lists.example.org --life 2h",
		Args:    between(1, 1, "the address of a list"),
	}
	c.Flags().TextVar(&life, "life", config.Duration(7*24*time.Hour), "for how long it may be used, such as 2h or 30d")
	c.Flags().StringVar(&note, "note", "", "what it is for")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if l := life.Std(); l < minApprovalLife || l > maxApprovalLife {
			return usageError{fmt.Errorf("--life %s: want a minute to a year", l)}
		}
		if note != printable(note, false) {
			return usageError{errors.New("--note: want one line without control characters")}
		}
		return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
			once := password.NewOnce()
			now := time.Now().UTC().Truncate(time.Microsecond)
			made := store.Approval{ListID: l.ID, Hash: password.HashOnce(once), Note: note, Added: now, Expires: now.Add(life.Std())}
			if err := st.AddApproval(cmd.Context(), made); err != nil {
				return err
			}
			j := describeApproval(l, made)
			j.Password = once
			if a.json {
				return printJSON(cmd.OutOrStdout(), j)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "Approved: %s\n\nGood for one post to %s until %s, as a header field or the first line of its text.\n",
				once, l.Address, made.Expires.Local().Format("2006-01-02 15:04"))
			return err
		})
	}
	return c
}

func (a *app) approvalLs() *cobra.Command {
	return &cobra.Command{
		Use:     "ls LIST",
		Short:   "print a list's one-time passwords, the latest first: what for, until when, and which post used them",
		Example: "  mlist approval ls dev@lists.example.org\n  mlist approval ls dev@lists.example.org --json",
		Args:    between(1, 1, "the address of a list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withList(cmd, args[0], func(st store.Store, l *list.List) error { return a.printApprovals(cmd, st, l) })
		},
	}
}

func (a *app) printApprovals(cmd *cobra.Command, st store.Store, l *list.List) error {
	all, err := st.Approvals(cmd.Context(), l.ID)
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	out := array{w: w}
	for _, one := range all {
		if a.json {
			err = out.add(describeApproval(l, one))
		} else {
			_, err = fmt.Fprintf(w, "%s  %s  %s\n", approvalID(one), approvalState(one, time.Now()), printable(one.Note, false))
		}
		if err != nil {
			return err
		}
	}
	if a.json {
		return out.end()
	}
	if len(all) == 0 {
		_, err = fmt.Fprintf(w, "%s has no one-time passwords.\n", l.Address)
	}
	return err
}

func approvalState(one store.Approval, now time.Time) string {
	const minute = "2006-01-02 15:04"
	switch {
	case !one.Used.IsZero():
		return "used    " + one.Used.Local().Format(minute) + " by " + one.Entry
	case !now.Before(one.Expires):
		return "expired " + one.Expires.Local().Format(minute)
	}
	return "until   " + one.Expires.Local().Format(minute)
}

func (a *app) approvalRevoke() *cobra.Command {
	return &cobra.Command{
		Use:     "revoke LIST ID...",
		Short:   "take one-time passwords away that nobody has used",
		Example: "  mlist approval revoke dev@lists.example.org 5e0dfc2a81",
		Args:    between(2, -1, "the address of a list, and ids of its one-time passwords"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withList(cmd, args[0], func(st store.Store, l *list.List) error { return a.revokeApprovals(cmd, st, l, args[1:]) })
		},
	}
}

func (a *app) revokeApprovals(cmd *cobra.Command, st store.Store, l *list.List, ids []string) error {
	all, err := st.Approvals(cmd.Context(), l.ID)
	if err != nil {
		return err
	}
	var chosen []store.Approval
	for _, id := range ids { // all are found before one is revoked
		found := false
		for _, one := range all {
			if approvalID(one) == id && one.Used.IsZero() {
				chosen, found = append(chosen, one), true
			}
		}
		if !found {
			return withHint(fmt.Errorf("%s has no unused one-time password %q", l.Address, id), "`mlist approval ls %s` shows all.", l.Address)
		}
	}
	for _, one := range chosen {
		if err := st.RevokeApproval(cmd.Context(), l.ID, one.Hash); err != nil {
			return err
		}
	}
	if a.json {
		return printJSON(cmd.OutOrStdout(), map[string]any{"list": l.Address.String(), "revoked": ids})
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "Revoked: %s.\n", strings.Join(ids, ", "))
	return err
}
