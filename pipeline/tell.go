package pipeline

import (
	"context"
	"slices"
	"strings"

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
	options, bad := cmd.Options("delivery", "digest")
	r := store.Request{Want: store.WantChange, Address: c.from}
	ok := bad == "" && len(options) > 0
	if digest, given := options["digest"]; given {
		r.Mode = digestModes[strings.ToLower(digest)]
		ok = ok && digest != "" && r.Mode != ""
	}
	if delivery, given := options["delivery"]; given {
		r.Status = map[string]list.Status{"on": list.Enabled, "off": list.ByUser}[strings.ToLower(delivery)]
		ok = ok && r.Status != ""
	}
	if !ok {
		c.say("Not understood: set [delivery=on|off] [digest=no|mime|plain|summary]")
		return nil
	}
	return c.ask(ctx, r)
}

// roles are what the author is to the list.
func (c *commander) roles(ctx context.Context) ([]list.Membership, error) {
	ms, err := c.d.store.Memberships(ctx, c.p.list.ID, []address.Address{c.p.author})
	if err != nil {
		return nil, storeFailed("look the author up", err)
	}
	return ms, nil
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
		c.say("The list does not tell %s who its members are.", c.p.author)
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
		c.say("Not understood: who, or for moderators who [mode=%s] [delivery=%s]", join(list.Modes), join(list.Statuses))
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
		c.say("%s", line)
	}
	all, err := c.d.store.CountMembers(ctx, c.p.list.ID, f)
	if err != nil {
		return storeFailed("count the members", err)
	}
	if all > n {
		c.say("and %d more.", all-n)
	} else {
		c.say("%d in all.", n)
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
			c.say("and more.")
			break
		}
		line := "  " + l.Address.String()
		if l.Settings.Description != "" {
			line += ": " + oneLine(l.Settings.Description)
		}
		c.say("%s", line)
	}
	if n == 0 {
		c.say("No lists of %s are made known.", c.p.list.Address.Domain)
	}
	return nil
}

// info tells what the list is about.
func (c *commander) info() {
	l := c.p.list
	if l.Settings.Description != "" {
		c.say("%s: %s", l.Address, oneLine(l.Settings.Description))
	}
	if _, reason := l.Refusal(); reason != "" {
		c.say("%s", reason)
	}
	sub := func(r address.Role) string { return address.Sub(l.Address, r).String() }
	c.say("To write to its members:  %s", l.Address)
	c.say("To join:                  %s (%s)", sub(address.RoleJoin), policyWords[l.Settings.SubscriptionPolicy])
	c.say("To leave:                 %s (%s)", sub(address.RoleLeave), policyWords[l.Settings.UnsubscriptionPolicy])
	c.say("To reach its owners:      %s", c.owner())
	if l.Settings.ArchiveURL != "" && l.Settings.ArchivePolicy == "public" {
		c.say("Its archive:              %s", l.Settings.ArchiveURL)
	}
}

var policyWords = map[string]string{"open": "at once", "confirm": "you are asked to confirm", "moderate": "a moderator decides",
	"confirm_then_moderate": "you are asked to confirm, and a moderator decides", "closed": "only by its owners"}

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
			c.say("%s is a member since %s, and receives %s; delivery is %s.", m.Address, m.Added.Format("2006-01-02"), modeWords[m.Mode], statusWords[m.Status])
			for _, more := range []struct {
				is   bool
				text string
			}{
				{m.NoOwnPosts, "Your own posts are not sent to you."},
				{m.NoDuplicates, "What names you in To or Cc is not sent to you by the list."},
				{m.AcknowledgePosts, "You are told when your posts have come in."},
				{m.Topics != "", "You have chosen topics: " + oneLine(strings.ReplaceAll(m.Topics, "\n", ", "))},
			} {
				if more.is {
					c.say("%s", more.text)
				}
			}
		case list.Owner, list.Moderator:
			told = true
			c.say("%s is %s.", m.Address, map[list.Role]string{list.Owner: "an owner", list.Moderator: "a moderator"}[m.Role])
		}
	}
	if !told {
		c.say("%s is no member of %s.", c.p.author, c.p.list.Address)
	}
	return nil
}

var statusWords = map[list.Status]string{
	list.Enabled: "on", list.ByUser: "off, as you wished", list.ByBounces: "off, because mail to you came back", list.ByModerator: "off, by a moderator",
}
