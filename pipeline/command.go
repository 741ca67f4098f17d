package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/command"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/sdk/message"
)

// How long a request waits, as in Mailman.
const (
	confirmLife  = 3 * 24 * time.Hour
	moderateLife = 180 * 24 * time.Hour
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
	report  []string // lines for the author
	// quiet: who gets a letter already is told nothing else.
	quiet bool
}

func (d *Daemon) commander(p *post) *commander {
	c := &commander{d: d, p: p, from: p.author}
	for _, box := range p.header.Mailboxes("From") {
		if a, err := address.Parse(box.Address); err == nil {
			c.from, c.name = a, displayName(box.Name)
			break
		}
	}
	return c
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
	c := d.commander(p)
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
	c := d.commander(p)
	for _, cmd := range commands {
		c.say("> %s", cmd.Line)
		if err := c.do(ctx, cmd); err != nil {
			return err
		}
		c.say("")
	}
	return c.send(ctx)
}

// commandText is the start of the first plain text of the message.
func (p *post) commandText() (string, error) {
	root, _, err := message.ParseStructure(p.header, p.body)
	if err != nil {
		return "", err
	}
	part := firstPlain(root)
	if part == nil {
		return "", nil
	}
	text, _, err := part.Text(p.body, maxCommandText)
	return text, err
}

func firstPlain(part *message.Part) *message.Part {
	if part.Type == "text/plain" && part.Disposition != "attachment" {
		return part
	}
	for _, inner := range part.Parts {
		if found := firstPlain(inner); found != nil {
			return found
		}
	}
	return nil
}

// do does one command of -request.
func (c *commander) do(ctx context.Context, cmd command.Command) error {
	switch cmd.Verb {
	case command.Help:
		c.say("%s", strings.TrimRight(helpText, "\n"))
	case command.Echo:
		c.say("%s", strings.Join(cmd.Args, " "))
	case command.Confirm:
		token, _, _ := strings.Cut(strings.ToLower(cmd.Args[0]), "@")
		known, err := c.confirm(ctx, token)
		if err == nil && !known {
			c.say("Nothing waits for this token, or not any more.")
		}
		return err
	case command.Join:
		return c.join(ctx, cmd)
	case command.Leave:
		options, bad := cmd.Options("address")
		who, ok := c.who(options)
		if bad != "" || !ok {
			c.say("Not understood: leave [address=ADDRESS]")
			return nil
		}
		return c.ask(ctx, store.Request{Want: store.WantLeave, Address: who})
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
		c.say("No command. These are:\n\n%s", strings.TrimRight(helpText, "\n"))
	}
	return nil
}

// digestModes are the values of join's option digest, in Mailman's words.
var digestModes = map[string]list.Mode{
	"": list.Regular, "no": list.Regular, "mime": list.MIMEDigest, "plain": list.PlaintextDigest, "summary": list.SummaryDigest,
}

