package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk/password"
)

// changes are settings in text form by name; nil goes back to the default.
type changes map[string]*string

// parseChanges reads NAME=VALUE and NAME-, and names that go back to their default.
func parseChanges(args, defaults []string) (changes, error) {
	out := changes{}
	add := func(name string, value *string) error {
		d, err := list.Describe(name)
		if err != nil {
			return withHint(err, "`mlist list settings` shows all.")
		}
		if d.Kind == "password" && value != nil && *value != "" && !password.IsHash(*value) {
			hashed, err := password.Hash(*value)
			if err != nil {
				return usageError{fmt.Errorf("%s: %w", name, err)}
			}
			value = &hashed
		}
		if _, twice := out[name]; twice {
			return usageError{fmt.Errorf("%s is there twice", name)}
		}
		out[name] = value
		return nil
	}
	for _, arg := range args {
		name, value, isChange := strings.Cut(arg, "=")
		reset, isReset := strings.CutSuffix(arg, "-")
		var err error
		switch {
		case isChange:
			err = add(name, &value)
		case isReset:
			err = add(reset, nil)
		default:
			err = usageError{fmt.Errorf("%q: want NAME=VALUE, or NAME- for the default", arg)}
		}
		if err != nil {
			return nil, err
		}
	}
	for _, name := range defaults {
		if err := add(name, nil); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// apply changes settings of a list that no store has yet.
func (c changes) apply(l *list.List, styles *list.Styles) error {
	for _, name := range slices.Sorted(maps.Keys(c)) {
		if c[name] == nil {
			continue // it has what its style has
		}
		if err := styles.CheckLocked(l.Style, name); err != nil {
			return err
		}
		if err := l.Settings.Set(name, *c[name]); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) listSet() *cobra.Command {
	var defaults []string
	var style string
	c := &cobra.Command{
		Use:   "set ADDRESS SETTING=VALUE... | SETTING-",
		Short: "change settings: all of those named, or none",
		Long: `Changes settings: all of those named, or none. NAME- and --default NAME go back to what the list's style has.
With --style the list follows another one in all that it does not set itself.
A setting of several lines is one value with line ends in it.`,
		Example: `  mlist list set dev@lists.example.org default_nonmember_action=accept max_message_size=0
  mlist list set dev@lists.example.org footer- --default subject_prefix
  mlist list set dev@lists.example.org accept_these_nonmembers="$(cat trusted.txt)"`,
		Args: between(1, -1, "the address of the list, and settings as NAME=VALUE"),
	}
	c.Flags().StringArrayVar(&defaults, "default", nil, "setting that goes back to its default, once or more")
	c.Flags().StringVar(&style, "style", "", "the style that the list is to follow: mlist style ls shows all")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		change, err := parseChanges(args[1:], defaults)
		if err != nil {
			return err
		}
		if len(change) == 0 && style == "" {
			return usageError{fmt.Errorf("nothing to set: want NAME=VALUE")}
		}
		return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
			if style != "" {
				l, err = a.restyle(cmd.Context(), st, l, style, change)
			} else {
				l, err = st.ChangeList(cmd.Context(), l.Address, change)
			}
			if err != nil {
				return err
			}
			if a.json {
				return a.printList(cmd, st, l)
			}
			if style != "" {
				fmt.Fprintf(cmd.OutOrStdout(), "style = %s\n", style)
			}
			for _, name := range slices.Sorted(maps.Keys(change)) {
				if err := printSetting(cmd.OutOrStdout(), &l.Settings, name); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return c
}

// restyle has a list follow another style, and changes its settings, in one transaction. Of its own
// settings those stay that the style lets it have.
func (a *app) restyle(ctx context.Context, st store.Store, l *list.List, style string, change changes) (*list.List, error) {
	styles, err := a.styles()
	if err != nil {
		return nil, err
	}
	own, err := styles.Own(l.Style, &l.Settings)
	if err != nil {
		return nil, err
	}
	for name := range own {
		if styles.CheckLocked(list.StyleName(style), name) != nil {
			delete(own, name)
		}
	}
	for name, text := range change {
		if text != nil {
			own[name] = *text
		} else {
			delete(own, name)
		}
	}
	if _, err := st.ApplyLists(ctx, []store.ListSpec{{Address: l.Address, Style: &style, Settings: own}}, false); err != nil {
		return nil, withHint(err, "`mlist style ls` shows all.")
	}
	return st.List(ctx, l.Address)
}

// printSetting prints one setting: several lines below each other, or as NAME = VALUE.
func printSetting(w io.Writer, s *list.Settings, name string) error {
	text, err := s.Get(name)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s =%s\n", name, block(text))
	return nil
}

// block writes text behind or, if it has several lines, below what comes before it.
func block(text string) string {
	text = printable(text, true)
	if !strings.Contains(text, "\n") {
		if text != strings.TrimSpace(text) {
			return ` "` + text + `"` // so that the blank at its end shows
		}
		return strings.TrimSuffix(" "+text, " ")
	}
	return "\n    " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n    ")
}

func (a *app) listSettings() *cobra.Command {
	return &cobra.Command{
		Use:     "settings [SETTING...]",
		Short:   "explain the settings that lists have",
		Example: "  mlist list settings\n  mlist list settings subject_prefix reply_goes_to_list",
		RunE: func(cmd *cobra.Command, args []string) error {
			all := list.All
			if len(args) > 0 {
				all = nil
			}
			for _, name := range args {
				d, err := list.Describe(name)
				if err != nil {
					return withHint(err, "`mlist list settings` shows all.")
				}
				all = append(all, d)
			}
			if a.json {
				out := array{w: cmd.OutOrStdout()}
				for _, d := range all {
					if err := out.add(settingJSON{d.Name, d.Kind, d.Of, d.Default, d.Help}); err != nil {
						return err
					}
				}
				return out.end()
			}
			for _, d := range all {
				explain(cmd.OutOrStdout(), d)
			}
			return nil
		},
	}
}

type settingJSON struct {
	Name    string   `json:"name"`
	Kind    string   `json:"kind"`
	Of      []string `json:"of,omitempty"`
	Default string   `json:"default"`
	Help    string   `json:"help"`
}

// explain prints what a setting is for, what it may be and what it is by default.
func explain(w io.Writer, d list.Setting) {
	kind := d.Kind
	if d.Of != nil {
		kind = strings.Join(d.Of, ", ")
	}
	fmt.Fprintf(w, "%s (%s)\n  %s\n", d.Name, kind, d.Help)
	if d.Default != "" {
		fmt.Fprintf(w, "  default:%s\n", block(d.Default))
	}
}
