package pipeline

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/command"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/sdk/htmltext"
	"github.com/mlist/mlist/sdk/message"
)

// confirmLife is how long a request waits for its address, as in Mailman.
const confirmLife = 3 * 24 * time.Hour

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
		token, _, _ := strings.Cut(strings.ToLower(cmd.Args[0]), "@")
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

// step names the next thing that the entry does.
func (c *commander) step() store.Step {
	c.steps++
	return store.Step{ListID: c.p.list.ID, Entry: string(c.p.entry.ID), Number: c.steps, At: c.p.entry.Received}
}

// ask files a request, and has the right people told.
func (c *commander) ask(ctx context.Context, r store.Request) error {
	policy, refusal := c.p.list.Settings.SubscriptionPolicy, "cannot_join"
	switch r.Want {
	case store.WantLeave:
		policy, refusal = c.p.list.Settings.UnsubscriptionPolicy, "cannot_leave"
	case store.WantMove, store.WantInvite, store.WantLink, store.WantUnlink: // addresses confirm, whatever the policy
		policy, refusal = "confirm", "cannot_join"
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
		c.say(refusal, "user_address", r.Address.String())
		return nil
	}
	proven := r.Address.Key() == c.p.author.Key()
	rules := rulesOf(policy, proven, c.moderateLife())
	if r.Want == store.WantJoin && c.p.list.Settings.AutoApproved(r.Address) {
		rules.Confirm, rules.Moderate = rules.Confirm || rules.Moderate, false
	}
	res, err := c.d.store.AskFor(ctx, c.step(), r, rules)
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
func rulesOf(policy string, proven bool, life time.Duration) store.RequestRules {
	return store.RequestRules{
		Confirm:     policy == "confirm" || policy == "confirm_then_moderate" || !proven,
		Moderate:    policy == "moderate" || policy == "confirm_then_moderate",
		ConfirmLife: confirmLife, ModerateLife: life,
	}
}

// moderateLife is for how long a request waits for a moderator.
func (c *commander) moderateLife() time.Duration { return days(c.p.list.Settings.MaxDaysForRequests) }

// refused tells whether the list does not even consider it.
func (c *commander) refused(ctx context.Context, r store.Request, policy string) (bool, error) {
	if policy == "closed" || (r.Want == store.WantJoin || r.Want == store.WantInvite) && c.p.list.State == list.Closed {
		return true, nil
	}
	for _, x := range address.Candidates(r.Address) {
		if x.List.Key() == c.p.list.Address.Key() {
			return true, nil // a list is no member of itself
		}
	}
	switch r.Want {
	case store.WantJoin:
		return c.banned(ctx, r.Address)
	case store.WantMove, store.WantLink:
		return c.banned(ctx, *r.More.To)
	}
	return false, nil
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
	at := c.p.entry.Received
	late := c.p.entry.Role == roleDecision && c.p.entry.Peer == peerExpiry
	if late {
		at = time.Time{}
	}
	r, err := c.d.store.Request(ctx, c.p.list.ID, token, at)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, storeFailed("look a request up", err)
	}
	if err == nil && r.Want == store.WantJoin && r.Phase == store.PhaseConfirm && c.p.entry.Role != roleDecision {
		banned, err := c.banned(ctx, r.Address)
		if err != nil {
			return false, err
		}
		if banned || c.p.list.State == list.Closed {
			c.say("cannot_join", "user_address", r.Address.String())
			return true, nil
		}
	}
	phase := store.PhaseConfirm
	var except []int64
	if err == nil && r.Phase == store.PhaseMove {
		phase = store.PhaseMove
	}
	if err == nil && r.Phase == store.PhaseMove && r.Want == store.WantMove {
		if except, err = c.unwelcome(ctx, r.Address, *r.More.To); err != nil {
			return false, err
		}
	}
	a := store.Answer{Token: token, Phase: phase, Except: except, Life: c.moderateLife(), Late: late, By: "member", Why: "confirmed by mail from " + c.p.author.String()}
	operator := c.p.entry.Role == roleDecision
	if err == nil && (operator || r.Phase == store.PhaseModerate) {
		if c.decision.Verb != command.Accept && c.decision.Verb != command.Reject && c.decision.Verb != command.Discard {
			c.line(c.text("decide_help"))
			return true, nil
		}
		a.Phase, a.Final, a.Refuse = r.Phase, true, c.decision.Verb != command.Accept
		a.By, a.Why = c.p.author.String(), strings.TrimSpace(string(c.decision.Verb)+" "+c.decision.Reason)
		a.Verdict, a.Reason = verdicts[c.decision.Verb].Verdict, c.decision.Reason
		if operator {
			a.By = "operator"
		}
		if late {
			a.By, a.Reason = "mlist", undecided(c.p.list.Settings.MaxDaysForRequests)
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
	if res.Request.Want == store.WantInvite && res.Outcome == store.OutcomeDone {
		return true, c.invited(ctx, res.Request)
	}
	c.outcome(res, true, true)
	if !operator && res.Request.Phase == store.PhaseModerate && res.Outcome == store.OutcomeDone {
		c.say("decided_done", "user_address", res.Request.Address.String(), "wish", c.wish(c.voice(), res.Request))
	}
	return true, nil
}

// outcome has people told what became of a request. proven: the author is the one whom it
// is about; others are not told whether somebody is a member. confirmed: by its token.
func (c *commander) outcome(res store.RequestResult, proven, confirmed bool) {
	r, who := res.Request, res.Request.Address.String()
	switch res.Outcome {
	case store.OutcomeDone:
		c.done(r, confirmed)
	case store.OutcomeConfirm:
		if res.Tell {
			c.askToConfirm(r)
		}
		if r.Phase == store.PhaseMove {
			r.Address = *r.More.To
		}
		c.asked(r)
	case store.OutcomeModerate:
		if res.Tell {
			c.askModerators(r)
		}
		if proven {
			c.say("waits_for_moderator", "user_address", who, "wish", c.wish(c.voice(), r))
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
			c.say("member_already", "user_address", who)
		case r.Want == store.WantUnlink:
			c.say("not_linked", "user_address", who, "new_address", r.More.To.String())
		case r.Want == store.WantChange:
			c.say("nothing_changed", "user_address", who)
		default:
			c.say("no_member", "user_address", who)
		}
	case store.OutcomeFull:
		c.say("too_many_requests")
	}
}

// asked says that a request waits, in words that are the same if it does not.
func (c *commander) asked(r store.Request) {
	if !c.quiet {
		c.say("asked", "user_address", r.Address.String())
	}
}

// askToConfirm writes to the address that a request is about.
func (c *commander) askToConfirm(r store.Request) {
	confirm := c.p.list.TokenAddress(address.RoleConfirm, r.Token)
	to := r.Address
	if r.Phase == store.PhaseMove {
		to = *r.More.To
	}
	values := templates.Values{"confirm_address": confirm.String(), "token": r.Token, "days": inDays(confirmLife)}
	switch r.Want {
	case store.WantMove, store.WantLink, store.WantUnlink:
		values["new_address"] = r.More.To.String()
	case store.WantInvite:
		var lines []string
		for _, a := range r.More.Invite {
			lines = append(lines, "  "+a.String())
		}
		values["addresses"] = strings.Join(lines, "\n")
	}
	c.write(letter{to: to, about: r, replyTo: confirm.String(), text: "confirm_" + string(r.Want), values: values})
}

// askModerators tells the moderators that they are to decide.
func (c *commander) askModerators(r store.Request) {
	if !c.p.list.Settings.AdminImmedNotify {
		return
	}
	confirm := c.p.list.TokenAddress(address.RoleConfirm, r.Token)
	c.write(letter{owners: true, decide: true, about: r, replyTo: confirm.String(), text: "request_moderators",
		values: templates.Values{"user_name": r.DisplayName, "confirm_address": confirm.String(), "days": inDays(c.moderateLife())}})
}

// refuse tells what a moderator has decided: whoever asked, unless it was discarded.
func (c *commander) refuse(r store.Request) {
	if c.decision.Verb == command.Reject {
		c.write(letter{to: r.Address, about: r, text: "request_refused", certain: true, values: templates.Values{"reason": c.decision.Reason}})
	}
	c.say("decided_refused", "user_address", r.Address.String(), "wish", c.wish(c.voice(), r))
}

// inDays is a time in whole days.
func inDays(d time.Duration) string { return strconv.Itoa(int(d.Hours() / 24)) }

// wish is what a request is for, in words that stand within a sentence.
func (c *commander) wish(reader string, r store.Request) string { return c.d.wish(c.p.list, reader, r) }

func (d *Daemon) wish(l *list.List, reader string, r store.Request) string {
	say := func(name string, v templates.Values) string { return d.texts().Phrase(l, reader, name, v) }
	switch r.Want {
	case store.WantJoin:
		return say("wish_join", nil)
	case store.WantLeave:
		return say("wish_leave", nil)
	case store.WantInvite:
		return say("wish_invite", templates.Values{"number": strconv.Itoa(len(r.More.Invite))})
	case store.WantMove, store.WantLink, store.WantUnlink:
		return say("wish_"+string(r.Want), templates.Values{"new_address": r.More.To.String()})
	}
	var changes []string
	switch r.Status {
	case list.ByUser:
		stop := say("wish_stop", nil)
		if r.More.Until != nil {
			stop = say("wish_stop_until", templates.Values{"date": r.More.Until.Format(time.DateOnly)})
		}
		changes = append(changes, stop)
	case list.Enabled:
		changes = append(changes, say("wish_resume", nil))
	}
	if r.Mode != "" {
		changes = append(changes, say("wish_mode", templates.Values{"mode": say("mode_"+string(r.Mode), nil)}))
	}
	if r.Language != "" {
		changes = append(changes, say("wish_language", templates.Values{"language": r.Language}))
	}
	for _, choice := range []struct {
		set    *bool
		phrase string
	}{{r.More.NoOwnPosts, "wish_own"}, {r.More.NoDuplicates, "wish_duplicates"}, {r.More.Acknowledge, "wish_acknowledge"}} {
		if choice.set != nil {
			yes := *choice.set == (choice.phrase == "wish_acknowledge") // the others say what is not sent
			changes = append(changes, say(choice.phrase+map[bool]string{true: "_on", false: "_off"}[yes], nil))
		}
	}
	if r.More.Topics != nil {
		phrase := "wish_topics"
		if *r.More.Topics == "" {
			phrase = "wish_all_topics"
		}
		changes = append(changes, say(phrase, templates.Values{"topics": strings.ReplaceAll(*r.More.Topics, "\n", ", ")}))
	}
	for len(changes) > 1 {
		changes = append([]string{say("wish_both", templates.Values{"one": changes[0], "other": changes[1]})}, changes[2:]...)
	}
	return say("wish_change", templates.Values{"changes": strings.Join(changes, "")})
}

// done tells that a request is done.
func (c *commander) done(r store.Request, confirmed bool) {
	s, who := &c.p.list.Settings, r.Address.String()
	if r.Want == store.WantChange {
		c.say("changed", "user_address", who, "wish", c.wish(c.voice(), r))
		return
	}
	switch r.Want {
	case store.WantLink, store.WantUnlink:
		for _, to := range []address.Address{r.Address, *r.More.To} {
			c.write(letter{to: to, about: r, text: string(r.Want) + "ed", certain: true, values: templates.Values{"new_address": r.More.To.String()}})
		}
		return
	case store.WantMove:
		for _, to := range []address.Address{r.Address, *r.More.To} {
			c.write(letter{to: to, about: r, text: "moved", certain: true, values: templates.Values{"new_address": r.More.To.String(), "number": strconv.Itoa(r.More.Lists)}})
		}
		return
	}
	told, text, done := s.SendWelcomeMessage, "welcome", "joined"
	if r.Want == store.WantLeave {
		told, text, done = s.SendGoodbyeMessage, "goodbye", "left"
	}
	if told {
		c.write(letter{to: r.Address, about: r, text: text, certain: confirmed})
	}
	if s.AdminNotifyMchanges {
		c.write(letter{owners: true, about: r, text: done + "_owners"})
	}
	if !told || !c.quiet {
		c.say(done, "user_address", who)
	}
}

// say tells the author a phrase in their language; values are the names of placeholders and
// what stands there in turn.
func (c *commander) say(phrase string, values ...string) { c.line(c.phrase(phrase, values...)) }

// voice is the language in which the author is told.
func (c *commander) voice() string { return cmp.Or(c.reader, c.site) }

// phrase is what say says.
func (c *commander) phrase(name string, values ...string) string {
	v := templates.Values{}
	for i := 0; i+1 < len(values); i += 2 {
		v[values[i]] = values[i+1]
	}
	return c.d.texts().Phrase(c.p.list, c.voice(), name, v)
}

// text is a text of several lines in the author's language.
func (c *commander) text(name string) string {
	return strings.TrimRight(c.d.texts().Text(c.p.list, c.voice(), name, nil), "\n")
}

// line tells the author something that has no language.
func (c *commander) line(s string) { c.report = append(c.report, s) }

func (c *commander) owner() string { return address.Sub(c.p.list.Address, address.RoleOwner).String() }

func (c *commander) write(l letter) {
	// Two commands of one entry may ask for the same.
	if !slices.ContainsFunc(c.letters, l.same) {
		c.letters = append(c.letters, l)
	}
}
