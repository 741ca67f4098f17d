package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/command"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// What commands tell about lists and members goes to the envelope sender. So it is the
// envelope sender who must be allowed to know: who merely says to be a member in From gets
// nothing, since the answer goes elsewhere.

// Bounds of answers, in lines.
const (
	maxRoster = 1000
	maxLists  = 500
)

// set changes how a member receives posts.
func (c *commander) set(ctx context.Context, cmd command.Command) error {
	options, bad := cmd.Options("delivery", "digest", "language", "until", "own", "duplicates", "acknowledge", "topics")
	who, err := c.member(ctx, c.from)
	if err != nil {
		return err
	}
	r := store.Request{Want: store.WantChange, Address: who}
	ok := bad == "" && len(options) > 0
	if digest, given := options["digest"]; given {
		r.Mode = digestModes[strings.ToLower(digest)]
		ok = ok && digest != "" && r.Mode != ""
	}
	if delivery, given := options["delivery"]; given {
		r.Status = map[string]list.Status{"on": list.Enabled, "off": list.ByUser}[strings.ToLower(delivery)]
		ok = ok && r.Status != ""
	}
	if language, given := options["language"]; given {
		r.Language = strings.ToLower(language)
		ok = ok && slices.Contains(c.d.texts().Languages(c.p.list), r.Language)
	}
	if until, given := options["until"]; given {
		day, err := time.Parse(time.DateOnly, until)
		r.More.Until = &day
		ok = ok && err == nil && day.After(c.p.entry.Received) && r.Status != list.Enabled
		r.Status = list.ByUser
	}
	for name, to := range map[string]**bool{"own": &r.More.NoOwnPosts, "duplicates": &r.More.NoDuplicates, "acknowledge": &r.More.Acknowledge} {
		if word, given := options[name]; given {
			yes := strings.EqualFold(word, "on")
			ok = ok && (yes || strings.EqualFold(word, "off"))
			chosen := yes == (name == "acknowledge") // the others are kept as what is not sent
			*to = &chosen
		}
	}
	if topics, given := options["topics"]; given {
		chosen := ""
		if !strings.EqualFold(topics, "all") {
			var err error
			chosen, err = c.p.list.Settings.ChooseTopics(strings.Split(topics, ","))
			ok = ok && err == nil
		}
		r.More.Topics = &chosen
	}
	if !ok {
		c.say("not_understood", "usage", "set [delivery=on|off] [until=YYYY-MM-DD] [digest=no|mime|plain|summary] [own=on|off] [duplicates=on|off] [acknowledge=on|off] [topics=NAME,NAME|all] [language="+c.languages()+"]")
		return nil
	}
	return c.ask(ctx, r)
}

// move asks that all that the author is, on all lists, becomes another address's. First the
// author's address confirms, and then the new one: neither can be had by who reads only the
// other's mail.
func (c *commander) move(ctx context.Context, cmd command.Command) error {
	return c.askWithOther(ctx, store.WantMove, cmd.Args[0], "move NEW-ADDRESS")
}

// link asks that another address counts as the author's own, on all lists. Both confirm, in the
// same way as for move.
func (c *commander) link(ctx context.Context, cmd command.Command) error {
	want := store.WantLink
	if cmd.Verb == command.Unlink {
		want = store.WantUnlink
	}
	return c.askWithOther(ctx, want, cmd.Args[0], string(cmd.Verb)+" ADDRESS")
}

// askWithOther asks for what is about another address as well, which must be one of a person.
func (c *commander) askWithOther(ctx context.Context, want store.Want, other, usage string) error {
	to, err := address.Parse(strings.Trim(other, "<>"))
	if err != nil || to.Key() == c.from.Key() {
		c.say("not_understood", "usage", usage)
		return nil
	}
	if t, err := c.d.isList(ctx, to); err != nil || t {
		if err != nil {
			return err
		}
		c.say("cannot_join", "user_address", to.String())
		return nil
	}
	return c.ask(ctx, store.Request{Want: want, Address: c.from, More: store.More{To: &to}})
}

