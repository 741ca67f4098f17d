package main

import (
	"fmt"
	"iter"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

func (a *app) memberAdd() *cobra.Command {
	var f memberFlags
	var files []string
	var s syncFlags
	c := &cobra.Command{
		Use:   "add LIST [ADDRESS...]",
		Short: "add members: arguments, a file, or standard input",
		Long: `Adds members, or with --role others, in one transaction. Those that exist stay as they are. A sender may post and receives nothing; a receiver is a
member whose posts are rejected. Forms: ann@example.net, "Ann <ann@example.net>". In a file there is one a line; empty lines and those that start
with # are nothing. A file is CSV if its first line names columns: address, and any of role, name, mode, status, action, no_own_posts,
no_duplicates, acknowledge_posts, language. Flags go before what a column says, but for --role. A line that cannot be read is named and counted, the others are
added, and the status is 1. With --dry-run the status is 3 if somebody would be added.`,
		Example: `  mlist member add dev@lists.example.org ann@example.net "Bob <bob@example.com>"
  mlist member add dev@lists.example.org --file members.txt --dry-run
  ldapsearch … | mlist member add dev@lists.example.org - --no-own-posts
  mlist member add dev@lists.example.org cy@example.net --role moderator`,
		Args: between(1, -1, "the address of a list, and members"),
	}
	f.add(c)
	fileFlag(c, &files)
	s.rows(c)
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
			return a.addMembers(cmd, st, l, list.Role(f.role), change, in, s)
		})
	}
	return c
}

// rows are the flags of commands that tell of each who is named.
func (s *syncFlags) rows(c *cobra.Command) {
	c.Flags().BoolVarP(&s.dry, "dry-run", "n", false, "show what would change, and change nothing")
	c.Flags().BoolVarP(&s.long, "long", "l", false, "tell what becomes of each who is named; a dry run always does")
}

func (a *app) addMembers(cmd *cobra.Command, st store.Store, l *list.List, role list.Role, change store.MemberChange, in *memberInput, f syncFlags) error {
	in.measure()
	p := newProgress(a.err)
	in.errs = p.writer(a.err)
	members := func(yield func(list.Membership, error) bool) {
		for m, err := range in.members() {
			if m.Role == "" {
				m.Role = role
			}
			apply(&m, change)
			if !yield(m, err) {
				return
			}
		}
	}
	how := store.Sync{Kind: store.SyncAdd, Role: storedRole(role), Dry: f.dry, By: operator(), Why: "by mlist member add"}
	done, rows, err := a.syncRows(cmd, st, l, how, members, p, in, f)
	if err != nil {
		return withHint(err, "Nothing was changed.")
	}
	if !rows && a.json {
		err = printJSON(cmd.OutOrStdout(), map[string]any{"list": l.Address.String(), "role": role,
			"added": done.Added, "existing": done.Unchanged + done.Twice, "bad": in.bad})
	} else if !a.json {
		text := fmt.Sprintf("Added %s to %s", count(done.Added, string(role), string(role)+"s"), l.Address)
		if f.dry {
			text = fmt.Sprintf("%s would be added to %s", count(done.Added, string(role), string(role)+"s"), l.Address)
		}
		if existing := done.Unchanged + done.Twice; existing > 0 {
			text += fmt.Sprintf("; %s there before and unchanged", wereAdded(existing))
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), text+".")
	}
	if err == nil {
		err = in.verdict()
	}
	if err == nil && f.dry && done.Added > 0 {
		return exitDiffers
	}
	return err
}

// syncRows changes who has a role, and prints a row for each who is named where that is asked
// for, which it tells.
func (a *app) syncRows(cmd *cobra.Command, st store.Store, l *list.List, how store.Sync, members iter.Seq2[list.Membership, error], p *progress, in *memberInput, f syncFlags) (store.SyncResult, bool, error) {
	out := array{w: cmd.OutOrStdout()}
	row := a.printRow(cmd, &out)
	rows := f.long || f.dry
	if !rows {
		row = nil
	}
	r, err := st.SyncMembers(cmd.Context(), l.ID, how, members, func(read int64) { p.show(read, in.part()) }, row)
	p.clear()
	if err == nil && rows && a.json {
		err = out.end()
	}
	return r, rows, err
}

// storedRole is what a word for a role is in the store.
func storedRole(role list.Role) list.Role {
	if role == list.Receiver {
		return list.Member
	}
	return role
}

func wereAdded(n int64) string { return count(n, "was", "were") }

// verdict is the error of a command whose input had lines that could not be read.
func (in *memberInput) verdict() error {
	if in.bad == 0 {
		return nil
	}
	return fmt.Errorf("%s not understood and left out", count(in.bad, "line was", "lines were"))
}
