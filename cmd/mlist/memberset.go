package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

func (a *app) memberSet() *cobra.Command {
	var f memberFlags
	var files []string
	c := &cobra.Command{
		Use:   "set LIST ADDRESS...",
		Short: "change how members receive and post",
		Example: `  mlist member set dev@lists.example.org ann@example.net --status by_user
  mlist member set dev@lists.example.org bob@example.com --action hold --no-own-posts
  mlist member set dev@lists.example.org cy@example.net --topics bugs,releases
  mlist member set dev@lists.example.org dora@example.com --language de
  mlist member set dev@lists.example.org --file quiet.txt --action default`,
		Args: between(1, -1, "the address of a list, and members"),
	}
	f.add(c)
	fileFlag(c, &files)
	c.Flags().StringVar(&f.name, "name", "", "name for people")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		change, err := f.change(cmd)
		if err != nil {
			return err
		}
		if list.Role(f.role) == list.Receiver {
			return usageError{errors.New("--role receiver: a receiver is a member; --action reject makes one, --action default ends it")}
		}
		if change == (store.MemberChange{}) {
			return usageError{errors.New("nothing to set")}
		}
		if change.Status != nil {
			change.By = operator()
		}
		in, err := a.input(args[1:], files)
		if err != nil {
			return err
		}
		return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
			if err := forList(l, &change); err != nil {
				return err
			}
			return a.setMembers(cmd, st, l, list.Role(f.role), change, in)
		})
	}
	return c
}

func (a *app) setMembers(cmd *cobra.Command, st store.Store, l *list.List, role list.Role, change store.MemberChange, in *memberInput) error {
	var changed, missing int64
	for m, err := range in.members() {
		if err != nil {
			return err
		}
		err = st.SetMember(cmd.Context(), l.ID, role, m.Address, change)
		if errors.Is(err, store.ErrNotFound) {
			missing++
			fmt.Fprintf(a.err, "mlist: %s is no %s of %s\n", printable(m.Address.String(), false), role, l.Address)
			continue
		}
		if err != nil {
			return err
		}
		changed++
	}
	var err error
	if a.json {
		err = printJSON(cmd.OutOrStdout(), map[string]any{"list": l.Address.String(), "role": role,
			"changed": changed, "missing": missing, "bad": in.bad})
	} else {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "Changed %s of %s.\n", count(changed, string(role), string(role)+"s"), l.Address)
	}
	if err != nil {
		return err
	}
	if missing > 0 {
		return withHint(fmt.Errorf("%s not there", count(missing, "was", "were")), "`mlist member ls %s --role any` shows everybody.", l.Address)
	}
	return in.verdict()
}
