package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

func (a *app) memberAdd() *cobra.Command {
	var f memberFlags
	var files []string
	c := &cobra.Command{
		Use:   "add LIST [ADDRESS...]",
		Short: "add members: arguments, a file, or standard input",
		Long: `Adds members, or owners, moderators and nonmembers with --role. Those that exist stay as they are.
Forms: ann@example.net, "Ann <ann@example.net>". In a file there is one a line; empty lines and those that start
with # are nothing. A file is CSV if its first line names columns: address, and any of name, mode, status, action, no_own_posts,
no_duplicates, acknowledge_posts, language. Flags go before what a column says. A line that cannot be read is named and counted, the others are added, and the status is 1.`,
		Example: `  mlist member add dev@lists.example.org ann@example.net "Bob <bob@example.com>"
  mlist member add dev@lists.example.org --file members.txt
  ldapsearch … | mlist member add dev@lists.example.org - --no-own-posts
  mlist member add dev@lists.example.org cy@example.net --role moderator`,
		Args: between(1, -1, "the address of a list, and members"),
	}
	f.add(c)
	fileFlag(c, &files)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		change, err := f.change(cmd)
		if err != nil {
			return err
		}
		in, err := a.input(args[1:], files)
		if err != nil {
			return err
		}
		return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
			if err := forList(l, &change); err != nil {
				return err
			}
			return a.addMembers(cmd, st, l, list.Role(f.role), change, in)
		})
	}
	return c
}

func (a *app) addMembers(cmd *cobra.Command, st store.Store, l *list.List, role list.Role, change store.MemberChange, in *memberInput) error {
	in.measure()
	p := newProgress(a.err)
	in.errs = p.writer(a.err)
	members := func(yield func(list.Membership, error) bool) {
		for m, err := range in.members() {
			m.Role = role
			apply(&m, change)
			if !yield(m, err) {
				return
			}
		}
	}
	done, err := st.AddMembers(cmd.Context(), l.ID, members, func(r store.AddResult) {
		p.show(r.Added+r.Existing, in.part())
	})
	p.clear()
	if err != nil {
		return withHint(err, "%s added before that; adding all of them again is harmless.", wereAdded(done.Added))
	}
	if a.json {
		err = printJSON(cmd.OutOrStdout(), map[string]any{"list": l.Address.String(), "role": role,
			"added": done.Added, "existing": done.Existing, "bad": in.bad})
	} else {
		text := fmt.Sprintf("Added %s to %s", count(done.Added, string(role), string(role)+"s"), l.Address)
		if done.Existing > 0 {
			text += fmt.Sprintf("; %s there before and unchanged", wereAdded(done.Existing))
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), text+".")
	}
	if err != nil {
		return err
	}
	return in.verdict()
}

func wereAdded(n int64) string { return count(n, "was", "were") }

// verdict is the error of a command whose input had lines that could not be read.
func (in *memberInput) verdict() error {
	if in.bad == 0 {
		return nil
	}
	return fmt.Errorf("%s not understood and left out", count(in.bad, "line was", "lines were"))
}
