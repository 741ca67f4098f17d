package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/store"
)

func (a *app) memberMove() *cobra.Command {
	return &cobra.Command{
		Use:   "move OLD-ADDRESS NEW-ADDRESS",
		Short: "give all that an address is, on all lists, to another address",
		Long: `Gives every role of an address, on all lists, to another address, in one transaction, with all that the member has chosen. Where
the new address has the role already, it keeps what it has chosen itself, and the old one goes. Members can ask for it by mail (move
NEW-ADDRESS); then both addresses confirm.`,
		Example: "  mlist member move ann@example.net ann@example.org",
		Args:    between(2, 2, "an address, and the one that takes its place"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var addrs [2]address.Address
			for i, arg := range args {
				var err error
				if addrs[i], err = address.Parse(arg); err != nil {
					return usageError{err}
				}
			}
			return a.withStore(cmd.Context(), false, func(st store.Store) error {
				beside, err := besideLists(cmd.Context(), st, addrs[0])
				if err != nil {
					return err
				}
				moved, err := st.MoveAddress(cmd.Context(), addrs[0], addrs[1], nil, operator(), "by mlist member move")
				if err != nil {
					return err
				}
				return a.printMoved(cmd, addrs[0], addrs[1], moved, beside)
			})
		},
	}
}

// besideLists tells whether an address is something that moves beside its roles on lists: one of
// somebody's several, or one with a role in a domain.
func besideLists(ctx context.Context, st store.Store, addr address.Address) (bool, error) {
	linked, err := st.LinkedAddresses(ctx, addr)
	if err != nil || len(linked) > 0 {
		return len(linked) > 0, err
	}
	for r, err := range st.DomainRoles(ctx, "") {
		if err != nil || r.Address.Key() == addr.Key() {
			return err == nil, err
		}
	}
	return false, nil
}

// movedJSON is a role as `member move --json` shows it.
type movedJSON struct {
	List   string `json:"list"`
	Role   string `json:"role"`
	Merged bool   `json:"merged"` // the new address had it already
}

func (a *app) printMoved(cmd *cobra.Command, from, to address.Address, moved []store.ListRole, beside bool) error {
	out := array{w: cmd.OutOrStdout()}
	for _, r := range moved {
		var err error
		if a.json {
			err = out.add(movedJSON{r.List.String(), string(r.Role), r.Merged})
		} else {
			note := ""
			if r.Merged {
				note = "  (was one before)"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%-10s %s%s\n", r.Role, printable(r.List.String(), false), note)
		}
		if err != nil {
			return err
		}
	}
	if a.json {
		return out.end()
	}
	if len(moved) == 0 && !beside {
		return withHint(fmt.Errorf("%s is on no list", from), "Nothing was changed.")
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is %s now.\n", from, to)
	return err
}
