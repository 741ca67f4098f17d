package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/list"
)

func (a *app) styleCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "style",
		Short: "show the ways of setting lists that there are",
		Long: `A list has a style, and follows it in all that it does not set itself. Mlist has some, and a site makes its own in the
configuration: [styles.NAME] has settings, the style that it inherits, and those that are locked.`,
		Example: `  mlist style ls
  mlist style show announce
  mlist list create news@lists.example.org --style announce
  mlist list set dev@lists.example.org --style private`,
	}, a.styleLs(), a.styleShow())
}

// styles are those that the configuration has.
func (a *app) styles() (*list.Styles, error) {
	c, err := a.load()
	if err != nil {
		return nil, err
	}
	return list.ReadStyles(c.Styles)
}

// styleJSON is a style as `style ls --json` shows it.
type styleJSON struct {
	Name     string         `json:"name"`
	Help     string         `json:"help"`
	Inherits string         `json:"inherits,omitempty"`
	Settings map[string]any `json:"settings"` // its own
	Locked   []string       `json:"locked"`   // inherited ones included
}

func describeStyle(styles *list.Styles, name string) (styleJSON, error) {
	s, err := styles.Style(name)
	if err != nil {
		return styleJSON{}, err
	}
	base, err := styles.Base(name)
	if err != nil {
		return styleJSON{}, err
	}
	out := styleJSON{Name: s.Name, Help: s.Help, Inherits: s.Inherits, Settings: map[string]any{}, Locked: append([]string{}, s.Locked...)}
	for setting := range s.Settings {
		if out.Settings[setting], err = base.Value(setting); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (a *app) styleLs() *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "print the styles",
		Example: "  mlist style ls\n  mlist style ls --json",
		Args:    between(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			styles, err := a.styles()
			if err != nil {
				return err
			}
			out := array{w: cmd.OutOrStdout()}
			for _, name := range styles.Names() {
				s, err := describeStyle(styles, name)
				if err == nil && a.json {
					err = out.add(s)
				} else if err == nil {
					_, err = fmt.Fprintf(cmd.OutOrStdout(), "%-16s %s\n", s.Name, printable(s.Help, false))
				}
				if err != nil {
					return err
				}
			}
			if a.json {
				return out.end()
			}
			return nil
		},
	}
}

func (a *app) styleShow() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:     "show NAME",
		Short:   "show a style: how lists of it are set, and what they may not set",
		Example: "  mlist style show announce\n  mlist style show corporate --all",
		Args:    between(1, 1, "the name of one style"),
	}
	c.Flags().BoolVar(&all, "all", false, "show every setting")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		styles, err := a.styles()
		if err != nil {
			return err
		}
		s, err := describeStyle(styles, args[0])
		if err != nil {
			return withHint(err, "`mlist style ls` shows all.")
		}
		if a.json {
			return printJSON(cmd.OutOrStdout(), s)
		}
		base, err := styles.Base(args[0])
		if err != nil {
			return err
		}
		return showStyle(cmd.OutOrStdout(), s, base, all)
	}
	return c
}

func showStyle(w io.Writer, s styleJSON, base list.Settings, all bool) error {
	fmt.Fprintf(w, "%s\n", s.Name)
	if s.Help != "" {
		fmt.Fprintf(w, "  %s\n", printable(s.Help, false))
	}
	if s.Inherits != "" {
		fmt.Fprintf(w, "  inherits   %s\n", s.Inherits)
	}
	for i, name := range s.Locked {
		fmt.Fprintf(w, "  %-10s %s\n", cmp.Or(map[int]string{0: "locked"}[i], ""), name)
	}
	names := slices.Sorted(maps.Keys(base.Overrides()))
	if all {
		names = names[:0]
		for _, d := range list.All {
			names = append(names, d.Name)
		}
	}
	if len(names) == 0 {
		fmt.Fprintln(w, "\nEvery setting is at its default; --all shows them.")
		return nil
	}
	fmt.Fprintln(w)
	for _, name := range names {
		if err := printSetting(w, &base, name); err != nil {
			return err
		}
	}
	return nil
}
