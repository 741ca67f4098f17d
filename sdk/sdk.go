// Package sdk is what the author of a handler imports.
//
// A handler is a Go value with one method:
//
//	type shout struct{}
//
//	func (shout) Handle(ctx context.Context, p *sdk.Post) (sdk.Verdict, error) {
//		p.Header.Replace("Subject", strings.ToUpper(p.Header.Text("Subject")))
//		return sdk.Accept, nil
//	}
//
//	func main() {
//		sdk.Serve("shout", "1.0", sdk.Stage{Name: "shout", Handler: shout{}})
//	}
//
// An error means "try this post again later"; only a verdict decides. Edits are made
// on the post's Header, Body, Recipients and Notes, and travel to mlist when Handle
// returns with Accept (of other verdicts, only the notes do).
package sdk

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/text"
)

// Handler fills a stage.
type Handler interface {
	// Handle looks at a post, edits it and gives its verdict. It may be called from
	// several goroutines, for different posts, and must return when ctx ends.
	Handle(ctx context.Context, p *Post) (Verdict, error)
}

// Configurer is a Handler that has a configuration of its own, the table
// [plugin.STAGE]. Config returns a pointer to a struct with json tags, holding the
// defaults; it is filled in before the first Handle. Unknown keys are refused. If the
// struct has a Validate() error method it is called then. Config may be called more
// than once before that, and never while a Handle runs.
type Configurer interface {
	Config() any
}

// Stage is a place in the pipeline's order, and the handler that fills it.
type Stage struct {
	Name    string
	Help    string // one line
	Body    bool   // the handler reads or edits the body; Post.Body is nil without it
	Members bool   // it calls Post.Members
	State   bool   // it uses Post.State
	Submit  bool   // it calls Post.Submit
	Keep    bool   // it calls Post.Keep
	// Personal: it calls Post.Personal.
	Personal bool
	// Digests: it is asked for digests, too, which mlist makes of many posts
	// (Post.IsDigest). Other stages do not see them.
	Digests bool
	// AtSMTP: it may be asked while the sender's SMTP session waits. It judges by the post
	// alone, quickly, and its edits are not made then.
	AtSMTP bool
	// AtRCPT: beside that, it may be asked when nothing is known but the envelope
	// (Post.AtRCPT).
	AtRCPT bool
	// OwnPosts: it is also asked about posts that it submitted itself, or that came of one.
	OwnPosts bool
	Handler  Handler
}

// Kind is what a verdict decides.
type Kind string

// Kinds of verdict.
const (
	KindAccept  Kind = "accept"
	KindHold    Kind = "hold"
	KindReject  Kind = "reject"
	KindDiscard Kind = "discard"
)

// Verdict decides about a post. Its zero value is not a verdict.
type Verdict struct {
	Kind   Kind
	Code   string // a word for programs, such as "nonmember"
	Reason string // a sentence for people
}

// Accept lets the post go on to the next stage.
var Accept = Verdict{Kind: KindAccept}

// Hold keeps the post for a moderator.
func Hold(code, reason string) Verdict { return Verdict{KindHold, code, reason} }

// Reject sends the post back to its sender with the reason.
func Reject(code, reason string) Verdict { return Verdict{KindReject, code, reason} }

// Discard drops the post without a word.
func Discard(code, reason string) Verdict { return Verdict{KindDiscard, code, reason} }

// Post is a post on its way through the pipeline.
type Post struct {
	Entry    string // the queue entry's id, for logs
	Number   int64  // the post's number on the list, from 1
	Approved bool   // a moderator let it through: rules on who may post do not apply again
	Hostname string // how mlist names itself
	// SubmittedBy are the stages whose submissions led to this post, the first one first;
	// none for mail that came from outside.
	SubmittedBy []string
	// AtSMTP: the sender's SMTP session waits, and only the verdict matters.
	AtSMTP bool
	// AtRCPT: there is no message yet. Reject says that the post would be rejected or
	// discarded whatever the message is, and Accept that the stage cannot tell. Who might
	// hold the post, or let it pass, cannot tell.
	AtRCPT   bool
	List     List
	Envelope Envelope
	Senders  []Sender // who claims to have sent it: from, envelope, reply-to, sender, in this order
	Header   *message.Header
	Body     *message.Body
	// Recipients collects who gets the post. A stage adds rules; those of all stages
	// together make the result.
	Recipients Recipients
	// Notes travel to later stages, and stay beside a held post.
	Notes map[string]string

	services *services // nil of a Post that neither mlist nor handlertest made
}

// List is what a handler knows of the list.
type List struct {
	Address  string
	Settings map[string]string // every setting in its text form
}

// String returns a setting's text; "" if there is none of that name.
func (l List) String(name string) string { return l.Settings[name] }

// Bool tells whether a setting is "true".
func (l List) Bool(name string) bool { return l.Settings[name] == "true" }

// Int returns a number setting; 0 if it is none.
func (l List) Int(name string) int {
	n, _ := strconv.Atoi(l.Settings[name])
	return n
}

// Lines returns a setting that is a list of lines.
func (l List) Lines(name string) []string {
	if l.Settings[name] == "" {
		return nil
	}
	return strings.Split(l.Settings[name], "\n")
}

// OneTimePasswords stands among the settings of a list that has some: the hashes, a line each,
// of the passwords with which one post may pass the checks (sdk/password). A stage that lets a
// post pass for one leaves its hash in the note "approved.once", and it is used up by the same
// commit that accepts the post.
const OneTimePasswords = "one_time_passwords"

