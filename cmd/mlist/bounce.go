package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

func (a *app) bounceCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "bounce",
		Short: "what comes back from members, and what follows",
		Example: `  mlist bounce ls dev@lists.example.org
  mlist bounce show dev@lists.example.org ann@example.net
  mlist bounce reset dev@lists.example.org ann@example.net --reason "the provider was down"
  mlist bounce parse < bounce.eml`,
	}, a.bounceLs(), a.bounceShow(), a.bounceReset(), a.bounceParseCommand())
}

// scoreJSON is a member's score as commands print it.
type scoreJSON struct {
	Address  string     `json:"address,omitempty"`
	Score    float64    `json:"score"`
	Of       float64    `json:"threshold"`
	Phase    string     `json:"phase"`
	Last     *time.Time `json:"last,omitempty"`
	Warnings int        `json:"warnings"`
	Due      *time.Time `json:"due,omitempty"`
	Unproven bool       `json:"unproven"`
}

func scoreOf(l *list.List, st store.BounceState) scoreJSON {
	out := scoreJSON{Address: st.Address.String(), Score: st.Score, Of: l.Settings.BounceScoreThreshold, Phase: phase(st), Warnings: st.Warnings, Unproven: st.Unproven}
	if !st.Last.IsZero() {
		out.Last = &st.Last
	}
	if !st.Due.IsZero() {
		out.Due = &st.Due
	}
	return out
}

func phase(st store.BounceState) string {
	switch st.Phase {
	case store.BounceProbed:
		return "probed"
	case store.BounceDisabled:
		return "disabled"
	}
	return "counting"
}

func (a *app) bounceLs() *cobra.Command {
	return &cobra.Command{
		Use:     "ls LIST",
		Short:   "list the members from whom mail came back, and their scores",
		Example: `  mlist bounce ls dev@lists.example.org --json`,
		Args:    between(1, 1, "the address of a list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
				w := cmd.OutOrStdout()
				out := array{w: w}
				for s, err := range st.BounceStates(cmd.Context(), l.ID) {
					if err == nil && a.json {
						err = out.add(scoreOf(l, s))
					} else if err == nil {
						_, err = fmt.Fprintf(w, "%-8s  %4.4g of %-4g  last %-6s  %s\n", phase(s), s.Score, l.Settings.BounceScoreThreshold,
							age(s.Last, time.Now()), printable(s.Address.String(), false))
					}
					if err != nil {
						return err
					}
				}
				if a.json {
					return out.end()
				}
				return nil
			})
		},
	}
}

// bounceJSON is a bounce as commands print it.
type bounceJSON struct {
	Address string    `json:"address"`
	At      time.Time `json:"at"`
	Status  string    `json:"status"`
	Class   string    `json:"class"`
	Points  float64   `json:"points"`
	Proven  bool      `json:"proven"`
	Text    string    `json:"text"`
	Post    string    `json:"post,omitempty"`
	Entry   string    `json:"entry"`
}

func bounceOf(e store.BounceEvent) bounceJSON {
	return bounceJSON{e.Recipient.String(), e.At, e.Status, e.Class, e.Points, e.Proven, e.Text, e.Post, e.Entry}
}

func bounceLine(e store.BounceEvent) string {
	return fmt.Sprintf("%s  %-7s %-8s %g  %s", moment(e.At), e.Status, e.Class, e.Points, printable(cut(e.Text, 120), false))
}

func (a *app) bounceShow() *cobra.Command {
	limit := 50
	c := &cobra.Command{
		Use:     "show LIST [ADDRESS]",
		Short:   "show the newest bounces of a list, or of one member",
		Example: `  mlist bounce show dev@lists.example.org ann@example.net --limit 5`,
		Args:    between(1, 2, "the address of a list, and one member at most"),
	}
	c.Flags().IntVar(&limit, "limit", limit, "how many")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		var who address.Address
		if len(args) == 2 {
			var err error
			if who, err = address.Parse(args[1]); err != nil {
				return usageError{err}
			}
		}
		return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
			w := cmd.OutOrStdout()
			out := array{w: w}
			show := func(e store.BounceEvent) error {
				if a.json {
					return out.add(bounceOf(e))
				}
				_, err := fmt.Fprintf(w, "%s  <%s>\n", bounceLine(e), printable(e.Recipient.String(), false))
				return err
			}
			if who.IsZero() {
				n := 0
				for e, err := range st.BounceEvents(cmd.Context(), l.ID) {
					if n++; err == nil && n > limit {
						break
					}
					if err == nil {
						err = show(e)
					}
					if err != nil {
						return err
					}
				}
			} else {
				events, err := st.MemberBounces(cmd.Context(), l.ID, who, limit)
				if err != nil {
					return err
				}
				for _, e := range events {
					if err := show(e); err != nil {
						return err
					}
				}
			}
			if a.json {
				return out.end()
			}
			return nil
		})
	}
	return c
}

func (a *app) bounceReset() *cobra.Command {
	why := ""
	c := &cobra.Command{
		Use:   "reset LIST ADDRESS...",
		Short: "forget members' scores, and enable delivery that bounces disabled",
		Example: `  mlist bounce reset dev@lists.example.org ann@example.net
  mlist bounce reset dev@lists.example.org ann@example.net bob@example.com --reason "the provider was down"`,
		Args: between(2, -1, "the address of a list, and members"),
	}
	c.Flags().StringVar(&why, "reason", "", "why, for the members' history")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		var who []address.Address
		for _, arg := range args[1:] {
			x, err := address.Parse(arg)
			if err != nil {
				return usageError{err}
			}
			who = append(who, x)
		}
		return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
			for _, x := range who {
				err := st.ResetBounces(cmd.Context(), l.ID, x, time.Now(), operator(), why)
				if errors.Is(err, store.ErrNotFound) {
					return withHint(fmt.Errorf("%s is no member of %s", x, l.Address), "`mlist bounce ls %s` shows those who have a score.", l.Address)
				}
				if err != nil {
					return err
				}
			}
			if a.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"list": l.Address.String(), "reset": len(who)})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "Reset %s of %s.\n", count(int64(len(who)), "member", "members"), l.Address)
			return err
		})
	}
	return c
}
