package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/store"
)

func (a *app) memberLink() *cobra.Command {
	return &cobra.Command{
		Use:   "link ADDRESS OTHER-ADDRESS...",
		Short: "have addresses count as one person's, on all lists",
		Long: `Has addresses count as one person's, on all lists: posts are accepted from any of them, who is a member with several gets one copy, and who is an owner
or moderator with one is so with all. Members can ask for it by mail (link OTHER-ADDRESS); then both addresses confirm.`,
		Example: `  mlist member link ann@example.net ann@example.org
  mlist member addresses ann@example.org
  mlist member unlink ann@example.net`,
		Args: between(2, -1, "addresses of one person"),
		RunE: func(cmd *cobra.Command, args []string) error {
			addrs, err := parseAddresses(args)
			if err != nil {
				return err
			}
			return a.withStore(cmd.Context(), false, func(st store.Store) error {
				for _, other := range addrs[1:] {
					err := st.LinkAddress(cmd.Context(), addrs[0], other, time.Now())
					if errors.Is(err, store.ErrTooMany) {
						return withHint(err, "One person can have %d.", store.MaxAddresses)
					}
					if err != nil {
						return err
					}
				}
				return a.printAddresses(cmd, st, addrs[0])
			})
		},
	}
}

func (a *app) memberUnlink() *cobra.Command {
	return &cobra.Command{
		Use:     "unlink ADDRESS...",
		Short:   "have addresses count as one of their own again",
		Example: "  mlist member unlink ann@example.net",
		Args:    between(1, -1, "addresses"),
		RunE: func(cmd *cobra.Command, args []string) error {
			addrs, err := parseAddresses(args)
			if err != nil {
				return err
			}
			return a.withStore(cmd.Context(), false, func(st store.Store) error {
				for _, addr := range addrs {
					err := st.UnlinkAddress(cmd.Context(), addr)
					if errors.Is(err, store.ErrNotFound) {
						return withHint(fmt.Errorf("%s is linked to none", addr), "`mlist member addresses %s` shows whose it is.", addr)
					}
					if err != nil {
						return err
					}
				}
				if a.json {
					return printJSON(cmd.OutOrStdout(), map[string]any{"unlinked": args})
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "Unlinked: %s.\n", printable(strings.Join(args, ", "), false))
				return err
			})
		},
	}
}

func (a *app) memberAddresses() *cobra.Command {
	return &cobra.Command{
		Use:     "addresses ADDRESS",
		Short:   "print the addresses of the person who has one, and what they are on which lists",
		Example: "  mlist member addresses ann@example.org --json",
		Args:    between(1, 1, "an address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			addrs, err := parseAddresses(args)
			if err != nil {
				return err
			}
			return a.withStore(cmd.Context(), false, func(st store.Store) error { return a.printAddresses(cmd, st, addrs[0]) })
		},
	}
}

func parseAddresses(args []string) ([]address.Address, error) {
	var out []address.Address
	for _, arg := range args {
		addr, err := address.Parse(arg)
		if err != nil {
			return nil, usageError{err}
		}
		out = append(out, addr)
	}
	return out, nil
}

// addressJSON is an address of a person as `member addresses --json` shows it.
type addressJSON struct {
	Address string     `json:"address"`
	Roles   []roleJSON `json:"roles"`
}

type roleJSON struct {
	List string `json:"list"`
	Role string `json:"role"`
}

func (a *app) printAddresses(cmd *cobra.Command, st store.Store, addr address.Address) error {
	others, err := st.LinkedAddresses(cmd.Context(), addr)
	if err != nil {
		return err
	}
	out := array{w: cmd.OutOrStdout()}
	for _, one := range append([]address.Address{addr}, others...) {
		j := addressJSON{one.String(), []roleJSON{}}
		for r, err := range st.RolesOf(cmd.Context(), one) {
			if err != nil {
				return err
			}
			j.Roles = append(j.Roles, roleJSON{r.List.String(), string(r.Role)})
		}
		if a.json {
			err = out.add(j)
		} else {
			var roles []string
			for _, r := range j.Roles {
				roles = append(roles, r.Role+" of "+r.List)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), printable(strings.TrimSpace(one.String()+"  "+strings.Join(roles, ", ")), false))
		}
		if err != nil {
			return err
		}
	}
	if a.json {
		return out.end()
	}
	return nil
}