// isList tells whether an address is that of a list here, or one of its role addresses.
func (d *Daemon) isList(ctx context.Context, a address.Address) (bool, error) {
	is, err := isList(ctx, d.store, a)
	if err != nil {
		err = storeFailed("look an address up", err)
	}
	return is, err
}

// isList is that of whoever has a store.
func isList(ctx context.Context, st InviteStore, a address.Address) (bool, error) {
	for _, x := range address.Candidates(a) {
		_, err := st.List(ctx, x.List)
		if err == nil || !errors.Is(err, store.ErrNotFound) {
			return err == nil, err
		}
	}
	return false, nil
}

// unwelcome are the lists of an address that have banned another one.
func (c *commander) unwelcome(ctx context.Context, from, to address.Address) ([]int64, error) {
	var out []int64
	var roles []store.ListRole
	for r, err := range c.d.store.RolesOf(ctx, from) {
		if err != nil {
			return nil, storeFailed("find an address", err)
		}
		roles = append(roles, r)
	}
	for _, r := range roles {
		bans, err := c.d.store.MatchBans(ctx, r.ListID, r.List.Domain, []address.Address{to})
		if err != nil {
			return nil, storeFailed("look for bans", err)
		}
		if len(bans) > 0 {
			out = append(out, r.ListID)
		}
	}
	return out, nil
}

// languages are those that a member can choose, as a usage has them.
func (c *commander) languages() string {
	return strings.Join(c.d.texts().Languages(c.p.list), "|")
}

// roles are what the author is to the list.
func (c *commander) roles(ctx context.Context) ([]list.Membership, error) {
	return c.standing(ctx, c.p.author)
}

// standing is what an address is to the list, be it by another one of the same person or in the
// whole domain.
func (c *commander) standing(ctx context.Context, a address.Address) ([]list.Membership, error) {
	all, err := c.d.store.Standings(ctx, c.p.list.ID, []address.Address{a})
	if err != nil {
		return nil, storeFailed("look an address up", err)
	}
	var out []list.Membership
	for _, s := range all {
		out = append(out, s.Membership)
	}
	return out, nil
}

// member is the address with which a person is a member: the one that is given, or if that is
// none another one of theirs.
func (c *commander) member(ctx context.Context, a address.Address) (address.Address, error) {
	ms, err := c.standing(ctx, a)
	if err != nil {
		return a, err
	}
	for _, m := range ms {
		if m.Role == list.Member && m.Address.Key() == a.Key() {
			return a, nil
		}
	}
	for _, m := range ms {
		if m.Role == list.Member {
			return m.Address, nil
		}
	}
	return a, nil
}

func has(ms []list.Membership, roles ...list.Role) bool {
	return slices.ContainsFunc(ms, func(m list.Membership) bool { return slices.Contains(roles, m.Role) })
}

// roster tells who the members are.
func (c *commander) roster(ctx context.Context, cmd command.Command) error {
	ms, err := c.roles(ctx)
	if err != nil {
		return err
	}
	moderator := has(ms, list.Owner, list.Moderator)
	visible := moderator
	switch c.p.list.Settings.MemberRosterVisibility {
	case "public":
		visible = true
	case "members":
		visible = visible || has(ms, list.Member)
	}
	if !visible {
		c.say("roster_closed", "user_address", c.p.author.String())
		return nil
	}
	f := store.Filter{Roles: []list.Role{list.Member}}
	options, bad := cmd.Options("mode", "delivery")
	if mode, given := options["mode"]; given {
		f.Modes = []list.Mode{list.Mode(strings.ToLower(mode))}
	}
	if status, given := options["delivery"]; given {
		f.Statuses = []list.Status{list.Status(strings.ToLower(status))}
	}
	if bad != "" || len(options) > 0 && !moderator || !within(f.Modes, list.Modes) || !within(f.Statuses, list.Statuses) {
		c.say("not_understood_who", "usage", fmt.Sprintf("[mode=%s] [delivery=%s]", join(list.Modes), join(list.Statuses)))
		return nil
	}
	return c.listMembers(ctx, f)
}

