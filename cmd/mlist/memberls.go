package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

func (a *app) memberLs() *cobra.Command {
	var role, mode, status string
	var long, only bool
	c := &cobra.Command{
		Use:   "ls LIST [ADDRESS]",
		Short: "print members, in a form that `mlist member add --file` reads",
		Example: `  mlist member ls dev@lists.example.org > members.txt
  mlist member ls dev@lists.example.org --long --status by_bounces
  mlist member ls dev@lists.example.org ann@example.net --role any
  mlist member ls dev@lists.example.org --count`,
		Args: between(1, 2, "the address of a list, and one member's if wanted"),
	}
	c.Flags().StringVar(&role, "role", string(list.Member), words(list.Roles)+", receiver, or any")
	c.Flags().StringVar(&mode, "mode", "", "only this delivery mode: "+words(list.Modes))
	c.Flags().StringVar(&status, "status", "", "only this delivery status: "+words(list.Statuses))
	c.Flags().BoolVarP(&long, "long", "l", false, "all that is known of each")
	c.Flags().BoolVar(&only, "count", false, "only how many there are")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		f, err := memberFilter(role, mode, status)
		if err == nil && len(args) == 2 {
			f.Address, err = address.Parse(args[1])
		}
		if err != nil {
			return usageError{err}
		}
		return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
			receivers := role == string(list.Receiver)
			if only {
				return a.printCount(cmd, st, l, f, receivers)
			}
			return a.printMembers(cmd, st, l, f, receivers, long || role == "any")
		})
	}
	return c
}

func memberFilter(role, mode, status string) (store.Filter, error) {
	var f store.Filter
	if role == string(list.Receiver) {
		f.Roles = []list.Role{list.Member}
	} else if role != "any" {
		if !slices.Contains(list.Roles, list.Role(role)) {
			return f, fmt.Errorf("--role %q: want one of %s, receiver, any", role, words(list.Roles))
		}
		f.Roles = []list.Role{list.Role(role)}
	}
	if mode != "" {
		if !slices.Contains(list.Modes, list.Mode(mode)) {
			return f, fmt.Errorf("--mode %q: want one of %s", mode, words(list.Modes))
		}
		f.Modes = []list.Mode{list.Mode(mode)}
	}
	if status != "" {
		if !slices.Contains(list.Statuses, list.Status(status)) {
			return f, fmt.Errorf("--status %q: want one of %s", status, words(list.Statuses))
		}
		f.Statuses = []list.Status{list.Status(status)}
	}
	return f, nil
}

func (a *app) printCount(cmd *cobra.Command, st store.Store, l *list.List, f store.Filter, receivers bool) error {
	n, err := st.CountMembers(cmd.Context(), l.ID, f)
	if receivers && err == nil {
		n = 0
		for m, merr := range st.Members(cmd.Context(), l.ID, f) {
			if err = merr; err != nil {
				break
			}
			if isReceiver(m) {
				n++
			}
		}
	}
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(cmd.OutOrStdout(), map[string]any{"list": l.Address.String(), "count": n})
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), n)
	return err
}

// memberJSON is a member as `member ls --json` shows it.
type memberJSON struct {
	Address      string      `json:"address"`
	Name         string      `json:"name"`
	Role         list.Role   `json:"role"`
	Mode         list.Mode   `json:"mode"`
	Status       list.Status `json:"status"`
	Action       list.Action `json:"action"` // "" is the list's default
	NoOwnPosts   bool        `json:"no_own_posts"`
	NoDuplicates bool        `json:"no_duplicates"`
	Acknowledge  bool        `json:"acknowledge_posts"`
	Topics       []string    `json:"topics"` // [] is every post
	Nonmatching  bool        `json:"nonmatching"`
	Language     string      `json:"language"` // "" is the list's
	Added        time.Time   `json:"added"`
	Until        *time.Time  `json:"until,omitempty"` // of by_user: when delivery is on again
}

func (a *app) printMembers(cmd *cobra.Command, st store.Store, l *list.List, f store.Filter, receivers, long bool) error {
	w := cmd.OutOrStdout()
	out := array{w: w}
	n := 0
	for m, err := range st.Members(cmd.Context(), l.ID, f) {
		if err != nil {
			return err
		}
		if receivers && !isReceiver(m) {
			continue
		}
		n++
		if a.json {
			err = out.add(memberJSON{m.Address.String(), m.DisplayName, m.Role, m.Mode, m.Status, m.Action, m.NoOwnPosts, m.NoDuplicates, m.AcknowledgePosts, topics(m), m.Nonmatching, m.Language, m.Added, until(m)})
		} else {
			err = printMember(w, m, long, isTerminal(a.out))
		}
		if err != nil {
			return err
		}
	}
	if a.json {
		return out.end()
	}
	if n == 0 && !f.Address.IsZero() {
		return withHint(fmt.Errorf("%s is not there", f.Address), "`mlist member ls %s --role any` shows everybody.", l.Address)
	}
	return nil
}

// isReceiver tells whether a member may not post.
func isReceiver(m list.Membership) bool { return m.Action == list.Reject || m.Action == list.Discard }

// until is when delivery is on again; nil is when somebody says so.
func until(m list.Membership) *time.Time {
	if m.Until.IsZero() {
		return nil
	}
	return &m.Until
}

// topics are the names of those that a member chose; never nil.
func topics(m list.Membership) []string {
	if m.Topics == "" {
		return []string{}
	}
	return strings.Split(m.Topics, "\n")
}

// printMember prints one member on a line; safely where the line ends up on a terminal.
// Elsewhere it is as it is, so that `member add --file` reads back the same.
func printMember(w io.Writer, m list.Membership, long, terminal bool) error {
	text := memberLine(m)
	if terminal {
		text = printable(text, false)
	}
	if !long {
		_, err := fmt.Fprintln(w, text)
		return err
	}
	if !m.Until.IsZero() {
		text += "  until=" + m.Until.Format(time.DateOnly)
	}
	if m.Action != "" {
		text += "  action=" + string(m.Action)
	}
	if m.NoOwnPosts {
		text += "  no-own-posts"
	}
	if m.NoDuplicates {
		text += "  no-duplicates"
	}
	if m.AcknowledgePosts {
		text += "  acknowledge-posts"
	}
	if m.Topics != "" {
		text += "  topics=" + strings.Join(topics(m), ",")
	}
	if m.Nonmatching {
		text += "  nonmatching"
	}
	if m.Language != "" {
		text += "  language=" + m.Language
	}
	_, err := fmt.Fprintf(w, "%-10s %-12s %-12s %s\n", m.Role, m.Status, m.Mode, text)
	return err
}

// memberLine writes a member as a person would, as far as that reads back as the same.
func memberLine(m list.Membership) string {
	addr := m.Address.String()
	plain := addr
	if m.DisplayName != "" {
		plain = m.DisplayName + " <" + addr + ">"
	}
	if plain[0] != '#' && !strings.Contains(m.DisplayName, ",") { // other programs want quotes there
		if back, err := parseMember(plain); err == nil && back.Address == m.Address && back.DisplayName == m.DisplayName {
			return plain
		}
	}
	if m.DisplayName == "" {
		return "<" + addr + ">"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(m.DisplayName) + `" <` + addr + ">"
}
