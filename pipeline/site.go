package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/command"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/trace"
)

// maxSubscriptions is how many lists one answer tells of.
const maxSubscriptions = 200

// siteList stands for the site where a list does: texts and answers need one.
func siteList(addr address.Address) *list.List {
	return &list.List{Address: addr, Settings: list.Defaults(), State: list.Open}
}

// isSite tells whether the message came to the site's own address, and is not looked at for
// one of the lists that it names.
func (p *post) isSite() bool { return p.entry.Role == string(address.RoleSite) && p.list.ID == 0 }

// speaker is the address that answers come from.
func (p *post) speaker() address.Address {
	if p.isSite() {
		return p.list.Address
	}
	return address.Sub(p.list.Address, address.RoleOwner)
}

// site does the commands of mail to the site's own address. Nobody reads what is sent there:
// mail without commands is answered with the help.
func (d *Daemon) site(ctx context.Context, p *post) error {
	if !p.personal || p.wasHere() || away(p.header) {
		p.log.Info("no person asks, dropped", "role", p.entry.Role)
		d.note(p, trace.Done, "reason", "a request that no person wrote")
		return p.owner.Done(ctx, p.entry)
	}
	text, err := p.commandText()
	if err != nil {
		return err
	}
	commands := command.ParseSite(p.header.Text("Subject"), text)
	if len(commands) == 0 {
		commands = []command.Command{{Verb: command.Help, Line: "help"}}
	}
	c, err := d.commander(ctx, p)
	if err != nil {
		return err
	}
	roles, err := c.everywhere(ctx, p.author)
	if err != nil {
		return err
	}
	for _, r := range roles {
		if c.reader != "" {
			break
		}
		if c.reader, err = d.language(ctx, &list.List{ID: r.ListID}, p.author); err != nil {
			return err
		}
	}
	for _, cmd := range commands {
		c.line("> " + cmd.Line)
		if err := c.doSite(ctx, cmd, roles); err != nil {
			return err
		}
		c.line("")
	}
	return c.send(ctx)
}

// everywhere are the roles of an address on all lists, each list once.
func (c *commander) everywhere(ctx context.Context, a address.Address) ([]store.ListRole, error) {
	var out []store.ListRole
	for r, err := range c.d.store.RolesOf(ctx, a) {
		if err != nil {
			return nil, storeFailed("find an address", err)
		}
		if r.Role == list.Nonmember || len(out) > 0 && out[len(out)-1].ListID == r.ListID {
			continue
		}
		if out = append(out, r); len(out) > maxSubscriptions {
			break
		}
	}
	return out, nil
}

// doSite does one command; roles are the author's.
func (c *commander) doSite(ctx context.Context, cmd command.Command, roles []store.ListRole) error {
	switch {
	case cmd.List != "":
		return c.doOn(ctx, cmd)
	case cmd.Verb == command.Status:
		return c.which(ctx, roles)
	case cmd.Verb == command.Lists, cmd.Verb == command.Echo:
		return c.do(ctx, cmd)
	case cmd.Verb == command.Move, cmd.Verb == command.Link, cmd.Verb == command.Unlink:
		return c.doAnywhere(ctx, cmd)
	case cmd.Verb != command.Help:
		c.say("no_command")
		c.line("")
	}
	c.line(c.text("site_help"))
	return nil
}

// which tells the author what all lists know of them.
func (c *commander) which(ctx context.Context, roles []store.ListRole) error {
	for i, r := range roles {
		if i == maxSubscriptions {
			c.say("lists_more")
			break
		}
		c.line(r.List.String() + ":")
		if err := c.at(ctx, r.List, command.Command{Verb: command.Status}); err != nil {
			return err
		}
	}
	if len(roles) == 0 {
		c.say("site_nowhere", "user_address", c.p.author.String())
	}
	return nil
}

// doOn does a command about the list that it names.
func (c *commander) doOn(ctx context.Context, cmd command.Command) error {
	name := cmd.List
	if !strings.Contains(name, "@") {
		name += "@" + c.p.list.Address.Domain
	}
	addr, err := address.Parse(name)
	if err != nil {
		c.say("site_no_list", "list", oneLine(cmd.List))
		return nil
	}
	return c.at(ctx, addr, cmd)
}

// doAnywhere does a command that is about all lists by way of one on which the address is that
// it is about: requests wait on a list, which writes to people.
func (c *commander) doAnywhere(ctx context.Context, cmd command.Command) error {
	roles, err := c.everywhere(ctx, c.from)
	if err != nil {
		return err
	}
	if len(roles) == 0 {
		c.asked(store.Request{Address: c.from}) // whoever asks for another is told the same
		return nil
	}
	return c.at(ctx, roles[0].List, cmd)
}

// at does a command as if it had come to a list's -request address. What people are told of
// it is told by the list, together with the rest.
func (c *commander) at(ctx context.Context, addr address.Address, cmd command.Command) error {
	d := c.d
	l, err := d.store.List(ctx, addr)
	if errors.Is(err, store.ErrNotFound) {
		c.say("site_no_list", "list", addr.String())
		return nil
	}
	if err != nil {
		return storeFailed("look the list up", err)
	}
	p := *c.p
	p.list = l
	on := &commander{d: d, p: &p, from: c.from, name: c.name, steps: c.steps, reader: c.reader, site: d.texts().Language(c.p.list)}
	err = on.do(ctx, cmd)
	c.steps, c.report = on.steps, append(c.report, on.report...)
	for _, l := range on.letters {
		l.by = on
		c.write(l)
	}
	return err
}

// resultsText names the text that tells what came of commands.
func (c *commander) resultsText() string {
	if c.p.isSite() {
		return "site_results"
	}
	return "results"
}

// noticeKey names a letter where it is counted how many an address is sent. What one message
// leads to counts once, but where it may be about many lists.
func (c *commander) noticeKey(n int) string {
	if c.p.isSite() {
		return fmt.Sprintf("%s.%d", c.p.entry.ID, n)
	}
	return string(c.p.entry.ID)
}
