package main

import (
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

func (a *app) listRename() *cobra.Command {
	return &cobra.Command{
		Use:   "rename ADDRESS NEW-ADDRESS",
		Short: "give a list another address; the old one goes on working",
		Long: `Gives a list another address, in one step. The old address becomes an alias of it: posts, commands, confirmations and
bounces that come to it go on working. Members, settings, archive and numbers stay. A handler's configuration, and
keys that sign for another domain, are yours to change.`,
		Example: "  mlist list rename dev@lists.example.org hackers@lists.example.org",
		Args:    between(2, 2, "the address of a list, and its new one"),
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := listAddress(args[1])
			if err != nil {
				return err
			}
			return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
				old := l.Address
				if old == to {
					return fmt.Errorf("%s is its address already", to)
				}
				if l, err = st.RenameList(cmd.Context(), old, to); err != nil {
					return taken(err, to.Domain)
				}
				if a.json {
					return a.printList(cmd, st, l)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s is %s now. Mail to %s still comes to it: `mlist list alias ls %s`.\n", old, l.Address, old, l.Address)
				return nil
			})
		},
	}
}

// taken says of an address that another list has where to look.
func taken(err error, domain string) error {
	if errors.Is(err, store.ErrExists) {
		return withHint(err, "`mlist list ls %s` shows the lists of the domain, `mlist list alias ls` their other addresses.", domain)
	}
	return err
}

// listState makes a command that changes whether a list takes posts.
func (a *app) listState(use, short, long, example string, state list.State, done string) *cobra.Command {
	var why string
	c := &cobra.Command{Use: use + " ADDRESS", Short: short, Long: long, Example: example, Args: between(1, 1, "the address of one list")}
	if state != list.Open {
		c.Flags().StringVar(&why, "reason", "", "a sentence for those who post, such as \"We are back on Monday.\"")
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := list.CheckWhy(why); err != nil {
			return usageError{fmt.Errorf("--%w", err)}
		}
		return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
			before := l.State
			l, err := st.SetState(cmd.Context(), l.Address, state, why)
			if err != nil {
				return err
			}
			if a.json {
				return a.printList(cmd, st, l)
			}
			if before == state {
				fmt.Fprintf(cmd.OutOrStdout(), "%s was %s before.\n", l.Address, state)
				return nil
			}
			fmt.Fprintf(cmd.OutOrStdout(), done+"\n", l.Address)
			return nil
		})
	}
	return c
}

func (a *app) listFreeze() *cobra.Command {
	return a.listState("freeze", "take no posts for now; everything else works", `A frozen list takes no posts: they are refused with 550 and a sentence, at RCPT where Postfix asks. Its members stay, people join
and leave, and what a moderator accepts of the held posts goes out. "mlist list open" ends it.`,
		"  mlist list freeze dev@lists.example.org --reason \"We move to a new server until Monday.\"", list.Frozen,
		"%s is frozen: it takes no posts until `mlist list open`.")
}

func (a *app) listClose() *cobra.Command {
	return a.listState("close", "end a list: no posts, nobody joins; its archive and members stay", `A closed list takes no posts, and nobody joins it by mail. Its members can leave, its archive stays, and it is no longer named
to those who ask which lists there are. "mlist list open" ends that; "mlist list delete" goes further.`,
		"  mlist list close dev@lists.example.org --reason \"The project has ended; see https://example.org/dev.\"", list.Closed,
		"%s is closed. Its archive stays.")
}

func (a *app) listOpen() *cobra.Command {
	return a.listState("open", "take posts again, after freeze or close", "", "  mlist list open dev@lists.example.org", list.Open, "%s takes posts again.")
}

