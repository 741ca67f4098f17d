package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/trace"
)

// operator is who runs the command, for histories.
func operator() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "uid " + strconv.Itoa(os.Getuid())
}

// whyJSON is what is known of an address on a list.
type whyJSON struct {
	Address  string        `json:"address"`
	List     string        `json:"list"`
	Receives bool          `json:"receives"`
	Why      string        `json:"why"`
	Roles    []memberJSON  `json:"roles"`
	Linked   []string      `json:"linked"` // other addresses of the same person
	Score    *scoreJSON    `json:"score,omitempty"`
	Ban      *whyBan       `json:"ban,omitempty"`
	Posts    []whyPost     `json:"posts"`
	Bounces  []bounceJSON  `json:"bounces"`
	History  []historyJSON `json:"history"`
}

type whyBan struct {
	What   string `json:"what"`
	Reason string `json:"reason"`
}

// whyPost is one of the list's newest posts, and what is known of it for the address.
type whyPost struct {
	Entry      string    `json:"entry"`
	At         time.Time `json:"at"`
	Outcome    string    `json:"outcome"` // "taken", "refused", "deferred", "sending" or "recalled"
	Reply      string    `json:"reply,omitempty"`
	Recipients int       `json:"recipients"` // of the post
	Accepted   int       `json:"accepted"`   // by the MTA so far
}

type historyJSON struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
	By   string    `json:"by"`
	Why  string    `json:"why"`
}

// How much of the past `mlist why` tells.
const (
	whyPosts   = 5
	whyBounces = 10
	whyHistory = 20
)

func (a *app) whyCommand() *cobra.Command {
	name := ""
	c := &cobra.Command{
		Use:   "why ADDRESS --list LIST",
		Short: "say whether an address receives a list, and why",
		Long: `Why tells what an address is to a list, whether its posts reach it and if not, since when and by whose doing, how its posts
are judged, what has come back from it, and what was done about that.

Of the list's last posts it tells what is recorded (see "mlist trace"): the record counts those whom the MTA took and names those
whom it did not. It does not tell who was left out, such as the author of a post who does not want copies of it.`,
		Example: `  mlist why ann@example.net --list dev@lists.example.org`,
		Args:    between(1, 1, "one address"),
	}
	c.Flags().StringVar(&name, "list", "", "the list")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		who, err := address.Parse(args[0])
		if err != nil {
			return usageError{err}
		}
		if name == "" {
			return usageError{errors.New("which list? --list names it")}
		}
		return a.withList(cmd, name, func(st store.Store, l *list.List) error {
			w, err := why(cmd, st, l, who)
			if err == nil {
				err = a.whyPosts(cmd, w, l, who)
			}
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(cmd.OutOrStdout(), w)
			}
			return w.print(cmd.OutOrStdout())
		})
	}
	return c
}

// why gathers what is known.
func why(cmd *cobra.Command, st store.Store, l *list.List, who address.Address) (*whyJSON, error) {
	ctx := cmd.Context()
	out := &whyJSON{Address: who.String(), List: l.Address.String(), Roles: []memberJSON{}, Linked: []string{}, Posts: []whyPost{}, Bounces: []bounceJSON{}, History: []historyJSON{}}
	memberships, err := st.Memberships(ctx, l.ID, []address.Address{who})
	if err != nil {
		return nil, err
	}
	linked, err := st.LinkedAddresses(ctx, who)
	if err != nil {
		return nil, err
	}
	for _, other := range linked {
		out.Linked = append(out.Linked, other.String())
	}
	history, err := st.MemberHistory(ctx, l.ID, who, whyHistory)
	if err != nil {
		return nil, err
	}
	for _, h := range history {
		out.History = append(out.History, historyJSON(h))
	}
	out.Why = "it is no member"
	for _, m := range memberships {
		out.Roles = append(out.Roles, memberJSON{Address: m.Address.String(), Name: m.DisplayName, Role: m.Role, Mode: m.Mode, Status: m.Status, Action: m.Action,
			NoOwnPosts: m.NoOwnPosts, NoDuplicates: m.NoDuplicates, Added: m.Added})
		if m.Role == list.Member {
			out.Receives, out.Why = receives(l, m, history)
			to, other, err := goesTo(cmd, st, l, who, m.Mode, linked)
			if err != nil {
				return nil, err
			}
			if out.Receives && other {
				out.Receives, out.Why = false, fmt.Sprintf("it is a member, and so is %s, the same person's, which gets the one copy", to)
			}
		}
	}
	if out.Why == "it is no member" && len(history) > 0 && history[len(history)-1].What == "removed" {
		last := history[len(history)-1]
		out.Why = fmt.Sprintf("it is no member: removed on %s by %s: %s", moment(last.At), last.By, last.Why)
	}
	state, err := st.BounceState(ctx, l.ID, who)
	if err != nil {
		return nil, err
	}
	if state != (store.BounceState{Address: who}) {
		s := scoreOf(l, state)
		out.Score = &s
	}
	bans, err := st.MatchBans(ctx, l.ID, l.Address.Domain, []address.Address{who})
	if err != nil {
		return nil, err
	}
	if b, banned := bans[who.Key()]; banned {
		out.Ban = &whyBan{b.What, b.Reason}
	}
	events, err := st.MemberBounces(ctx, l.ID, who, whyBounces)
	for _, e := range events {
		out.Bounces = append(out.Bounces, bounceOf(e))
	}
	return out, err
}

