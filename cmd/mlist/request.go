package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/address"
	commands "github.com/mlist/mlist/internal/command"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/pipeline"
)

func (a *app) requestCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "request",
		Short: "decide about who wants to join or leave",
		Long: `Requests to join, to leave, or to change what is sent wait for the address to confirm them, or for a moderator (subscription_policy,
unsubscription_policy). Moderators decide by answering the mail that tells them, or here.`,
		Example: `  mlist request ls dev@lists.example.org
  mlist request accept dev@lists.example.org zoe@example.net
  mlist request reject dev@lists.example.org eve@example.net --reason "Members are known to us."
  mlist request discard dev@lists.example.org --all`,
	}, a.requestLs(), a.requestDecide(commands.Accept, "accepted", "do what was asked for, and greet who joins"),
		a.requestDecide(commands.Reject, "rejected", "refuse, and tell who asked"), a.requestDecide(commands.Discard, "discarded", "refuse, and tell nobody"),
		a.decisionLog(store.AboutRequest, "  mlist request log dev@lists.example.org --json"))
}

// requestJSON is a request as `request ls --json` shows it. The token is nobody's to see
// but the one's whom it was sent to.
type requestJSON struct {
	Want    string    `json:"want"`
	Address string    `json:"address"`
	Name    string    `json:"display_name,omitempty"`
	Mode    string    `json:"mode,omitempty"`
	Status  string    `json:"status,omitempty"`
	Waits   string    `json:"waits_for"` // the address, or a moderator
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

func describeRequest(r store.Request) requestJSON {
	j := requestJSON{Want: string(r.Want), Address: r.Address.String(), Name: r.DisplayName, Mode: string(r.Mode), Status: string(r.Status),
		Waits: "address", Created: r.Created, Expires: r.Expires}
	if r.Phase == store.PhaseModerate {
		j.Waits = "moderator"
	}
	return j
}

func (a *app) requestLs() *cobra.Command {
	return &cobra.Command{
		Use:     "ls LIST",
		Short:   "print the requests that wait, oldest first",
		Example: "  mlist request ls dev@lists.example.org --json",
		Args:    between(1, 1, "the address of a list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
				w := cmd.OutOrStdout()
				out := array{w: w}
				n, now := 0, time.Now()
				for r, err := range st.Requests(cmd.Context(), l.ID, now) {
					n++
					j := describeRequest(r)
					if err == nil && a.json {
						err = out.add(j)
					} else if err == nil {
						_, err = fmt.Fprintf(w, "%-6s  %4s  waits for %-9s  %s\n", j.Want, age(r.Created, now), j.Waits, printable(strings.TrimSpace(j.Address+" "+j.Name), false))
					}
					if err != nil {
						return err
					}
				}
				if a.json {
					return out.end()
				}
				if n == 0 {
					_, err := fmt.Fprintln(w, "No requests wait.")
					return err
				}
				return nil
			})
		},
	}
}

// requestDecide is a command that decides about requests: those of some addresses, or all
// that wait for a moderator.
func (a *app) requestDecide(verb commands.Verb, done, short string) *cobra.Command {
	var reason string
	var all bool
	c := &cobra.Command{
		Use:     string(verb) + " LIST ADDRESS... | LIST --all",
		Short:   short,
		Example: fmt.Sprintf("  mlist request %s dev@lists.example.org zoe@example.net", verb),
		Args:    between(1, -1, "the address of a list, and those of who asked"),
	}
	c.Flags().BoolVar(&all, "all", false, "everything that waits for a moderator")
	if verb == commands.Reject {
		c.Flags().StringVar(&reason, "reason", "", "what those who asked are told")
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if all == (len(args) > 1) {
			return usageError{errors.New("want the addresses of who asked, or --all")}
		}
		return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
			chosen, err := chooseRequests(cmd, st, l, args[1:])
			if err != nil {
				return err
			}
			return a.withWholeSpool(cmd.Context(), func(sp spool.Spool) error {
				var addrs []string
				for _, r := range chosen {
					env := spool.Envelope{Received: time.Now(), Peer: "operator"}
					if _, err := pipeline.PutDecision(cmd.Context(), sp, l.Address, r.Token, commands.Decision{Verb: verb, Reason: reason}, env); err != nil {
						return err
					}
					addrs = append(addrs, r.Address.String())
				}
				if a.json {
					return printJSON(cmd.OutOrStdout(), map[string]any{done: addrs})
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s, as soon as the pipeline runs: %s.\n", strings.ToUpper(done[:1])+done[1:], printable(strings.Join(addrs, ", "), false))
				return err
			})
		})
	}
	return c
}

// chooseRequests finds the requests of some addresses; without any, all that wait for a
// moderator. None is decided if an address has asked for nothing.
func chooseRequests(cmd *cobra.Command, st store.Store, l *list.List, args []string) ([]store.Request, error) {
	wanted := map[string]bool{}
	for _, arg := range args {
		addr, err := address.Parse(arg)
		if err != nil {
			return nil, usageError{err}
		}
		wanted[addr.Key()] = false
	}
	var chosen []store.Request
	for r, err := range st.Requests(cmd.Context(), l.ID, time.Now()) {
		if err != nil {
			return nil, err
		}
		_, named := wanted[r.Address.Key()]
		if named || len(args) == 0 && r.Phase == store.PhaseModerate {
			wanted[r.Address.Key()] = true
			chosen = append(chosen, r)
		}
	}
	for _, arg := range args {
		if addr, err := address.Parse(arg); err == nil && !wanted[addr.Key()] {
			return nil, withHint(fmt.Errorf("%s has asked for nothing that waits", addr), "`mlist request ls %s` shows who has.", l.Address)
		}
	}
	if len(chosen) == 0 {
		return nil, withHint(errors.New("no requests wait for a moderator"), "`mlist request ls %s` shows those that wait for their address.", l.Address)
	}
	return chosen, nil
}
