package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

func (a *app) banCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "ban",
		Short: "keep addresses off lists: one list, a domain's, or all",
		Long: `Bans are of an address, with all its details (eve+x@example.net); of a domain and those below it, as @example.net; or of a pattern that starts with ^ (RE2 syntax, case
does not matter, matched from the start of the address). A post by somebody who is banned is discarded.`,
		Example: `  mlist ban add --list dev@lists.example.org eve@example.net --reason "sells watches"
  mlist ban add --domain lists.example.org @spam.example
  mlist ban add --site '^.*[0-9]{8}@example\.com$'
  mlist ban ls
  mlist ban remove --site @spam.example`,
	}, a.banAdd(), a.banRm(), a.banLs())
}

// scopeFlags say which lists a ban is about.
type scopeFlags struct {
	list, domain string
	site         bool
}

func (f *scopeFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.list, "list", "", "one list, by its address")
	c.Flags().StringVar(&f.domain, "domain", "", "the lists of a domain")
	c.Flags().BoolVar(&f.site, "site", false, "every list")
}

// given is how many of them there are.
func (f *scopeFlags) given() int {
	n := 0
	for _, given := range []bool{f.list != "", f.domain != "", f.site} {
		if given {
			n++
		}
	}
	return n
}

// scope is what the flags say; there is one.
func (f *scopeFlags) scope(cmd *cobra.Command, st store.Store) (list.Scope, error) {
	switch {
	case f.list != "":
		l, err := findList(cmd.Context(), st, f.list)
		if err != nil {
			return list.Scope{}, err
		}
		return list.Scope{ListID: l.ID, List: l.Address}, nil
	case f.domain != "":
		domain, err := address.ParseDomain(f.domain)
		if err != nil {
			return list.Scope{}, usageError{err}
		}
		return list.Scope{Domain: domain}, nil
	}
	return list.Scope{}, nil
}

// changeBans is a command that does something to each ban that its arguments name.
func (a *app) changeBans(c *cobra.Command, done string, change func(cmd *cobra.Command, st store.Store, scope list.Scope, what string) error) *cobra.Command {
	var f scopeFlags
	f.add(c)
	c.Args = between(1, -1, "addresses, @domains, or ^patterns")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if f.given() != 1 {
			return usageError{errors.New("want one of --list LIST, --domain DOMAIN and --site")}
		}
		var whats []string
		for _, arg := range args { // all are read before one is changed
			what, err := list.ParseBan(arg)
			if err != nil {
				return usageError{err}
			}
			whats = append(whats, what)
		}
		return a.withStore(cmd.Context(), false, func(st store.Store) error {
			scope, err := f.scope(cmd, st)
			if err != nil {
				return err
			}
			for i, what := range whats {
				if err := change(cmd, st, scope, what); err != nil {
					if i > 0 {
						err = fmt.Errorf("%w (those before it are %s)", err, done)
					}
					return err
				}
			}
			if a.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{done: whats, "from": scope.String()})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s from %s: %s.\n", strings.ToUpper(done[:1])+done[1:], scope, printable(strings.Join(whats, ", "), false))
			return err
		})
	}
	return c
}

// maxBanReason leaves room in the reason of a verdict.
const maxBanReason = 500

func (a *app) banAdd() *cobra.Command {
	var reason string
	c := a.changeBans(&cobra.Command{
		Use:     "add WHAT... --list LIST | --domain DOMAIN | --site",
		Short:   "ban addresses, domains, patterns",
		Example: "  mlist ban add --list dev@lists.example.org eve@example.net --reason \"sells watches\"\n  mlist ban add --site @spam.example",
	}, "banned", func(cmd *cobra.Command, st store.Store, scope list.Scope, what string) error {
		err := st.AddBan(cmd.Context(), list.Ban{Scope: scope, What: what, Reason: reason})
		if errors.Is(err, store.ErrExists) {
			return withHint(err, "`mlist ban ls` shows all.")
		}
		return err
	})
	c.Flags().StringVar(&reason, "reason", "", "for moderators and the trace; the author is not told")
	run := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(reason) > maxBanReason || strings.ContainsFunc(reason, unicode.IsControl) {
			return usageError{fmt.Errorf("--reason: want one line of %d octets or less", maxBanReason)}
		}
		return run(cmd, args)
	}
	return c
}

func (a *app) banRm() *cobra.Command {
	return a.changeBans(&cobra.Command{
		Use:     "remove WHAT... --list LIST | --domain DOMAIN | --site",
		Aliases: []string{"rm"},
		Short:   "lift bans: what was banned may post again",
		Example: "  mlist ban remove --list dev@lists.example.org eve@example.net",
	}, "lifted", func(cmd *cobra.Command, st store.Store, scope list.Scope, what string) error {
		err := st.RemoveBan(cmd.Context(), scope, what)
		if errors.Is(err, store.ErrNotFound) {
			return withHint(err, "`mlist ban ls` shows which there are, and of what.")
		}
		return err
	})
}

// banJSON is a ban as `ban ls --json` shows it.
type banJSON struct {
	Scope  string    `json:"scope"` // list, domain or site
	Of     string    `json:"of,omitempty"`
	What   string    `json:"what"`
	Reason string    `json:"reason,omitempty"`
	Added  time.Time `json:"added"`
}

func (a *app) banLs() *cobra.Command {
	var f scopeFlags
	c := &cobra.Command{
		Use:     "ls [--list LIST | --domain DOMAIN | --site]",
		Short:   "print bans: of one list, of a domain, of the site, or all",
		Example: "  mlist ban ls\n  mlist ban ls --list dev@lists.example.org --json",
		Args:    between(0, 0, "no arguments"),
	}
	f.add(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.given() > 1 {
			return usageError{errors.New("want one of --list LIST, --domain DOMAIN and --site, or none of them")}
		}
		return a.withStore(cmd.Context(), false, func(st store.Store) error {
			var only *list.Scope
			if f.given() == 1 {
				scope, err := f.scope(cmd, st)
				if err != nil {
					return err
				}
				only = &scope
			}
			return a.printBans(cmd, st, only)
		})
	}
	return c
}

func (a *app) printBans(cmd *cobra.Command, st store.Store, only *list.Scope) error {
	w := cmd.OutOrStdout()
	out := array{w: w}
	n := 0
	for b, err := range st.Bans(cmd.Context(), only) {
		if err != nil {
			return err
		}
		n++
		if a.json {
			err = out.add(describeBan(b))
		} else {
			err = printBan(w, b)
		}
		if err != nil {
			return err
		}
	}
	if a.json {
		return out.end()
	}
	if n == 0 {
		_, err := fmt.Fprintln(w, "Nobody is banned.")
		return err
	}
	return nil
}

func describeBan(b list.Ban) banJSON {
	j := banJSON{Scope: "site", What: b.What, Reason: b.Reason, Added: b.Added}
	switch {
	case b.ListID != 0:
		j.Scope, j.Of = "list", b.List.String()
	case b.Domain != "":
		j.Scope, j.Of = "domain", b.Domain
	}
	return j
}

func printBan(w io.Writer, b list.Ban) error {
	line := fmt.Sprintf("%-39s from %s, since %s", b.What, b.Scope, b.Added.Format(time.DateOnly))
	if b.Reason != "" {
		line += ": " + b.Reason
	}
	_, err := fmt.Fprintln(w, printable(line, false))
	return err
}
