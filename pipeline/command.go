package pipeline

import (
	"context"
	"slices"
	"strings"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/command"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/sdk/htmltext"
	"github.com/mlist/mlist/sdk/message"
)

// maxCommandText is how much of a text is read for commands.
const maxCommandText = 16 << 10

// commander does the commands of one entry. Each is one transaction of the store, keyed by
// the entry and the command's place in it; what people are to be told of all of them is
// one commit. So a second run of the entry does nothing twice.
type commander struct {
	d     *Daemon
	p     *post
	from  address.Address // of the field From: whom commands are about
	name  string
	steps int
	// decision is what the message says of a request that waits for a moderator.
	decision command.Decision

	letters []letter
	reader  string   // the author's language; "" is that of who answers
	site    string   // the language of the report, where reader is none and several lists add to it
	report  []string // lines for the author, in it
	// quiet: who gets a letter already is told nothing else. certain: the author is known by
	// a token, so that no limit is needed.
	quiet, certain bool
}

func (d *Daemon) commander(ctx context.Context, p *post) (*commander, error) {
	reader, err := d.language(ctx, p.list, p.author)
	if err != nil {
		return nil, err
	}
	c := &commander{d: d, p: p, from: p.author, reader: reader}
	for _, box := range p.header.Mailboxes("From") {
		if a, err := address.Parse(box.Address); err == nil {
			c.from, c.name = a, displayName(box.Name)
			break
		}
	}
	return c, nil
}

// displayName is a name out of a header, as a member may have it.
func displayName(s string) string {
	s = strings.TrimSpace(oneLine(strings.ToValidUTF8(s, "")))
	if len(s) > 100 {
		s = strings.ToValidUTF8(s[:100], "")
	}
	return s
}

// joinOrLeave does what mail to -join and -leave asks for, whatever stands in it.
func (d *Daemon) joinOrLeave(ctx context.Context, p *post, want store.Want) error {
	if !p.personal {
		p.log.Info("no person asks, dropped", "role", p.entry.Role)
		d.note(p, trace.Done, "reason", "a request that no person wrote")
		return p.owner.Done(ctx, p.entry)
	}
	c, err := d.commander(ctx, p)
	if err != nil {
		return err
	}
	c.quiet = true
	r := store.Request{Want: want, Address: c.from, DisplayName: c.name}
	switch p.entry.Detail { // of list+COMMAND@
	case "digest":
		r.Mode = list.MIMEDigest
	case "nomail":
		r.Status = list.ByUser
	}
	if err := c.ask(ctx, r); err != nil {
		return err
	}
	return c.send(ctx)
}

// request does the commands of mail to -request. A letter without any goes to the owners.
func (d *Daemon) request(ctx context.Context, p *post) error {
	if !p.personal || p.wasHere() || d.responds(p) == respondAndDiscard {
		return d.forward(ctx, p)
	}
	text, err := p.commandText()
	if err != nil {
		return err
	}
	subject := p.header.Text("Subject")
	commands := command.Parse(subject, text)
	if p.entry.Detail == string(command.Help) { // list+help@
		commands = []command.Command{{Verb: command.Help, Line: "help"}}
	}
	if len(commands) == 0 && strings.TrimSpace(subject+text) == "" {
		commands = []command.Command{{Verb: command.Help, Line: "help"}}
	}
	if len(commands) == 0 {
		return d.forward(ctx, p)
	}
	c, err := d.commander(ctx, p)
	if err != nil {
		return err
	}
	for _, cmd := range commands {
		c.line("> " + cmd.Line)
		if err := c.do(ctx, cmd); err != nil {
			return err
		}
		c.line("")
	}
	return c.send(ctx)
}

// maxCommandHTML is how much HTML is read for that.
const maxCommandHTML = 64 << 10

