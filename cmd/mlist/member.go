package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

func (a *app) memberCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "member",
		Short: "add, remove, change and list the people of a list",
		Example: `  mlist member add dev@lists.example.org ann@example.net "Bob <bob@example.com>"
  mlist member add dev@lists.example.org --file members.txt
  mlist member ls dev@lists.example.org --role owner
  mlist member set dev@lists.example.org ann@example.net --status by_user
  mlist member sync staff@lists.example.org staff.csv --dry-run
  mlist member remove dev@lists.example.org bob@example.com`,
	}, a.memberAdd(), a.memberRemove(), a.memberSet(), a.memberLs(), a.memberSync(), a.memberMove(),
		a.memberInvite(), a.memberInvitations(), a.memberUninvite(), a.memberLink(), a.memberUnlink(), a.memberAddresses())
}

// memberFlags are what a member can be set to; an empty word leaves it as it is.
type memberFlags struct {
	role                     string
	mode, status, action     string
	until                    string
	name                     string
	noOwnPosts, noDuplicates string
	acknowledge              string
	topics, nonmatching      string
	language                 string
}

func (f *memberFlags) roleFlag(c *cobra.Command) {
	c.Flags().StringVar(&f.role, "role", string(list.Member), "what the address is to the list: "+words(list.Roles)+", receiver")
}

func (f *memberFlags) add(c *cobra.Command) {
	f.roleFlag(c)
	c.Flags().StringVar(&f.mode, "mode", "", "how posts are received: "+words(list.Modes))
	c.Flags().StringVar(&f.status, "status", "", "whether delivery is on, or who turned it off: "+words(list.Statuses))
	c.Flags().StringVar(&f.until, "until", "", "the day, such as 2026-12-24, on which delivery that is off by_user is on again")
	c.Flags().StringVar(&f.action, "action", "", "what happens to their posts: "+words(list.Actions)+", or default")
	c.Flags().StringVar(&f.topics, "topics", "", "only posts on these topics of the list, with commas between them; empty is every post; digests have all posts")
	c.Flags().StringVar(&f.language, "language", "", "in which mlist writes to them, such as de; empty is the list's")
	for _, b := range []struct {
		to         *string
		name, help string
	}{{&f.noOwnPosts, "no-own-posts", "do not send them their own posts (=false: do)"},
		{&f.noDuplicates, "no-duplicates", "no copy of posts that name them in To or Cc (=false: do)"},
		{&f.acknowledge, "acknowledge-posts", "tell them of each of their posts that it was received (=false: do not)"},
		{&f.nonmatching, "nonmatching", "beside their topics, posts that match no topic (=false: not)"}} {
		c.Flags().StringVar(b.to, b.name, "", b.help)
		c.Flags().Lookup(b.name).NoOptDefVal = "true"
	}
}

// change reads the flags.
func (f *memberFlags) change(c *cobra.Command) (store.MemberChange, error) {
	var out store.MemberChange
	if c.Flags().Changed("mode") {
		out.Mode = (*list.Mode)(&f.mode)
	}
	if c.Flags().Changed("status") {
		out.Status = (*list.Status)(&f.status)
	}
	if c.Flags().Changed("until") {
		day, err := time.Parse(time.DateOnly, f.until)
		if err != nil {
			return out, usageError{fmt.Errorf("--until %q: want a day such as 2026-12-24", f.until)}
		}
		if !day.After(time.Now()) {
			return out, usageError{fmt.Errorf("--until %s: want a day to come", f.until)}
		}
		away := list.ByUser
		if out.Until = &day; out.Status == nil {
			out.Status = &away
		}
	}
	if c.Flags().Changed("action") {
		if f.action == "default" {
			f.action = ""
		}
		out.Action = (*list.Action)(&f.action)
	}
	if c.Flags().Changed("language") {
		out.Language = &f.language
	}
	if c.Flags().Changed("name") {
		out.DisplayName = &f.name
	}
	for name, to := range map[string]**bool{"no-own-posts": &out.NoOwnPosts, "no-duplicates": &out.NoDuplicates, "acknowledge-posts": &out.AcknowledgePosts, "nonmatching": &out.Nonmatching} {
		if !c.Flags().Changed(name) {
			continue
		}
		b, err := strconv.ParseBool(c.Flags().Lookup(name).Value.String())
		if err != nil {
			return out, usageError{fmt.Errorf("--%s: want true or false", name)}
		}
		*to = &b
	}
	if c.Flags().Changed("topics") {
		out.Topics = &f.topics // forList reads it
	}
	// A membership knows which of its fields have a meaning.
	m := list.Membership{Address: address.Address{Local: "x", Domain: "x"}, Role: list.Role(f.role)}
	known := out
	known.Topics, known.Nonmatching = nil, nil
	apply(&m, known)
	if err := m.Validate(); err != nil {
		return out, usageError{err}
	}
	return out, nil
}

// forList writes the topics of a change as the list has them.
func forList(l *list.List, c *store.MemberChange) error {
	if c.Topics == nil || *c.Topics == "" {
		return nil
	}
	topics, err := l.Settings.ChooseTopics(strings.Split(*c.Topics, ","))
	if err != nil {
		return withHint(err, "`mlist list show %s` shows its topics.", l.Address)
	}
	c.Topics = &topics
	return nil
}

// apply makes a change in a membership that is not in the store yet.
func apply(m *list.Membership, c store.MemberChange) {
	set(&m.DisplayName, c.DisplayName)
	set(&m.Mode, c.Mode)
	set(&m.Status, c.Status)
	set(&m.Until, c.Until)
	set(&m.Action, c.Action)
	set(&m.NoOwnPosts, c.NoOwnPosts)
	set(&m.NoDuplicates, c.NoDuplicates)
	set(&m.AcknowledgePosts, c.AcknowledgePosts)
	set(&m.Topics, c.Topics)
	set(&m.Nonmatching, c.Nonmatching)
	set(&m.Language, c.Language)
}

func set[T any](to, value *T) {
	if value != nil {
		*to = *value
	}
}

func words[T ~string](all []T) string {
	s := ""
	for i, w := range all {
		if i > 0 {
			s += ", "
		}
		s += string(w)
	}
	return s
}