func (c *commander) join(ctx context.Context, cmd command.Command) error {
	options, bad := cmd.Options("digest", "address")
	mode, known := digestModes[strings.ToLower(options["digest"])]
	who, ok := c.who(options)
	if bad != "" || !known || !ok {
		c.say("Not understood: join [digest=no|mime|plain|summary] [address=ADDRESS]")
		return nil
	}
	r := store.Request{Want: store.WantJoin, Address: who, Mode: mode}
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

// step names the next thing that the entry does.
func (c *commander) step() store.Step {
	c.steps++
	return store.Step{ListID: c.p.list.ID, Entry: string(c.p.entry.ID), Number: c.steps, At: c.p.entry.Received}
}

// ask files a request, and has the right people told.
func (c *commander) ask(ctx context.Context, r store.Request) error {
	policy, verb := c.p.list.Settings.SubscriptionPolicy, "join"
	switch r.Want {
	case store.WantLeave:
		policy, verb = c.p.list.Settings.UnsubscriptionPolicy, "leave"
	case store.WantChange: // it takes what leaving takes, and no moderator
		if policy = c.p.list.Settings.UnsubscriptionPolicy; policy != "open" {
			policy = "confirm"
		}
	}
	refused, err := c.refused(ctx, r, policy)
	if err != nil {
		return err
	}
	if refused {
		c.say("%s cannot %s %s by mail. Its owners can help: %s", r.Address, verb, c.p.list.Address, c.owner())
		return nil
	}
	proven := r.Address.Key() == c.p.author.Key()
	res, err := c.d.store.AskFor(ctx, c.step(), r, rulesOf(policy, proven))
	if err != nil {
		return storeFailed("file a request", err)
	}
	c.p.log.Info("request", "want", r.Want, "address", r.Address, "outcome", res.Outcome)
	c.outcome(res, proven, false)
	return nil
}

// rulesOf is what it takes under a policy. "open" trusts the envelope sender, which the MTA
// can check, and so does "moderate"; nobody else is asked about what is not the address's
// own wish: all else has to be confirmed.
func rulesOf(policy string, proven bool) store.RequestRules {
	return store.RequestRules{
		Confirm:     policy == "confirm" || policy == "confirm_then_moderate" || !proven,
		Moderate:    policy == "moderate" || policy == "confirm_then_moderate",
		ConfirmLife: confirmLife, ModerateLife: moderateLife,
	}
}

// refused tells whether the list does not even consider it.
func (c *commander) refused(ctx context.Context, r store.Request, policy string) (bool, error) {
	if policy == "closed" || r.Want == store.WantJoin && c.p.list.State == list.Closed {
		return true, nil
	}
	for _, x := range address.Candidates(r.Address) {
		if x.List.Key() == c.p.list.Address.Key() {
			return true, nil // a list is no member of itself
		}
	}
	if r.Want != store.WantJoin {
		return false, nil
	}
	return c.banned(ctx, r.Address)
}

func (c *commander) banned(ctx context.Context, a address.Address) (bool, error) {
	bans, err := c.d.store.MatchBans(ctx, c.p.list.ID, c.p.list.Address.Domain, []address.Address{a})
	if err != nil {
		return false, storeFailed("look for bans", err)
	}
	return len(bans) > 0, nil
}

// confirm takes the next step of the request that waits for this token to come back; known
// is false if none does.
func (c *commander) confirm(ctx context.Context, token string) (known bool, err error) {
	r, err := c.d.store.Request(ctx, c.p.list.ID, token, c.p.entry.Received)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, storeFailed("look a request up", err)
	}
	if err == nil && r.Want == store.WantJoin && r.Phase == store.PhaseConfirm && c.p.entry.Role != roleDecision {
		banned, err := c.banned(ctx, r.Address)
		if err != nil {
			return false, err
		}
		if banned || c.p.list.State == list.Closed {
			c.say("%s cannot join %s by mail. Its owners can help: %s", r.Address, c.p.list.Address, c.owner())
			return true, nil
		}
	}
	a := store.Answer{Token: token, Phase: store.PhaseConfirm, Life: moderateLife, By: "member", Why: "confirmed by mail from " + c.p.author.String()}
	operator := c.p.entry.Role == roleDecision
	if err == nil && (operator || r.Phase == store.PhaseModerate) {
		if c.decision.Verb == command.Unknown {
			c.say("To decide, answer with one of these as the first line:\n\n  accept\n  reject [REASON]\n  discard")
			return true, nil
		}
		a.Phase, a.Final, a.Refuse = r.Phase, true, c.decision.Verb != command.Accept
		a.By, a.Why = c.p.author.String(), strings.TrimSpace(string(c.decision.Verb)+" "+c.decision.Reason)
		if operator {
			a.By = "operator"
		}
	}
	// What was answered by an earlier run of this entry has a result still.
	res, err := c.d.store.AnswerRequest(ctx, c.step(), a)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, storeFailed("confirm a request", err)
	}
	c.p.log.Info("request confirmed", "want", res.Request.Want, "address", res.Request.Address, "outcome", res.Outcome)
	c.outcome(res, true, true)
	if !operator && res.Request.Phase == store.PhaseModerate && res.Outcome == store.OutcomeDone {
		c.say("It is done: %s is to %s.", res.Request.Address, c.wish(res.Request))
	}
	return true, nil
}

// outcome has people told what became of a request. proven: the author is the one whom it
// is about; others are not told whether somebody is a member. confirmed: by its token.
func (c *commander) outcome(res store.RequestResult, proven, confirmed bool) {
	r := res.Request
	switch res.Outcome {
	case store.OutcomeDone:
		c.done(r, confirmed)
	case store.OutcomeConfirm:
		if res.Tell {
			c.askToConfirm(r)
		}
		c.asked(r)
	case store.OutcomeModerate:
		if res.Tell {
			c.askModerators(r)
		}
		if proven {
			c.say("A moderator decides whether %s is to %s. You hear of it.", r.Address, c.wish(r))
		} else {
			c.asked(r)
		}
	case store.OutcomeRefused:
		c.refuse(r)
	case store.OutcomeUnchanged:
		switch {
		case !proven:
			c.asked(r)
		case r.Want == store.WantJoin:
			c.say("%s is a member of %s already.", r.Address, c.p.list.Address)
		case r.Want == store.WantChange:
			c.say("Nothing has changed: %s is no member of %s, or a moderator has stopped delivery.", r.Address, c.p.list.Address)
		default:
			c.say("%s is no member of %s. Is there another address at which you receive it?", r.Address, c.p.list.Address)
		}
	case store.OutcomeFull:
		c.say("Too many requests wait to be confirmed. Please try again in a few days, or write to %s.", c.owner())
	}
}