// whyPosts adds what is known of the last posts that went to a member who gets each.
func (a *app) whyPosts(cmd *cobra.Command, w *whyJSON, l *list.List, who address.Address) error {
	i := slices.IndexFunc(w.Roles, func(m memberJSON) bool { return m.Role == list.Member && m.Mode == list.Regular })
	if i < 0 {
		return nil
	}
	c, err := a.load()
	if err != nil {
		return err
	}
	posts, err := trace.Posts(cmd.Context(), tracePath(c), l.Address.Key(), whyPosts)
	for _, p := range posts {
		if p.At.Before(w.Roles[i].Added) || !w.Receives && p.At.After(w.lastDisabled()) {
			continue
		}
		w.Posts = append(w.Posts, whatBecame(p, who, w.Bounces))
	}
	return err
}

// lastDisabled is when delivery was disabled, as far as the history tells.
func (w *whyJSON) lastDisabled() time.Time {
	var at time.Time
	for _, h := range w.History {
		if h.What == "disabled" {
			at = h.At
		}
	}
	return at
}

// whatBecame tells what became of a post for one recipient.
func whatBecame(p trace.Post, who address.Address, bounces []bounceJSON) whyPost {
	out := whyPost{Entry: p.Entry, At: p.At, Recipients: p.Recipients, Accepted: p.Accepted}
	switch {
	case p.Done:
		out.Outcome = "taken"
	case p.Recalled:
		out.Outcome = "recalled"
	default:
		out.Outcome = "sending"
	}
	for _, r := range p.Named {
		if a, err := address.Parse(r.Recipient); err == nil && a.Key() == who.Key() && (r.Outcome == "refused" || !p.Done) {
			out.Outcome, out.Reply = r.Outcome, r.Reply
		}
	}
	for _, b := range bounces { // the record names some of many only
		if b.Post == p.Entry && out.Reply == "" {
			out.Outcome, out.Reply = "refused", b.Text
		}
	}
	return out
}

func (p whyPost) String() string {
	of := fmt.Sprintf("%d of %s", p.Accepted, count(int64(p.Recipients), "recipient", "recipients"))
	switch p.Outcome {
	case "taken":
		return "the MTA took it for " + of
	case "recalled":
		return "recalled, after the MTA took it for " + of
	case "sending":
		return "on its way; the MTA took it for " + of + " so far"
	}
	return p.Outcome + ": " + p.Reply
}

// goesTo is the other address at which a person gets the copy of what both would receive; ok is
// false if it is the one that is asked for.
func goesTo(cmd *cobra.Command, st store.Store, l *list.List, who address.Address, mode list.Mode, linked []address.Address) (to address.Address, ok bool, err error) {
	if len(linked) == 0 {
		return to, false, nil
	}
	persons, err := st.Persons(cmd.Context(), []int64{l.ID})
	if err != nil {
		return to, false, err
	}
	ms, err := st.Memberships(cmd.Context(), l.ID, linked)
	if err != nil {
		return to, false, err
	}
	place := persons[who.Key()].Place
	for _, m := range ms {
		if p := persons[m.Address.Key()].Place; m.Role == list.Member && m.Status == list.Enabled && m.Mode == mode && p < place {
			to, ok, place = m.Address, true, p
		}
	}
	return to, ok, nil
}

// receives tells whether posts go to the member, and why.
func receives(l *list.List, m list.Membership, history []store.HistoryEvent) (bool, string) {
	if m.Status != list.Enabled {
		text := "delivery is disabled, " + string(m.Status)
		for i := len(history) - 1; i >= 0; i-- {
			if h := history[i]; h.What == "disabled" {
				text += fmt.Sprintf(", since %s", moment(h.At))
				if h.By != "" {
					text += " by " + h.By
				}
				if h.Why != "" {
					text += ": " + h.Why
				}
				break
			}
		}
		return false, text
	}
	if m.Mode == list.Regular {
		return true, "it is a member, delivery is enabled, and it gets each post"
	}
	if !l.Settings.DigestsEnabled {
		return false, fmt.Sprintf("it wants digests (%s), and the list makes none (digests_enabled)", m.Mode)
	}
	return true, fmt.Sprintf("it is a member, delivery is enabled, and it gets digests (%s)", m.Mode)
}

func (w *whyJSON) print(out io.Writer) error {
	var err error
	line := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintln(out, printable(fmt.Sprintf(format, args...), false))
		}
	}
	verdict := "does not receive"
	if w.Receives {
		verdict = "receives"
	}
	line("%s %s %s: %s.", w.Address, verdict, w.List, w.Why)
	for _, other := range w.Linked {
		line("  the same person's: %s", other)
	}
	for _, m := range w.Roles {
		text := fmt.Sprintf("%s since %s, %s, %s", m.Role, moment(m.Added), m.Mode, m.Status)
		if m.Action != "" {
			text += ", posts: " + string(m.Action)
		}
		if m.NoOwnPosts {
			text += ", without its own posts"
		}
		if m.NoDuplicates {
			text += ", without duplicates"
		}
		line("  %s", text)
	}
	if w.Ban != nil {
		line("  banned as %s: %s", w.Ban.What, w.Ban.Reason)
	}
	if s := w.Score; s != nil {
		text := fmt.Sprintf("score %g of %g, %s", s.Score, s.Of, s.Phase)
		if s.Warnings > 0 {
			text += ", " + count(int64(s.Warnings), "warning", "warnings")
		}
		if s.Due != nil {
			text += ", next step " + moment(*s.Due)
		}
		line("  %s", text)
	}
	for _, p := range w.Posts {
		line("  post     %s  %s  %s", moment(p.At), p.Entry, cut(p.String(), 120))
	}
	for _, e := range w.Bounces {
		line("  bounced  %s  %-7s %-8s %g  %s", moment(e.At), e.Status, e.Class, e.Points, cut(e.Text, 120))
	}
	for _, h := range w.History {
		line("  history  %s  %-8s %s  %s", moment(h.At), h.What, h.By, cut(h.Why, 120))
	}
	return err
}
