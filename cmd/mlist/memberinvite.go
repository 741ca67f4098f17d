package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/pipeline"
)

// maxInviteText bounds what an inviter says, in octets; an invitation shows its first lines.
const maxInviteText = 4000

// inviteFlags are how `member invite` works.
type inviteFlags struct {
	by, text       string
	mode, language string
	declined, dry  bool
}

func (a *app) memberInvite() *cobra.Command {
	var f inviteFlags
	var files []string
	c := &cobra.Command{
		Use:   "invite LIST [ADDRESS...]",
		Short: "invite people to join: they answer a mail, and no moderator decides",
		Long: `Sends each of the addresses an invitation with a token of its own, as soon as the pipeline runs. Who answers with "accept" is a member, whatever
subscription_policy says; who answers with "decline" is invited no more. An invitation ends after max_days_for_invitations. Giving the command again
sends it again: not on the same day, and three times in all. Who is a member, banned, or a list is not invited. Addresses stand as arguments or in a
file, in the forms that "member add" reads.`,
		Example: `  mlist member invite dev@lists.example.org ann@example.net "Bob <bob@example.com>"
  mlist member invite dev@lists.example.org --file people.csv --by boss@example.org --text "We talk about the release here."
  mlist member invite dev@lists.example.org --file people.csv --dry-run`,
		Args: between(1, -1, "the address of a list, and who is invited"),
	}
	fileFlag(c, &files)
	c.Flags().StringVar(&f.by, "by", "", "who invites, as the invitation says; the list's owners if it is empty")
	c.Flags().StringVar(&f.text, "text", "", "what they say to it")
	c.Flags().StringVar(&f.mode, "mode", "", "how they are to receive posts: "+words(list.Modes))
	c.Flags().StringVar(&f.language, "language", "", "of the invitation, and in which mlist writes to them later; empty is the list's")
	c.Flags().BoolVar(&f.declined, "again", false, "invite also who has declined before")
	c.Flags().BoolVarP(&f.dry, "dry-run", "n", false, "read the addresses, and invite nobody")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(f.text) > maxInviteText || !utf8.ValidString(f.text):
			return usageError{fmt.Errorf("--text: want UTF-8, and %d octets at most", maxInviteText)}
		case f.mode != "" && !slices.Contains(list.Modes, list.Mode(f.mode)):
			return usageError{fmt.Errorf("--mode %q: want one of %s", f.mode, words(list.Modes))}
		case f.language != "" && list.CheckLanguage(f.language) != nil:
			return usageError{list.CheckLanguage(f.language)}
		}
		in, err := a.input(args[1:], files)
		if err != nil {
			return err
		}
		return a.withList(cmd, args[0], func(st store.Store, l *list.List) error { return a.invite(cmd, st, l, in, f) })
	}
	return c
}

// inviteRow is what became of one, as `member invite --json` shows it.
type inviteRow struct {
	Address string `json:"address"`
	Outcome string `json:"outcome"`
}

// errFull ends the reading of more than can be invited.
var errFull = fmt.Errorf("more than %d are named, and no more invitations can wait on one list", store.MaxInvitations)

func (a *app) invite(cmd *cobra.Command, st store.Store, l *list.List, in *memberInput, f inviteFlags) error {
	if l.State == list.Closed {
		return withHint(fmt.Errorf("%s is closed: nobody can join it", l.Address), "`mlist list open %s` opens it.", l.Address)
	}
	by := f.by
	if by == "" {
		by = address.Sub(l.Address, address.RoleOwner).String()
	} else if _, err := address.Parse(by); err != nil {
		return usageError{fmt.Errorf("--by: %w", err)}
	}
	var who []store.Invitation
	seen := map[string]bool{}
	for m, err := range in.members() {
		switch {
		case err != nil:
			return err
		case seen[m.Address.Key()]:
			continue
		case len(who) == store.MaxInvitations:
			return errFull
		}
		seen[m.Address.Key()] = true
		i := store.Invitation{Address: m.Address, DisplayName: m.DisplayName, Mode: m.Mode, Language: m.Language, By: by, Text: f.text}
		if f.mode != "" {
			i.Mode = list.Mode(f.mode)
		}
		if f.language != "" {
			i.Language = f.language
		}
		who = append(who, i)
	}
	if f.dry {
		return a.printInvited(cmd, l, in, true, who, nil)
	}
	var results []store.InviteResult
	err := a.withWholeSpool(cmd.Context(), func(sp spool.Spool) (err error) {
		results, err = pipeline.Invite(cmd.Context(), st, sp, l, time.Now(), f.declined, who)
		return err
	})
	if err != nil {
		return withHint(err, "Inviting all of them again is harmless.")
	}
	return a.printInvited(cmd, l, in, false, who, results)
}