func within[T comparable](some, all []T) bool {
	return !slices.ContainsFunc(some, func(v T) bool { return !slices.Contains(all, v) })
}

func join[T ~string](words []T) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = string(w)
	}
	return strings.Join(out, "|")
}

func (c *commander) listMembers(ctx context.Context, f store.Filter) error {
	n, size := int64(0), 0
	for m, err := range c.d.store.Members(ctx, c.p.list.ID, f) {
		if err != nil {
			return storeFailed("read the members", err)
		}
		line := "  " + m.Address.String()
		if m.DisplayName != "" {
			line += " (" + oneLine(m.DisplayName) + ")"
		}
		if size += len(line) + 1; n == maxRoster || size > maxReport/2 {
			break
		}
		n++
		c.line(line)
	}
	all, err := c.d.store.CountMembers(ctx, c.p.list.ID, f)
	if err != nil {
		return storeFailed("count the members", err)
	}
	if all > n {
		c.say("and_more", "number", strconv.FormatInt(all-n, 10))
	} else {
		c.say("in_all", "number", strconv.FormatInt(n, 10))
	}
	return nil
}

// lists tells which lists of the domain there are.
func (c *commander) lists(ctx context.Context) error {
	n := 0
	for l, err := range c.d.store.AllLists(ctx, c.p.list.Address.Domain) {
		if err != nil {
			return storeFailed("read the lists", err)
		}
		if !l.Settings.Advertised || l.State == list.Closed {
			continue
		}
		if n++; n > maxLists {
			c.say("lists_more")
			break
		}
		line := "  " + l.Address.String()
		if l.Settings.Description != "" {
			line += ": " + oneLine(l.Settings.Description)
		}
		c.line(line)
	}
	if n == 0 {
		c.say("lists_none")
	}
	return nil
}

// info tells what the list is about.
func (c *commander) info() {
	l := c.p.list
	if l.Settings.Description != "" {
		c.line(l.Address.String() + ": " + oneLine(l.Settings.Description))
	}
	if _, reason := l.Refusal(); reason != "" {
		c.line(c.d.texts().Reason(l, c.voice(), reason))
	}
	policy := func(of string) string { return c.phrase("policy_" + of) }
	c.say("info_post")
	c.say("info_join", "policy", policy(l.Settings.SubscriptionPolicy))
	c.say("info_leave", "policy", policy(l.Settings.UnsubscriptionPolicy))
	c.say("info_owner")
	if l.Settings.ArchiveURL != "" && l.Settings.ArchivePolicy == "public" {
		c.say("info_archive", "url", l.Settings.ArchiveURL)
	}
}

// status tells the author what the list knows of them.
func (c *commander) status(ctx context.Context) error {
	ms, err := c.roles(ctx)
	if err != nil {
		return err
	}
	told := false
	for _, m := range ms {
		switch m.Role {
		case list.Member:
			told = true
			c.say("status_member", "user_address", m.Address.String(), "date", m.Added.Format("2006-01-02"),
				"mode", c.phrase("mode_"+string(m.Mode)), "delivery", c.phrase("delivery_"+string(m.Status)))
			for _, more := range []struct {
				is     bool
				phrase string
			}{
				{!m.Until.IsZero(), "status_until"}, {m.NoOwnPosts, "status_no_own_posts"}, {m.NoDuplicates, "status_no_duplicates"},
				{m.AcknowledgePosts, "status_acknowledge"}, {m.Topics != "", "status_topics"},
			} {
				if more.is {
					c.say(more.phrase, "date", m.Until.Format(time.DateOnly), "topics", strings.ReplaceAll(m.Topics, "\n", ", "))
				}
			}
		case list.Owner, list.Moderator, list.Sender:
			told = true
			c.say("status_"+string(m.Role), "user_address", m.Address.String())
		}
	}
	if !told {
		c.say("status_none", "user_address", c.p.author.String())
	}
	others, err := c.d.store.LinkedAddresses(ctx, c.p.author)
	if err != nil {
		return storeFailed("look a person up", err)
	}
	for _, a := range others {
		c.say("status_linked", "user_address", a.String())
	}
	return nil
}
