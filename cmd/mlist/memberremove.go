package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/oneclick"
	"github.com/mlist/mlist/internal/store"
)

func (a *app) memberRemove() *cobra.Command {
	var f memberFlags
	var files []string
	var token string
	c := &cobra.Command{
		Use:     "remove LIST [ADDRESS...]",
		Aliases: []string{"rm"},
		Short:   "remove members, or take another role away",
		Example: `  mlist member remove dev@lists.example.org bob@example.com
  mlist member remove dev@lists.example.org --file gone.txt
  mlist member remove dev@lists.example.org cy@example.net --role moderator
  mlist member remove dev@lists.example.org --token "$TOKEN"     # what stood in the URL of List-Unsubscribe`,
		Args: between(1, -1, "the address of a list, and members"),
	}
	f.roleFlag(c)
	fileFlag(c, &files)
	c.Flags().StringVar(&token, "token", "", "whom this token of one-click unsubscription is for (setting unsubscribe_url); who has left already is no error")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if _, err := f.change(cmd); err != nil {
			return err
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
			return a.removeMembers(cmd, st, l, list.Role(f.role), in)
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
	removed, err := st.RemoveMembers(cmd.Context(), l.ID, list.Member, func(yield func(address.Address, error) bool) { yield(whose, nil) })
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(cmd.OutOrStdout(), map[string]any{"list": l.Address.String(), "address": whose.String(), "removed": removed})
	}
	text := "Removed %s from %s.\n"
	if removed == 0 {
		text = "%s is no member of %s any more.\n"
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), text, whose, l.Address)
	return err
}

func (a *app) removeMembers(cmd *cobra.Command, st store.Store, l *list.List, role list.Role, in *memberInput) error {
	var asked int64
	addrs := func(yield func(address.Address, error) bool) {
		for m, err := range in.members() {
			if err == nil {
				asked++
			}
			if !yield(m.Address, err) {
				return
			}
		}
	}
	removed, err := st.RemoveMembers(cmd.Context(), l.ID, role, addrs)
	if err != nil {
		return err
	}
	if a.json {
		err = printJSON(cmd.OutOrStdout(), map[string]any{"list": l.Address.String(), "role": role,
			"removed": removed, "missing": asked - removed, "bad": in.bad})
	} else {
		text := fmt.Sprintf("Removed %s from %s", count(removed, string(role), string(role)+"s"), l.Address)
		if missing := asked - removed; missing > 0 {
			text += fmt.Sprintf("; %s not there", count(missing, "was", "were"))
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), text+".")
	}
	if err != nil {
		return err
	}
	if asked > 0 && removed == 0 {
		return withHint(fmt.Errorf("no such %s on %s", role, l.Address), "`mlist member ls %s --role any` shows everybody.", l.Address)
	}
	return in.verdict()
}
