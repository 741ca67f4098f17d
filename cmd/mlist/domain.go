package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// domainRoles are what an address can be to a domain.
var domainRoles = []list.Role{list.Owner, list.Moderator, list.Sender}

func (a *app) domainCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "domain",
		Short: "say who looks after all lists of a domain",
		Long: `Who is an owner or moderator of a domain is one of each list in it, also of those to come: they decide with tokens of their own, see what moderators
see, and get what a list's owners get where it has neither owners nor moderators. A sender of a domain may post to its lists.`,
		Example: `  mlist domain add lists.example.org "Ann <ann@example.org>" --role owner
  mlist domain ls
  mlist domain remove lists.example.org ann@example.org --role owner`,
	}, a.domainLs(), a.domainAdd(), a.domainRemove())
}

// domainJSON is a role of a domain as `domain ls --json` shows it.
type domainJSON struct {
	Domain  string    `json:"domain"`
	Role    string    `json:"role"`
	Address string    `json:"address"`
	Name    string    `json:"name"`
	Added   time.Time `json:"added"`
}

func (a *app) domainLs() *cobra.Command {
	return &cobra.Command{
		Use:     "ls [DOMAIN]",
		Short:   "print who has a role in which domain",
		Example: "  mlist domain ls lists.example.org --json",
		Args:    between(0, 1, "a domain, if wanted"),
		RunE: func(cmd *cobra.Command, args []string) error {
			domain := strings.Join(args, "")
			return a.withStore(cmd.Context(), false, func(st store.Store) error {
				w := cmd.OutOrStdout()
				out := array{w: w}
				n := 0
				for r, err := range st.DomainRoles(cmd.Context(), domain) {
					n++
					if err == nil && a.json {
						err = out.add(domainJSON{r.Domain, string(r.Role), r.Address.String(), r.DisplayName, r.Added})
					} else if err == nil {
						_, err = fmt.Fprintf(w, "%-24s %-10s %s\n", r.Domain, r.Role, printable(memberLine(list.Membership{Address: r.Address, DisplayName: r.DisplayName}), false))
					}
					if err != nil {
						return err
					}
				}
				if a.json {
					return out.end()
				}
				if n == 0 {
					_, err := fmt.Fprintln(w, "Nobody has a role in a domain.")
					return err
				}
				return nil
			})
		},
	}
}

// domainRole is a command about people with a role in a domain.
func (a *app) domainRole(c *cobra.Command, do func(cmd *cobra.Command, st store.Store, r store.DomainRole) error, done string) *cobra.Command {
	var role string
	c.Args = between(2, -1, "a domain, and people")
	c.Flags().StringVar(&role, "role", "", "what they are to all lists of the domain: "+words(domainRoles))
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains(domainRoles, list.Role(role)) {
			return usageError{fmt.Errorf("--role %q: want one of %s", role, words(domainRoles))}
		}
		domain, err := address.ParseDomain(args[0])
		if err != nil {
			return usageError{err}
		}
		var people []store.DomainRole
		var names []string
		for _, arg := range args[1:] {
			m, err := parseMember(arg)
			if err != nil {
				return usageError{err}
			}
			people = append(people, store.DomainRole{Domain: domain, Role: list.Role(role), Address: m.Address, DisplayName: m.DisplayName, Added: time.Now()})
			names = append(names, m.Address.String())
		}
		return a.withStore(cmd.Context(), false, func(st store.Store) error {
			for _, r := range people {
				if err := do(cmd, st, r); err != nil {
					return err
				}
			}
			if a.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"domain": domain, "role": role, done: names})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s of %s: %s %s.\n", role, domain, done, printable(strings.Join(names, ", "), false))
			return err
		})
	}
	return c
}

func (a *app) domainAdd() *cobra.Command {
	return a.domainRole(&cobra.Command{
		Use:     "add DOMAIN ADDRESS... --role ROLE",
		Short:   "give people a role on all lists of a domain",
		Example: "  mlist domain add lists.example.org ann@example.org --role moderator",
	}, func(cmd *cobra.Command, st store.Store, r store.DomainRole) error {
		err := st.AddDomainRole(cmd.Context(), r)
		switch {
		case errors.Is(err, store.ErrExists):
			return nil // it is as it was asked for
		case errors.Is(err, store.ErrNotFound):
			return withHint(fmt.Errorf("no list is, or was, in %s", r.Domain), "A domain comes to be with its first list: `mlist list create`.")
		}
		return err
	}, "added")
}

func (a *app) domainRemove() *cobra.Command {
	return a.domainRole(&cobra.Command{
		Use:     "remove DOMAIN ADDRESS... --role ROLE",
		Aliases: []string{"rm"},
		Short:   "take it away",
		Example: "  mlist domain remove lists.example.org ann@example.org --role moderator",
	}, func(cmd *cobra.Command, st store.Store, r store.DomainRole) error {
		err := st.RemoveDomainRole(cmd.Context(), r.Domain, r.Role, r.Address)
		if errors.Is(err, store.ErrNotFound) {
			return withHint(fmt.Errorf("%s is no %s of %s", r.Address, r.Role, r.Domain), "`mlist domain ls %s` shows who is.", r.Domain)
		}
		return err
	}, "removed")
}