func (a *app) listDelete() *cobra.Command {
	var yes, now bool
	c := &cobra.Command{
		Use:   "delete ADDRESS",
		Short: "delete a list with its members, settings, archive and history",
		Long: `Deletes a list. Its addresses are unknown from then on, and free for another list. For 30 days "mlist list restore" brings it
back as it was, unless --now has deleted it for good.`,
		Example: "  mlist list delete dev@lists.example.org --yes\n  mlist list ls --deleted\n  mlist list delete dev@lists.example.org --now --yes",
		Args:    between(1, 1, "the address of one list"),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&now, "now", false, "for good, with no way back")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
			n, err := st.CountMembers(cmd.Context(), l.ID, store.Filter{Roles: []list.Role{list.Member}})
			if err != nil {
				return err
			}
			until := time.Now().Add(list.Grace).UTC().Truncate(time.Second)
			how := fmt.Sprintf("until %s it can be restored", until.Format("2006-01-02"))
			if now {
				how = "for good"
			}
			if err := a.confirm(yes, fmt.Sprintf("This deletes %s, its %s and its archive: %s.", l.Address, count(n, "member", "members"), how)); err != nil {
				return err
			}
			if now {
				err = st.DeleteList(cmd.Context(), l.Address)
			} else {
				err = st.BuryList(cmd.Context(), l.Address, until)
			}
			if err != nil {
				return err
			}
			if a.json {
				out := map[string]any{"address": l.Address.String(), "deleted": true, "members": n}
				if !now {
					out["until"] = until
				}
				return printJSON(cmd.OutOrStdout(), out)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Deleted %s and its %s: %s. Its posts on their way to members are still delivered.\n", l.Address, count(n, "member", "members"), how)
			return nil
		})
	}
	return c
}

func (a *app) listRestore() *cobra.Command {
	return &cobra.Command{
		Use:     "restore ADDRESS",
		Short:   "bring a deleted list back as it was",
		Example: "  mlist list ls --deleted\n  mlist list restore dev@lists.example.org",
		Args:    between(1, 1, "the address of one deleted list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			addr, err := listAddress(args[0])
			if err != nil {
				return err
			}
			return a.withStore(cmd.Context(), false, func(st store.Store) error {
				l, err := st.RestoreList(cmd.Context(), addr)
				if errors.Is(err, store.ErrNotFound) {
					return withHint(err, "`mlist list ls --deleted` shows the lists that can be had back.")
				}
				if err != nil {
					return taken(err, addr.Domain)
				}
				if a.json {
					return a.printList(cmd, st, l)
				}
				aliases, err := st.Aliases(cmd.Context(), l.ID)
				if err != nil {
					return err
				}
				text := fmt.Sprintf("%s is back", l.Address)
				for i, alias := range aliases { // those that another list has taken meanwhile are not among them
					text += []string{", and found under ", ", "}[min(i, 1)] + alias.String()
				}
				fmt.Fprintln(cmd.OutOrStdout(), text+".")
				return nil
			})
		},
	}
}

// deletedJSON is a list as `list ls --deleted --json` shows it.
type deletedJSON struct {
	Address string    `json:"address"`
	Until   time.Time `json:"until"`
}

func (a *app) printDeleted(cmd *cobra.Command, lists iter.Seq2[store.DeletedList, error], domain string) error {
	out := array{w: cmd.OutOrStdout()}
	for d, err := range lists {
		if err != nil {
			return err
		}
		if domain != "" && d.Address.Domain != domain {
			continue
		}
		if a.json {
			err = out.add(deletedJSON{d.Address.String(), d.Until})
		} else {
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%-39s until %s\n", printable(d.Address.String(), false), moment(d.Until))
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

func (a *app) listAlias() *cobra.Command {
	return group(&cobra.Command{
		Use:   "alias",
		Short: "other addresses under which a list is found",
		Example: `  mlist list alias add dev@lists.example.org devel@lists.example.org
  mlist list alias ls dev@lists.example.org
  mlist list alias remove devel@lists.example.org`,
	}, a.aliasAdd(), a.aliasLs(), a.aliasRemove())
}

func (a *app) aliasAdd() *cobra.Command {
	return &cobra.Command{
		Use:     "add LIST ADDRESS...",
		Short:   "have mail to an address, and to its role addresses, come to the list",
		Example: "  mlist list alias add dev@lists.example.org devel@lists.example.org",
		Args:    between(2, -1, "the address of a list, and other addresses for it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
				for _, arg := range args[1:] {
					alias, err := listAddress(arg)
					if err != nil {
						return err
					}
					if err := st.AddAlias(cmd.Context(), l.Address, alias); err != nil {
						return taken(err, alias.Domain)
					}
				}
				return a.printAliases(cmd, st, l)
			})
		},
	}
}

func (a *app) aliasLs() *cobra.Command {
	return &cobra.Command{
		Use:     "ls [LIST]",
		Short:   "print the other addresses of a list, or of all",
		Example: "  mlist list alias ls\n  mlist list alias ls dev@lists.example.org --json",
		Args:    between(0, 1, "the address of a list, or nothing"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return a.withList(cmd, args[0], func(st store.Store, l *list.List) error { return a.printAliases(cmd, st, l) })
			}
			return a.withStore(cmd.Context(), false, func(st store.Store) error {
				var all []*list.List
				for l, err := range st.AllLists(cmd.Context(), "") {
					if err != nil {
						return err
					}
					all = append(all, l)
				}
				return a.printAliases(cmd, st, all...)
			})
		},
	}
}