// commandText is the start of the first plain text of the message, or, if it says nothing, that of its HTML:
// some programs write no other.
func (p *post) commandText() (string, error) {
	root, _, err := message.ParseStructure(p.header, p.body)
	if err != nil {
		return "", err
	}
	if part := firstOf(root, "text/plain"); part != nil {
		text, _, err := part.Text(p.body, maxCommandText)
		if err != nil || strings.TrimSpace(text) != "" {
			return text, err
		}
	}
	part := firstOf(root, "text/html")
	if part == nil {
		return "", nil
	}
	source, _, err := part.Text(p.body, maxCommandHTML)
	if err != nil {
		return "", err
	}
	text, _ := htmltext.Render(source, maxCommandText)
	return text, nil
}

// firstOf is the first part of a type that is no attachment; nil if there is none.
func firstOf(part *message.Part, kind string) *message.Part {
	if part.Type == kind && part.Disposition != "attachment" {
		return part
	}
	for _, inner := range part.Parts {
		if found := firstOf(inner, kind); found != nil {
			return found
		}
	}
	return nil
}

// do does one command of -request.
func (c *commander) do(ctx context.Context, cmd command.Command) error {
	switch cmd.Verb {
	case command.Help:
		c.line(c.text("help"))
	case command.Echo:
		c.line(strings.Join(cmd.Args, " "))
	case command.Confirm:
		token, _, _ := strings.Cut(strings.Trim(strings.ToLower(cmd.Args[0]), "<>.,"), "@")
		known, err := c.confirm(ctx, token)
		if err == nil && !known {
			known, err = c.answerInvitation(ctx, token, command.Accept)
		}
		if err == nil && !known {
			c.say("token_unknown")
		}
		return err
	case command.Join:
		return c.join(ctx, cmd)
	case command.Leave:
		options, bad := cmd.Options("address")
		who, ok := c.who(options)
		if bad != "" || !ok {
			c.say("not_understood", "usage", "leave [address=ADDRESS]")
			return nil
		}
		member, err := c.member(ctx, who)
		if err != nil {
			return err
		}
		return c.ask(ctx, store.Request{Want: store.WantLeave, Address: member})
	case command.Move:
		return c.move(ctx, cmd)
	case command.Invite:
		return c.invite(ctx, cmd)
	case command.Link, command.Unlink:
		return c.link(ctx, cmd)
	case command.Set:
		return c.set(ctx, cmd)
	case command.Who:
		return c.roster(ctx, cmd)
	case command.Lists:
		return c.lists(ctx)
	case command.Info:
		c.info()
	case command.Status:
		return c.status(ctx)
	default:
		c.say("no_command")
		c.line("\n" + c.text("help"))
	}
	return nil
}

// digestModes are the values of join's option digest, in Mailman's words.
var digestModes = map[string]list.Mode{
	"": list.Regular, "no": list.Regular, "mime": list.MIMEDigest, "plain": list.PlaintextDigest, "summary": list.SummaryDigest,
}

func (c *commander) join(ctx context.Context, cmd command.Command) error {
	options, bad := cmd.Options("digest", "address", "language")
	mode, known := digestModes[strings.ToLower(options["digest"])]
	who, ok := c.who(options)
	language, chosen := options["language"]
	language = strings.ToLower(language)
	if bad != "" || !known || !ok || chosen && !slices.Contains(c.d.texts().Languages(c.p.list), language) {
		c.say("not_understood", "usage", "join [digest=no|mime|plain|summary] [language="+c.languages()+"] [address=ADDRESS]")
		return nil
	}
	r := store.Request{Want: store.WantJoin, Address: who, Mode: mode, Language: language}
	if who == c.from {
		r.DisplayName = c.name
	}
	return c.ask(ctx, r)
}

// who is whom a command is about: who wrote it, unless it names another.
func (c *commander) who(options map[string]string) (address.Address, bool) {
	text, named := options["address"]
	if !named {
		return c.from, true
	}
	a, err := address.Parse(strings.Trim(text, "<>"))
	return a, err == nil
}
