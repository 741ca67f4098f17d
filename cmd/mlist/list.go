package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

func (a *app) listCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "list",
		Short: "create, show, set, rename, freeze, close and delete lists",
		Example: `  mlist list create dev@lists.example.org --owner you@example.org
  mlist list set dev@lists.example.org default_nonmember_action=accept max_message_size=0
  mlist list show dev@lists.example.org --all
  mlist list settings`,
	}, a.listCreate(), a.listLs(), a.listShow(), a.listSet(), a.listSettings(),
		a.listCopy(), a.listRename(), a.listAlias(), a.listFreeze(), a.listClose(), a.listOpen(), a.listDelete(), a.listRestore(),
		a.listExport(), a.listPlan(), a.listApply())
}

func (a *app) listCreate() *cobra.Command {
	var owners []string
	var style string
	c := &cobra.Command{
		Use:   "create ADDRESS [SETTING=VALUE...]",
		Short: "create a list; its addresses work at once",
		Example: `  mlist list create dev@lists.example.org --owner you@example.org
  mlist list create news@lists.example.org --style announce "description=What is new"`,
		Args: between(1, -1, "the address of the list, and settings as NAME=VALUE"),
	}
	c.Flags().StringArrayVar(&owners, "owner", nil, "address of an owner, once or more: they get what is for the owners, and moderate")
	c.Flags().StringVar(&style, "style", list.DefaultStyle, "the style that the list follows in what it does not set itself: mlist style ls shows all")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		addr, err := listAddress(args[0])
		if err != nil {
			return err
		}
		styles, err := a.styles()
		if err != nil {
			return err
		}
		l := &list.List{Address: addr, Style: style}
		if l.Settings, err = styles.Base(style); err != nil {
			return withHint(err, "`mlist style ls` shows all.")
		}
		changes, err := parseChanges(args[1:], nil)
		if err != nil {
			return err
		}
		if err := changes.apply(l, styles); err != nil {
			return err
		}
		members, err := parseOwners(owners)
		if err != nil {
			return err
		}
		return a.withStore(cmd.Context(), true, func(st store.Store) error { return a.createList(cmd, st, l, members) })
	}
	return c
}

func parseOwners(owners []string) ([]list.Membership, error) {
	var out []list.Membership
	for _, text := range owners {
		m, err := parseMember(text)
		if err != nil {
			return nil, usageError{fmt.Errorf("--owner: %w", err)}
		}
		m.Role = list.Owner
		out = append(out, m)
	}
	return out, nil
}

func (a *app) createList(cmd *cobra.Command, st store.Store, l *list.List, owners []list.Membership) error {
	err := st.CreateList(cmd.Context(), l)
	if errors.Is(err, store.ErrExists) {
		return withHint(err, "`mlist list ls %s` shows the lists of the domain.", l.Address.Domain)
	}
	if err != nil {
		return err
	}
	if _, err := st.AddMembers(cmd.Context(), l.ID, each(owners), nil); err != nil {
		return withHint(err, "The list is there, without its owners: `mlist member add %s --role owner ADDRESS`.", l.Address)
	}
	if a.json {
		return a.printList(cmd, st, l)
	}
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "Created %s. Next:\n", l.Address)
	if len(owners) == 0 {
		fmt.Fprintf(w, "  mlist member add %s --role owner you@example.org   # who gets mail for the owners, and moderates\n", l.Address)
	}
	fmt.Fprintf(w, "  mlist member add %s ann@example.net                # or --file FILE, a line for each member\n", l.Address)
	fmt.Fprintf(w, "  mlist list show %s --all                           # how it is set\n", l.Address)
	return nil
}

// each yields the items of a slice as a stream that has no errors.
func each[T any](items []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
	}
}

func (a *app) listLs() *cobra.Command {
	var deleted bool
	c := &cobra.Command{
		Use:     "ls [DOMAIN]",
		Short:   "print the lists, of one domain or all",
		Example: "  mlist list ls\n  mlist list ls lists.example.org --json\n  mlist list ls --deleted",
		Args:    between(0, 1, "a domain, or nothing"),
	}
	c.Flags().BoolVar(&deleted, "deleted", false, "those that are deleted and can be restored")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		domain := ""
		if len(args) > 0 {
			d, err := address.ParseDomain(args[0])
			if err != nil {
				return usageError{err}
			}
			domain = d
		}
		return a.withStore(cmd.Context(), false, func(st store.Store) error {
			if deleted {
				return a.printDeleted(cmd, st.DeletedLists(cmd.Context()), domain)
			}
			return a.printLists(cmd.OutOrStdout(), st.AllLists(cmd.Context(), domain))
		})
	}
	return c
}

func (a *app) printLists(w io.Writer, lists iter.Seq2[*list.List, error]) error {
	out := array{w: w}
	for l, err := range lists {
		if err != nil {
			return err
		}
		if a.json {
			if err := out.add(headline(l)); err != nil {
				return err
			}
			continue
		}
		line := printable(l.Address.String(), false)
		rest := printable(l.Settings.Description, false)
		if l.State != list.Open {
			rest = strings.TrimSpace("[" + string(l.State) + "] " + rest)
		}
		if rest != "" {
			line = fmt.Sprintf("%-39s %s", line, rest)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	if a.json {
		return out.end()
	}
	return nil
}

// listJSON is a list as `list ls --json` shows it.
type listJSON struct {
	Address     string    `json:"address"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Created     time.Time `json:"created"`
	// State is open, frozen or closed; Reason is what those who post are told of it.
	State  list.State `json:"state"`
	Style  string     `json:"style"`
	Reason string     `json:"state_reason,omitempty"`
}

// headline is what every form of a list begins with.
func headline(l *list.List) listJSON {
	return listJSON{Address: l.Address.String(), Name: l.Name(), Description: l.Settings.Description, Created: l.Created, State: l.State, Style: cmp.Or(l.Style, list.DefaultStyle), Reason: l.StateWhy}
}
