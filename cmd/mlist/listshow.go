package main

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

func (a *app) listShow() *cobra.Command {
	var all, help bool
	c := &cobra.Command{
		Use:     "show ADDRESS",
		Short:   "show a list: its people, and the settings that are not at their default",
		Example: "  mlist list show dev@lists.example.org\n  mlist list show dev@lists.example.org --all --help-settings",
		Args:    between(1, 1, "the address of one list"),
	}
	c.Flags().BoolVar(&all, "all", false, "show every setting")
	c.Flags().BoolVar(&help, "help-settings", false, "explain each setting that is shown")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
			if a.json {
				return a.printList(cmd, st, l)
			}
			return a.showList(cmd, st, l, all, help)
		})
	}
	return c
}

func (a *app) showList(cmd *cobra.Command, st store.Store, l *list.List, all, help bool) error {
	d, err := describeList(cmd, st, l)
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "%s (%s)\n", printable(d.Address, false), printable(d.Name, false))
	if d.Description != "" {
		fmt.Fprintf(w, "  %s\n", printable(d.Description, false))
	}
	fmt.Fprintf(w, "  created    %s\n", moment(d.Created))
	if l.Style != "" {
		fmt.Fprintf(w, "  style      %s\n", l.Style)
	}
	if l.State != list.Open {
		fmt.Fprintf(w, "  state      %s since %s", l.State, moment(l.StateSince))
		if l.StateWhy != "" {
			fmt.Fprintf(w, ": %s", printable(l.StateWhy, false))
		}
		fmt.Fprintln(w)
	}
	for _, alias := range d.Aliases {
		fmt.Fprintf(w, "  alias      %s\n", printable(alias, false))
	}
	fmt.Fprintf(w, "  members    %s, %s of them with delivery enabled\n", thousands(d.Members), thousands(d.Enabled))
	for _, p := range []struct {
		what  string
		first []string
	}{{"owners", d.Owners}, {"moderators", d.Moderators}} {
		if len(p.first) == 0 {
			fmt.Fprintf(w, "  %-10s none\n", p.what)
		}
		for i, m := range p.first {
			if i > 0 {
				p.what = ""
			}
			fmt.Fprintf(w, "  %-10s %s\n", p.what, printable(m, false))
		}
	}
	return showSettings(w, l, all, help)
}

// maxShown bounds how many owners and moderators are named.
const maxShown = 1000

// listDetail is a list as `list show --json` shows it.
type listDetail struct {
	listJSON
	Members    int64         `json:"members"`
	Enabled    int64         `json:"members_enabled"`
	Aliases    []string      `json:"aliases"`
	Owners     []string      `json:"owners"`
	Moderators []string      `json:"moderators"`
	Settings   list.Settings `json:"settings"`
	Changed    []string      `json:"changed"` // settings that are not at their default
}

func describeList(cmd *cobra.Command, st store.Store, l *list.List) (*listDetail, error) {
	ctx := cmd.Context()
	d := &listDetail{Settings: l.Settings, Aliases: []string{}, Owners: []string{}, Moderators: []string{}, Changed: []string{}}
	d.listJSON = headline(l)
	aliases, err := st.Aliases(ctx, l.ID)
	if err != nil {
		return nil, err
	}
	for _, alias := range aliases {
		d.Aliases = append(d.Aliases, alias.String())
	}
	if d.Members, err = st.CountMembers(ctx, l.ID, store.Filter{Roles: []list.Role{list.Member}}); err != nil {
		return nil, err
	}
	if d.Enabled, err = st.CountMembers(ctx, l.ID, store.Filter{Roles: []list.Role{list.Member}, Statuses: []list.Status{list.Enabled}}); err != nil {
		return nil, err
	}
	for role, to := range map[list.Role]*[]string{list.Owner: &d.Owners, list.Moderator: &d.Moderators} {
		for m, err := range st.Members(ctx, l.ID, store.Filter{Roles: []list.Role{role}}) {
			if err != nil {
				return nil, err
			}
			if len(*to) < maxShown {
				*to = append(*to, m.Address.String())
			}
		}
	}
	d.Changed = append(d.Changed, slices.Sorted(maps.Keys(l.Settings.Overrides()))...)
	return d, nil
}

func (a *app) printList(cmd *cobra.Command, st store.Store, l *list.List) error {
	d, err := describeList(cmd, st, l)
	if err != nil {
		return err
	}
	return printJSON(cmd.OutOrStdout(), d)
}

func showSettings(w io.Writer, l *list.List, all, help bool) error {
	changed := l.Settings.Overrides()
	if len(changed) == 0 && !all {
		fmt.Fprintln(w, "\nEvery setting is at its default; --all shows them.")
		return nil
	}
	fmt.Fprintln(w)
	for _, s := range list.All {
		if _, ok := changed[s.Name]; !ok && !all {
			continue
		}
		if err := printSetting(w, &l.Settings, s.Name); err != nil {
			return err
		}
		if help {
			fmt.Fprintf(w, "    # %s\n", s.Help)
		}
	}
	return nil
}
