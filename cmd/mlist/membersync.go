package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// syncFlags are how `member sync` works.
type syncFlags struct {
	dry, force, long bool
	most             int // percent
}

func (a *app) memberSync() *cobra.Command {
	var f memberFlags
	var s syncFlags
	var files []string
	c := &cobra.Command{
		Use:   "sync LIST FILE",
		Short: "make the members those of a file: add who is new, remove who is not in it",
		Long: `Makes a list's members those that a file names, in one transaction: who is new is added, who is not in the file is removed, and
who is there stays as they are. FILE has a member a line, as for "member add", or is CSV whose first line names the columns; - is
standard input. Owners and moderators are not touched, unless --role says so.

Nothing is changed if a line cannot be read, or if more than 20 percent of the members would go: --max-removals and --force say
otherwise. With --dry-run the status is 0 if nothing differs and 3 if something does.`,
		Example: `  mlist member sync staff@lists.example.org staff.csv --dry-run
  ldapsearch … | mlist member sync staff@lists.example.org -
  mlist member sync staff@lists.example.org staff.csv --max-removals 50`,
		Args: between(1, 2, "the address of a list, and a file"),
	}
	f.add(c)
	fileFlag(c, &files)
	c.Flags().BoolVarP(&s.dry, "dry-run", "n", false, "show what would change, and change nothing")
	c.Flags().BoolVar(&s.force, "force", false, "however many would go, and whatever lines cannot be read")
	c.Flags().BoolVarP(&s.long, "long", "l", false, "name everybody who comes and goes; a dry run always does")
	c.Flags().IntVar(&s.most, "max-removals", 20, "how many percent of the members may go")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		change, err := f.change(cmd)
		if err != nil {
			return err
		}
		if s.most < 0 || s.most > 100 {
			return usageError{errMost}
		}
		if list.Role(f.role) == list.Receiver {
			return usageError{errors.New("--role receiver: receivers are members; synchronise those, with a column action, or the key receivers of `mlist list apply`")}
		}
		in, err := a.input(nil, append(args[1:], files...))
		if err != nil {
			return err
		}
		return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
			if err := forList(l, &change); err != nil {
				return err
			}
			return a.syncMembers(cmd, st, l, list.Role(f.role), change, in, s)
		})
	}
	return c
}

var errMost = errors.New("--max-removals: want percent, from 0 to 100")

// syncRow is one who comes or goes, as `member sync --json` shows them.
type syncRow struct {
	Address string `json:"address"`
	Change  string `json:"change"` // added or removed; existing or missing, where who is named needs nothing
}

// printRow prints one who comes or goes: a line, or an item of out.
func (a *app) printRow(cmd *cobra.Command, out *array) func(address.Address, store.SyncChange) error {
	return func(addr address.Address, change store.SyncChange) error {
		r := syncRow{addr.String(), string(change)}
		if a.json {
			return out.add(r)
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%-8s %s\n", r.Change, printable(r.Address, false))
		return err
	}
}

// errBadLines ends the reading of members when there are lines that are none.
var errBadLines = errors.New("nothing was changed")

func (a *app) syncMembers(cmd *cobra.Command, st store.Store, l *list.List, role list.Role, change store.MemberChange, in *memberInput, f syncFlags) error {
	in.measure()
	p := newProgress(a.err)
	in.errs = p.writer(a.err)
	members := func(yield func(list.Membership, error) bool) {
		for m, err := range in.members() {
			if err == nil && m.Role != "" && m.Role != role {
				err = fmt.Errorf("%s: the file says %s, and what is synchronised are those with the role %s", m.Address, m.Role, role)
			}
			apply(&m, change)
			if !yield(m, err) {
				return
			}
		}
		if in.bad > 0 && !f.force { // a line that cannot be read may be one who would be removed
			yield(list.Membership{}, errBadLines)
		}
	}
	out := array{w: cmd.OutOrStdout()}
	row := a.printRow(cmd, &out)
	if !a.json && !f.long && !f.dry {
		row = nil
	}
	how := store.Sync{Role: role, Dry: f.dry, MaxRemoved: float64(f.most) / 100, By: operator(), Why: "synchronised with a file"}
	if f.force {
		how.MaxRemoved = 1
	}
	r, err := st.SyncMembers(cmd.Context(), l.ID, how, members, func(read int64) { p.show(read, in.part()) }, row)
	p.clear()
	if errors.Is(err, errBadLines) {
		return withHint(in.verdict(), "Nothing was changed. --force leaves them out, and whoever they mean is removed.")
	}
	if err != nil {
		return withHint(err, "Nothing was changed.")
	}
	if a.json {
		err = out.end()
	} else {
		err = f.tell(cmd, l, role, r)
	}
	switch {
	case err != nil:
		return err
	case r.Refused:
		return withHint(fmt.Errorf("%s of %d would be removed, more than %d percent", thousands(r.Removed), r.Before, f.most),
			"Nothing was changed. --dry-run shows who; --max-removals %d or --force allows it.", (r.Removed*100+r.Before-1)/r.Before)
	case f.dry && r.Added+r.Removed > 0:
		return exitDiffers
	}
	return nil
}

func (f syncFlags) tell(cmd *cobra.Command, l *list.List, role list.Role, r store.SyncResult) error {
	if r.Refused {
		return nil
	}
	text := fmt.Sprintf("%s: %s added, %s removed, %s unchanged", l.Address, count(r.Added, string(role), string(role)+"s"), thousands(r.Removed), thousands(r.Unchanged))
	if f.dry {
		text = fmt.Sprintf("%s: %s would be added, %s removed, %s unchanged", l.Address, count(r.Added, string(role), string(role)+"s"), thousands(r.Removed), thousands(r.Unchanged))
	}
	if r.Twice > 0 {
		text += fmt.Sprintf("; %s more than once in the file", wereAdded(r.Twice))
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), text+".")
	return err
}

// part is how much of the input has been read, from 0 to 1; -1 if that cannot be known.
func (in *memberInput) part() float64 {
	if in.known == 0 {
		return -1
	}
	return float64(in.read) / float64(in.known)
}