// asked says that a request waits, in words that are the same if it does not.
func (c *commander) asked(r store.Request) {
	if !c.quiet {
		c.say("%s was sent what to do next, unless there is nothing to do.", r.Address)
	}
}

// askToConfirm writes to the address that a request is about.
func (c *commander) askToConfirm(r store.Request) {
	confirm := c.p.list.TokenAddress(address.RoleConfirm, r.Token)
	c.write(letter{
		to: r.Address, replyTo: confirm.String(), text: "confirm", subject: fmt.Sprintf(confirmSubjects[r.Want], c.p.list.Address),
		data: letterData{Wish: c.wish(r), Address: r.Address.String(), Confirm: confirm.String(), Token: r.Token, Days: int(confirmLife.Hours() / 24)},
	})
}

// askModerators tells the moderators that they are to decide.
func (c *commander) askModerators(r store.Request) {
	if !c.p.list.Settings.AdminImmedNotify {
		return
	}
	confirm := c.p.list.TokenAddress(address.RoleConfirm, r.Token)
	c.write(letter{
		owners: true, replyTo: confirm.String(), text: "moderate", subject: fmt.Sprintf("%s wants to %s %s", r.Address, r.Want, c.p.list.Address),
		data: letterData{Wish: c.wish(r), Address: r.Address.String(), DisplayName: r.DisplayName, Confirm: confirm.String(), Days: int(moderateLife.Hours() / 24)},
	})
}

// refuse tells what a moderator has decided: whoever asked, unless it was discarded.
func (c *commander) refuse(r store.Request) {
	if c.decision.Verb == command.Reject {
		c.write(letter{
			to: r.Address, text: "refused", subject: fmt.Sprintf("Your request to %s %s was rejected", r.Want, c.p.list.Address), certain: true,
			data: letterData{Wish: c.wish(r), Address: r.Address.String(), Reason: c.decision.Reason},
		})
	}
	c.say("It is done: the request of %s to %s ends.", r.Address, c.wish(r))
}

var confirmSubjects = map[store.Want]string{
	store.WantJoin:   "Please confirm that you want to join %s",
	store.WantLeave:  "Please confirm that you want to leave %s",
	store.WantChange: "Please confirm how you want to receive %s",
}

// wish is what a request is for, after "to".
func (c *commander) wish(r store.Request) string {
	name := c.p.list.Address
	switch r.Want {
	case store.WantJoin:
		return fmt.Sprintf("join the list %s", name)
	case store.WantLeave:
		return fmt.Sprintf("leave the list %s", name)
	}
	var changes []string
	switch r.Status {
	case list.ByUser:
		changes = append(changes, "be sent nothing for now")
	case list.Enabled:
		changes = append(changes, "be sent its posts again")
	}
	if r.Mode != "" {
		changes = append(changes, "receive "+modeWords[r.Mode])
	}
	return fmt.Sprintf("stay a member of the list %s, and %s", name, strings.Join(changes, ", and "))
}

var modeWords = map[list.Mode]string{
	list.Regular: "each post", list.MIMEDigest: "MIME digests", list.PlaintextDigest: "digests in plain text", list.SummaryDigest: "summaries",
}

// done tells that a request is done.
func (c *commander) done(r store.Request, confirmed bool) {
	s, name := &c.p.list.Settings, c.p.list.Address
	if r.Want == store.WantChange {
		c.say("%s is to %s. It is done.", r.Address, c.wish(r))
		return
	}
	told, verb := s.SendWelcomeMessage, "joined"
	l := letter{to: r.Address, text: "welcome", subject: fmt.Sprintf("Welcome to %s", name), certain: confirmed}
	if r.Want == store.WantLeave {
		told, verb = s.SendGoodbyeMessage, "left"
		l.text, l.subject = "goodbye", fmt.Sprintf("You have left %s", name)
	}
	l.data = letterData{Address: r.Address.String(), Description: s.Description}
	if told {
		c.write(l)
	}
	if s.AdminNotifyMchanges {
		c.write(letter{owners: true, text: "changed", subject: fmt.Sprintf("%s: %s has %s", name, r.Address, verb), data: letterData{Address: r.Address.String(), Want: verb}})
	}
	if !told || !c.quiet {
		c.say("%s has %s %s.", r.Address, verb, name)
	}
}

func (c *commander) say(format string, args ...any) {
	c.report = append(c.report, fmt.Sprintf(format, args...))
}

func (c *commander) owner() string { return address.Sub(c.p.list.Address, address.RoleOwner).String() }

func (c *commander) write(l letter) {
	// Two commands of one entry may ask for the same.
	if !slices.ContainsFunc(c.letters, func(have letter) bool { return have == l }) {
		c.letters = append(c.letters, l)
	}
}
