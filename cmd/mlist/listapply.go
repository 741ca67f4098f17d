package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/listfile"
	"github.com/mlist/mlist/internal/store"
)

// exitDiffers is the status of `list plan` if lists are not as the file says.
const exitDiffers = exitStatus(3)

func (a *app) listExport() *cobra.Command {
	var domain string
	c := &cobra.Command{
		Use:   "export [LIST...]",
		Short: "write lists as a file that `mlist list apply` reads",
		Long: `Writes how lists are set, and who owns and moderates them, as TOML: what a list sets itself; the rest is its style's. Members are not
in it (mlist member ls). A moderators' password is in it as a hash.`,
		Example: "  mlist list export > lists.toml\n  mlist list export dev@lists.example.org\n  mlist list export --domain lists.example.org",
		Args:    between(0, -1, "the addresses of lists, or nothing for all"),
	}
	c.Flags().StringVar(&domain, "domain", "", "all lists of a domain")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		styles, err := a.styles()
		if err != nil {
			return err
		}
		return a.withStore(cmd.Context(), false, func(st store.Store) error {
			var lists []*list.List
			for _, arg := range args {
				l, err := findList(cmd.Context(), st, arg)
				if err != nil {
					return err
				}
				lists = append(lists, l)
			}
			if len(args) == 0 {
				for l, err := range st.AllLists(cmd.Context(), domain) {
					if err != nil {
						return err
					}
					lists = append(lists, l)
				}
			}
			for _, l := range lists {
				if err := exportList(cmd, st, styles, l); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return c
}

func exportList(cmd *cobra.Command, st store.Store, styles *list.Styles, l *list.List) error {
	own, err := styles.Own(l.Style, &l.Settings)
	if err != nil {
		return err
	}
	out := listfile.List{List: l, Own: slices.Sorted(maps.Keys(own))}
	if out.Aliases, err = st.Aliases(cmd.Context(), l.ID); err != nil {
		return err
	}
	for role, to := range map[list.Role]*[]list.Membership{list.Owner: &out.Owners, list.Moderator: &out.Moderators, list.Sender: &out.Senders} {
		for m, err := range st.Members(cmd.Context(), l.ID, store.Filter{Roles: []list.Role{role}}) {
			if err != nil {
				return err
			}
			*to = append(*to, m)
		}
	}
	for m, err := range st.Members(cmd.Context(), l.ID, store.Filter{Roles: []list.Role{list.Member}}) {
		if err != nil {
			return err
		}
		if isReceiver(m) {
			out.Receivers = append(out.Receivers, m)
		}
	}
	return listfile.Write(cmd.OutOrStdout(), out)
}

func (a *app) listPlan() *cobra.Command {
	return &cobra.Command{
		Use:   "plan FILE",
		Short: "show what `mlist list apply` would change, and change nothing",
		Long: `Shows in what lists are not as a file says; - is standard input. The status is 0 if nothing differs, 3 if something does,
and 1 if the file cannot be applied.`,
		Example: "  mlist list plan lists.toml\n  mlist list export | mlist list plan -",
		Args:    between(1, 1, "a file"),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.applyFile(cmd, args[0], true) },
	}
}

func (a *app) listApply() *cobra.Command {
	return &cobra.Command{
		Use:   "apply FILE",
		Short: "make lists as a file says: all of them, in one transaction, or none",
		Long: `Makes lists as a TOML file says, those that are not there included, in one transaction; - is standard input. Of a list in it, all
that has a key becomes so: with [list.settings], a setting that is not named goes back to the list's style; with owners or
moderators, whoever is not named loses the role. Lists that the file does not name, and keys that it leaves out, stay.`,
		Example: "  mlist list export dev@lists.example.org > dev.toml\n  mlist list plan dev.toml\n  mlist list apply dev.toml",
		Args:    between(1, 1, "a file"),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.applyFile(cmd, args[0], false) },
	}
}

func (a *app) applyFile(cmd *cobra.Command, name string, dry bool) error {
	specs, err := a.readLists(name)
	if err != nil {
		return err
	}
	// As `list create`, apply may be what makes the store.
	return a.withStore(cmd.Context(), !dry, func(st store.Store) error {
		diffs, err := st.ApplyLists(cmd.Context(), specs, dry)
		if err != nil {
			return withHint(err, "Nothing was changed.")
		}
		differ, err := a.printDiffs(cmd.OutOrStdout(), diffs, dry)
		if err == nil && dry && differ {
			return exitDiffers
		}
		return err
	})
}

func (a *app) readLists(name string) ([]store.ListSpec, error) {
	r, shown := a.in, "standard input"
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r, shown = f, name
	}
	specs, err := listfile.Read(r)
	if err != nil {
		return nil, withHint(fmt.Errorf("%s: %w", shown, err), "`mlist list export` writes such a file, `mlist list settings` explains its settings.")
	}
	return specs, nil
}

// diffJSON is a list as `list plan --json` and `list apply --json` show it.
type diffJSON struct {
	Address string       `json:"address"`
	Created bool         `json:"created"`
	Changes []changeJSON `json:"changes"`
}

type changeJSON struct {
	What string `json:"what"`
	Old  string `json:"old"`
	New  string `json:"new"`
}

func (a *app) printDiffs(w io.Writer, diffs []store.ListDiff, dry bool) (differ bool, err error) {
	out := array{w: w}
	n := 0
	for _, d := range diffs {
		if !d.Created && len(d.Changes) == 0 {
			continue
		}
		n++
		if a.json {
			j := diffJSON{Address: d.Address.String(), Created: d.Created, Changes: []changeJSON{}}
			for _, c := range d.Changes {
				j.Changes = append(j.Changes, changeJSON(c))
			}
			err = out.add(j)
		} else {
			err = printDiff(w, d)
		}
		if err != nil {
			return n > 0, err
		}
	}
	switch {
	case a.json:
		return n > 0, out.end()
	case n == 0:
		_, err = fmt.Fprintf(w, "Nothing differs: %s.\n", count(int64(len(diffs)), "list", "lists"))
	case dry:
		_, err = fmt.Fprintf(w, "%s would change, of %d. Nothing was changed.\n", count(int64(n), "list", "lists"), len(diffs))
	default:
		_, err = fmt.Fprintf(w, "Changed %s of %d.\n", count(int64(n), "list", "lists"), len(diffs))
	}
	return n > 0, err
}

// printDiff prints a list's changes as lines that begin with -, what was, and +, what is to be.
func printDiff(w io.Writer, d store.ListDiff) error {
	var b strings.Builder
	sign := "  "
	if d.Created {
		sign = "+ "
	}
	fmt.Fprintf(&b, "%s%s\n", sign, printable(d.Address.String(), false))
	for _, c := range d.Changes {
		for _, side := range []struct{ sign, text string }{{"-", c.Old}, {"+", c.New}} {
			isPart := c.What == "alias" || c.What == string(list.Receiver) || slices.Contains(list.Roles, list.Role(c.What))
			if isPart && side.text == "" {
				continue
			}
			fmt.Fprintf(&b, "    %s %s =%s\n", side.sign, c.What, strings.ReplaceAll(block(side.text), "\n", "\n    "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