// OtherAddresses stands among the settings of a list that is found under more than one address: an
// older one after it was renamed, and what else its aliases are, a line each.
const OtherAddresses = "other_addresses"

// Addresses are all addresses under which posts come to the list, its own one first.
func (l List) Addresses() []string { return append([]string{l.Address}, l.Lines(OtherAddresses)...) }

// Is tells whether an address is the list's own, or another one of it.
func (l List) Is(addr string) bool {
	return slices.ContainsFunc(l.Addresses(), func(own string) bool { return message.AddressKey(own) == message.AddressKey(addr) })
}

// Text is a text for people that mlist hands to handlers, in the list's language or the
// author's: see docs/templates.md. Fill fills in its placeholders. It is "" if there is none of the
// name.
func (l List) Text(name string) string { return l.Settings["text."+name] }

// Fill fills in the placeholders of a text, or of a setting that is one: with what the list is,
// and what more knows, which may be nil and is asked first. A placeholder that is not known
// stays as it is written. Values and result are free of control characters, and lines end in LF.
func (l List) Fill(s string, more func(name string) (string, bool)) string {
	of := text.List{Address: l.Address, Name: l.Name(), Description: l.Settings["description"]}
	return text.Clean(text.Fill(s, func(name string) (string, bool) {
		if more != nil {
			if v, ok := more(name); ok {
				return v, true
			}
		}
		return of.Value(name)
	}))
}

// Local is what stands before the @ of the list's address: all of it if there is none,
// which only happens in tests.
func (l List) Local() string {
	if at := strings.LastIndexByte(l.Address, '@'); at >= 0 {
		return l.Address[:at]
	}
	return l.Address
}

// Domain is the list's mail domain, what stands after the @.
func (l List) Domain() string { return strings.TrimPrefix(l.Address[len(l.Local()):], "@") }

// Sub returns a role address of the list: Sub("owner") is dev-owner@….
func (l List) Sub(role string) string {
	return l.Local() + "-" + role + l.Address[len(l.Local()):]
}

// ID is the list's identifier for List-Id; message.ListID says what it is worth.
func (l List) ID() string { return message.ListID(l.Address) }

// Mark is the list's address as X-BeenThere has it in every post that went through it.
func (l List) Mark() string { return message.ListMark(l.Address) }

// Name is the list's name for people.
func (l List) Name() string {
	if n := l.Settings["display_name"]; n != "" {
		return n
	}
	return l.Local()
}

// Envelope is what the MTA said.
type Envelope struct {
	Sender    string // "" is the null reverse-path
	Recipient string
	Peer      string
	Received  time.Time
	Flags     []string // what mlist noted when it took the post in, such as "approved"
}

// MaxSenders is how many mailboxes of each of From, Reply-To and Sender are looked up. A post that
// names more is not for a handler to let through unseen.
const MaxSenders = 10

// Sender is one address that claims to have sent the post.
type Sender struct {
	Address     string
	Source      string // "from", "envelope", "reply-to" or "sender"
	Memberships []Membership
	Ban         string // which ban holds it off the list, and why; "" if none does
}

// Membership is one role of an address on the list.
type Membership struct {
	Role             string // member, owner, moderator, nonmember
	Action           string // "" is the list's default for the role
	Mode, Status     string
	NoOwnPosts       bool
	NoDuplicates     bool
	AcknowledgePosts bool
}

// Rule is one step in choosing recipients; proto.RecipientRule documents it. The methods
// of Recipients make them; mlist takes every address that message.IsAddress takes.
type Rule struct {
	Kind      RuleKind
	Roles     []string
	Modes     []string
	Statuses  []string
	Addresses []string
	Flag      string
	Topics    []string
	Lists     []string
	Authors   []string
}

// RuleKind says what a Rule does.
type RuleKind int

// Kinds of rule.
const (
	RuleSelect RuleKind = iota + 1
	RuleAdd
	RuleExclude
)

// Recipients collects rules.
type Recipients struct{ rules []Rule }

// Rules returns what was collected.
func (r *Recipients) Rules() []Rule { return r.rules }

// Select chooses memberships by role, mode and status; nil is any.
func (r *Recipients) Select(roles, modes, statuses []string) {
	r.rules = append(r.rules, Rule{Kind: RuleSelect, Roles: roles, Modes: modes, Statuses: statuses})
}

// Add chooses addresses.
func (r *Recipients) Add(addrs ...string) {
	r.rules = append(r.rules, Rule{Kind: RuleAdd, Addresses: addrs})
}

// Exclude takes addresses away; with flag "no_own_posts" or "no_duplicates", only
// where the member has asked for that.
func (r *Recipients) Exclude(flag string, addrs ...string) {
	r.rules = append(r.rules, Rule{Kind: RuleExclude, Addresses: addrs, Flag: flag})
}

// Rule adds a rule as it is, for what the methods above do not say: topics, and members of
// other lists.
func (r *Recipients) Rule(rule Rule) { r.rules = append(r.rules, rule) }

// ByStanding says of the stage's answer at RCPT that it goes by the list and its settings, and by
// which memberships and which ban the sender has, if there is a sender; and by nothing else, not
// even by who it is or when. mlist may then give the same answer to others without asking.
func (p *Post) ByStanding() {
	if p.services == nil {
		return
	}
	p.services.mu.Lock()
	defer p.services.mu.Unlock()
	p.services.general = true
}

// Author returns the address in From, or the envelope sender if there is none.
func (p *Post) Author() string {
	for _, m := range message.ParseMailboxes(p.Header.Get("From")) {
		return m.Address
	}
	return p.Envelope.Sender
}
