package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/oneclick"
	"github.com/mlist/mlist/internal/store"
)

func (a *app) memberRemove() *cobra.Command {
	var f memberFlags
	var files []string
	var token string
	var s syncFlags
	c := &cobra.Command{
		Use:     "remove LIST [ADDRESS...]",
		Aliases: []string{"rm"},
		Short:   "remove members, or take another role away",
		Long: `Removes members, in one transaction; who is not there is counted. Files are read as "member add" reads them. Nothing is changed if, of more than ten, more
than 20 percent of the members would go: --max-removals and --force say otherwise.`,
		Example: `  mlist member remove dev@lists.example.org bob@example.com
  mlist member remove dev@lists.example.org --file gone.txt --dry-run
  mlist member remove dev@lists.example.org cy@example.net --role moderator
  mlist member remove dev@lists.example.org --token "$TOKEN"     # what stood in the URL of List-Unsubscribe`,
		Args: between(1, -1, "the address of a list, and members"),
	}
	f.roleFlag(c)
	fileFlag(c, &files)
	s.rows(c)
	c.Flags().BoolVar(&s.force, "force", false, "however many would go")
	c.Flags().IntVar(&s.most, "max-removals", 20, "how many percent of the members may go, if they are more than ten")
	c.Flags().StringVar(&token, "token", "", "whom this token of one-click unsubscription is for (setting unsubscribe_url); who has left already is no error")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if _, err := f.change(cmd); err != nil {
			return err
		}
		if s.most < 0 || s.most > 100 {
			return usageError{errMost}
		}
		if token != "" {
			if len(args) > 1 || len(files) > 0 || f.role != string(list.Member) {
				return usageError{errors.New("--token stands alone: it says whom to remove, of the members")}
			}
			return a.withList(cmd, args[0], func(st store.Store, l *list.List) error { return a.removeByToken(cmd, st, l, token) })
		}
		in, err := a.input(args[1:], files)
		if err != nil {
			return err
		}
		return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
			return a.removeMembers(cmd, st, l, list.Role(f.role), in, s)
		})
	}
	return c
}

// removeByToken is what a web server's POST of RFC 8058 leads to.
func (a *app) removeByToken(cmd *cobra.Command, st store.Store, l *list.List, token string) error {
	secret, err := st.Secret(cmd.Context(), store.SecretOneClick)
	if err != nil {
		return err
	}
	whose, err := oneclick.Open(oneclick.Derive(secret, l.Address), token, time.Now())
	if err != nil {
		aliases, aerr := st.Aliases(cmd.Context(), l.ID)
		if aerr != nil {
			return aerr
		}
		for _, alias := range aliases { // it may be from before the list was renamed
			if a, aerr := oneclick.Open(oneclick.Derive(secret, alias), token, time.Now()); aerr == nil {
				whose, err = a, nil
				break
			}
		}
	}
	if err != nil {
		return err
	}
	how := store.Sync{Kind: store.SyncRemove, Role: list.Member, MaxRemoved: 1, By: "member", Why: "by one-click unsubscription"}
	r, err := st.SyncMembers(cmd.Context(), l.ID, how, func(yield func(list.Membership, error) bool) { yield(list.Membership{Address: whose}, nil) }, nil, nil)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(cmd.OutOrStdout(), map[string]any{"list": l.Address.String(), "address": whose.String(), "removed": r.Removed})
	}
	text := "Removed %s from %s.\n"
	if r.Removed == 0 {
		text = "%s is no member of %s any more.\n"
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), text, whose, l.Address)
	return err
}

// fewRemoved is how many may always go: who names them one by one knows them.
const fewRemoved = 10

func (a *app) removeMembers(cmd *cobra.Command, st store.Store, l *list.List, role list.Role, in *memberInput, f syncFlags) error {
	in.measure()
	p := newProgress(a.err)
	in.errs = p.writer(a.err)
	var asked int64
	members := func(yield func(list.Membership, error) bool) {
		for m, err := range in.members() {
			if err == nil {
				asked++
			}
			if !yield(list.Membership{Address: m.Address}, err) {
				return
			}
		}
	}
	how := store.Sync{Kind: store.SyncRemove, Role: storedRole(role), Dry: f.dry, MaxRemoved: float64(f.most) / 100, AlwaysRemoved: fewRemoved, By: operator(), Why: "by mlist member remove"}
	if f.force {
		how.MaxRemoved = 1
	}
	r, rows, err := a.syncRows(cmd, st, l, how, members, p, in, f)
	if err != nil {
		return withHint(err, "Nothing was changed.")
	}
	if !rows && a.json {
		removed := r.Removed
		if r.Refused {
			removed = 0
		}
		err = printJSON(cmd.OutOrStdout(), map[string]any{"list": l.Address.String(), "role": role,
			"removed": removed, "missing": r.Missing, "bad": in.bad})
	} else if !a.json && !r.Refused {
		text := fmt.Sprintf("Removed %s from %s", count(r.Removed, string(role), string(role)+"s"), l.Address)
		if f.dry {
			text = fmt.Sprintf("%s would be removed from %s", count(r.Removed, string(role), string(role)+"s"), l.Address)
		}
		if r.Missing > 0 {
			text += fmt.Sprintf("; %s not there", count(r.Missing, "was", "were"))
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), text+".")
	}
	switch {
	case err != nil:
		return err
	case r.Refused:
		return withHint(fmt.Errorf("%s of %d would be removed, more than %d percent", thousands(r.Removed), r.Before, f.most),
			"Nothing was changed. --dry-run shows who; --max-removals %d or --force allows it.", (r.Removed*100+r.Before-1)/r.Before)
	case asked > 0 && r.Removed == 0:
		return withHint(fmt.Errorf("no such %s on %s", role, l.Address), "`mlist member ls %s --role any` shows everybody.", l.Address)
	case f.dry && in.bad == 0:
		return exitDiffers
	}
	return in.verdict()
}