// aliasJSON is an alias as `list alias ls --json` shows it.
type aliasJSON struct {
	Alias string `json:"alias"`
	List  string `json:"list"`
}

func (a *app) printAliases(cmd *cobra.Command, st store.Store, lists ...*list.List) error {
	out := array{w: cmd.OutOrStdout()}
	for _, l := range lists {
		aliases, err := st.Aliases(cmd.Context(), l.ID)
		if err != nil {
			return err
		}
		for _, alias := range aliases {
			if a.json {
				err = out.add(aliasJSON{alias.String(), l.Address.String()})
			} else {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%-39s %s\n", printable(alias.String(), false), printable(l.Address.String(), false))
			}
			if err != nil {
				return err
			}
		}
	}
	if a.json {
		return out.end()
	}
	return nil
}

func (a *app) aliasRemove() *cobra.Command {
	return &cobra.Command{
		Use:     "remove ADDRESS...",
		Aliases: []string{"rm"},
		Short:   "have an alias be no address of any list any more",
		Example: "  mlist list alias remove devel@lists.example.org",
		Args:    between(1, -1, "aliases"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd.Context(), false, func(st store.Store) error {
				for _, arg := range args {
					alias, err := listAddress(arg)
					if err != nil {
						return err
					}
					err = st.RemoveAlias(cmd.Context(), alias)
					if errors.Is(err, store.ErrNotFound) {
						return withHint(fmt.Errorf("%s is no alias", alias), "`mlist list alias ls` shows all.")
					}
					if err != nil {
						return err
					}
				}
				if a.json {
					return printJSON(cmd.OutOrStdout(), map[string]any{"removed": len(args)})
				}
				fmt.Fprintf(cmd.OutOrStdout(), "Removed %s.\n", count(int64(len(args)), "alias", "aliases"))
				return nil
			})
		},
	}
}

func (a *app) listCopy() *cobra.Command {
	var members bool
	c := &cobra.Command{
		Use:   "copy ADDRESS NEW-ADDRESS [SETTING=VALUE...]",
		Short: "create a list that is set like another, with its owners and moderators",
		Long: `Creates a list with the settings, owners and moderators of another one; with --members with its members and nonmembers, too. Bans,
aliases, archive and numbers stay with the one that is copied. It is one transaction: the copy is there whole, or not at all.`,
		Example: "  mlist list copy dev@lists.example.org ops@lists.example.org \"description=How we run it\"\n  mlist list copy dev@lists.example.org dev2@lists.example.org --members",
		Args:    between(2, -1, "the address of a list, and that of its copy"),
	}
	c.Flags().BoolVar(&members, "members", false, "with its members and nonmembers")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		to, err := listAddress(args[1])
		if err != nil {
			return err
		}
		change, err := parseChanges(args[2:], nil)
		if err != nil {
			return err
		}
		styles, err := a.styles()
		if err != nil {
			return err
		}
		return a.withList(cmd, args[0], func(st store.Store, from *list.List) error {
			l := &list.List{Address: to, Settings: from.Settings, Style: from.Style}
			if err := change.apply(l, styles); err != nil {
				return err
			}
			roles := []list.Role{list.Owner, list.Moderator}
			if members {
				roles = list.Roles
			}
			n, err := st.CopyList(cmd.Context(), from.Address, l, roles)
			if err != nil {
				return taken(err, to.Domain)
			}
			if a.json {
				return a.printList(cmd, st, l)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "Created %s, set like %s, with %s of its people.\n", l.Address, from.Address, thousands(n))
			return err
		})
	}
	return c
}