func (a *app) printInvited(cmd *cobra.Command, l *list.List, in *memberInput, dry bool, who []store.Invitation, results []store.InviteResult) error {
	w := cmd.OutOrStdout()
	out := array{w: w}
	invited := int64(0)
	for n, i := range who {
		r := inviteRow{i.Address.String(), "would_be_invited"}
		if !dry {
			r.Outcome = string(results[n].Outcome)
		}
		if dry || r.Outcome == string(store.InviteNew) || r.Outcome == string(store.InviteAgain) {
			invited++
		}
		var err error
		if a.json {
			err = out.add(r)
		} else {
			_, err = fmt.Fprintf(w, "%-13s  %s\n", strings.ReplaceAll(r.Outcome, "_", " "), printable(r.Address, false))
		}
		if err != nil {
			return err
		}
	}
	var err error
	if a.json {
		err = out.end()
	} else {
		text := "%s: %s invited, as soon as the pipeline runs; %s not.\n"
		if dry {
			text = "%s: %s read; %s not. Nobody is invited.\n"
		}
		_, err = fmt.Fprintf(w, text, l.Address, count(invited, "is", "are"), count(int64(len(who))-invited+in.bad, "is", "are"))
	}
	if err != nil {
		return err
	}
	return in.verdict()
}

func (a *app) memberInvitations() *cobra.Command {
	var waiting bool
	c := &cobra.Command{
		Use:   "invitations LIST",
		Short: "print who was invited, by whom, when, and what became of it; the latest first",
		Example: `  mlist member invitations dev@lists.example.org
  mlist member invitations dev@lists.example.org --waiting --json`,
		Args: between(1, 1, "the address of a list"),
	}
	c.Flags().BoolVar(&waiting, "waiting", false, "only those that can be answered still")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withList(cmd, args[0], func(st store.Store, l *list.List) error { return a.printInvitations(cmd, st, l, waiting) })
	}
	return c
}

// invitationJSON is an invitation as `member invitations --json` shows it. The token is
// nobody's to see but the one's whom it was sent to.
type invitationJSON struct {
	Address  string     `json:"address"`
	Name     string     `json:"display_name,omitempty"`
	By       string     `json:"by"`
	State    string     `json:"state"` // waiting, expired, accepted, declined, withdrawn
	Invited  time.Time  `json:"invited"`
	Times    int        `json:"times"` // that it was sent
	Sent     *time.Time `json:"sent,omitempty"`
	Expires  time.Time  `json:"expires"`
	Answered *time.Time `json:"answered,omitempty"`
}

func (a *app) printInvitations(cmd *cobra.Command, st store.Store, l *list.List, waiting bool) error {
	w := cmd.OutOrStdout()
	out := array{w: w}
	n, now := 0, time.Now()
	for i, err := range st.Invitations(cmd.Context(), l.ID) {
		if err != nil {
			return err
		}
		if waiting && !i.Waits(now) {
			continue
		}
		n++
		j := invitationJSON{i.Address.String(), i.DisplayName, i.By, i.State(now), i.Invited, i.Times, orNil(i.Sent), i.Expires, orNil(i.Answered)}
		if a.json {
			err = out.add(j)
		} else {
			sent := "not sent yet"
			if i.Times > 0 {
				sent = fmt.Sprintf("sent %d×", i.Times)
			}
			_, err = fmt.Fprintf(w, "%-9s  %4s  %-12s  %s  by %s\n", j.State, age(i.Invited, now), sent, printable(strings.TrimSpace(j.Address+" "+j.Name), false), printable(j.By, false))
		}
		if err != nil {
			return err
		}
	}
	if a.json {
		return out.end()
	}
	if n == 0 {
		_, err := fmt.Fprintln(w, "Nobody is invited.")
		return err
	}
	return nil
}

// orNil is a time that JSON leaves out if it is zero.
func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (a *app) memberUninvite() *cobra.Command {
	return &cobra.Command{
		Use:     "uninvite LIST ADDRESS...",
		Short:   "withdraw invitations: their tokens serve no more",
		Example: "  mlist member uninvite dev@lists.example.org ivo@example.net",
		Args:    between(2, -1, "the address of a list, and who was invited"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var addrs []address.Address
			for _, arg := range args[1:] {
				addr, err := address.Parse(arg)
				if err != nil {
					return usageError{err}
				}
				addrs = append(addrs, addr)
			}
			return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
				done := []string{}
				var errs []error
				for _, addr := range addrs {
					err := st.WithdrawInvitation(cmd.Context(), l.ID, addr, time.Now())
					switch {
					case errors.Is(err, store.ErrNotFound):
						errs = append(errs, fmt.Errorf("no invitation waits for %s", addr))
					case err != nil:
						return err
					default:
						done = append(done, addr.String())
					}
				}
				var err error
				if a.json {
					err = printJSON(cmd.OutOrStdout(), map[string]any{"withdrawn": done})
				} else if len(done) > 0 {
					_, err = fmt.Fprintf(cmd.OutOrStdout(), "Withdrawn: %s.\n", printable(strings.Join(done, ", "), false))
				}
				if err != nil || len(errs) == 0 {
					return err
				}
				return withHint(errors.Join(errs...), "`mlist member invitations %s` shows all.", l.Address)
			})
		},
	}
}
