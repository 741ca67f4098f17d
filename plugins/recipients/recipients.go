// Package recipients chooses who gets a post: the members who want every post as it
// comes, without those who do not want this one; and those of the lists that the list
// includes.
//
// Settings, all as Mailman 2 has them under names of its own: include_lists
// (regular_include_lists) adds the members of other lists, exclude_lists
// (regular_exclude_lists) takes away those who get the post from a list of theirs that To
// or Cc names. In both only members who receive every post as it comes count. A list counts
// as named by any of its addresses, and only if it takes what the author writes: members of
// one that is frozen, or on which the author is nobody, get their copy from this one. An
// address gets one copy, however many of the lists have it; whether it wants its own posts,
// and posts that name it in To or Cc, is as the list itself has it, or else the first list
// that is included.
//
// Where topics are enabled, members of the list who chose some get the posts that have one
// of them. Stage topics must run before: without its note "topics.hits" everybody gets
// the post.
//
// A post with the field Urgent that has the moderators' password goes to everybody at once,
// readers of digests too, whatever its topics. Another password is refused: who is in a
// hurry should hear of it. Where the list has no password, the field says nothing.
//
// It gives rules and sees no members: mlist applies the rules while it streams the
// membership, so that a list's size does not matter here.
package recipients

import (
	"context"
	"slices"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/password"
)

// maxLists is how many lists one rule may name.
const maxLists = 100

// maxNamed bounds the addresses of To and Cc that are looked at; members named
// further back get a second copy.
const maxNamed = 1000

// Stages returns stage recipients.
func Stages() []sdk.Stage {
	return []sdk.Stage{{
		Name:    "recipients",
		Help:    "chooses the members who get every post, without those who do not want this one",
		AtSMTP:  true, // it refuses a wrong password
		Handler: recipients{},
	}}
}

type recipients struct{}

// Handle implements sdk.Handler.
func (recipients) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	regular := sdk.Rule{Kind: sdk.RuleSelect, Roles: []string{"member"}, Modes: []string{"regular"}, Statuses: []string{"enabled"}}
	own := regular
	if hits, sorted := p.Notes["topics.hits"]; sorted && p.List.Bool("topics_enabled") {
		own.Topics = strings.Split(hits, "\n")
	}
	urgent, refused := isUrgent(p)
	if refused {
		return sdk.Reject("urgent-password", "The password in the field Urgent is not that of this list's moderators."), nil
	}
	if urgent {
		own.Topics = nil
		own.Modes = []string{"regular", "mime_digests", "plaintext_digests", "summary_digests"}
	}
	p.Recipients.Rule(own)
	copies, by := copied(p), authors(p)
	if in := p.List.Lines("include_lists"); len(in) > 0 {
		others := regular
		others.Lists, others.Addresses, others.Authors = in, copies, by // some may get a copy of their own
		p.Recipients.Rule(others)
	}
	if len(copies) > 0 {
		for out := range slices.Chunk(p.List.Lines("exclude_lists"), maxLists) {
			except := regular
			except.Kind, except.Lists, except.Addresses, except.Authors = sdk.RuleExclude, out, copies, by
			p.Recipients.Rule(except)
		}
	}
	if len(by) > 0 {
		p.Recipients.Exclude("no_own_posts", by...)
	}
	if len(copies) > 0 {
		p.Recipients.Exclude("no_duplicates", copies...)
	}
	return sdk.Accept, nil
}

// isUrgent tells whether the post has the moderators' password in Urgent, or one that is
// refused. A moderator who let the post through has seen it.
func isUrgent(p *sdk.Post) (urgent, refused bool) {
	hash, text := p.List.String("moderator_password"), strings.TrimSpace(p.Header.Text("Urgent"))
	if hash == "" || text == "" {
		return false, false
	}
	urgent = password.Check(hash, text)
	return urgent, !urgent && !p.Approved
}

// authors are the addresses that wrote the post; one in Reply-To or Sender may be
// somebody else.
func authors(p *sdk.Post) []string {
	var all set
	for _, s := range p.Senders {
		if s.Source == "from" || s.Source == "envelope" {
			all.add(s.Address)
		}
	}
	return all.list
}

// copied are the addresses that get a copy from the author.
func copied(p *sdk.Post) []string {
	var all set
	all.add(p.List.Address) // never worth a rule
	for _, m := range p.Header.Mailboxes("To", "Cc") {
		if all.add(m.Address); len(all.list) > maxNamed {
			break
		}
	}
	return all.list[1:]
}

// set keeps addresses in order, each once.
type set struct {
	list []string
	have map[string]bool
}

// add takes what a member's address could be. A field may name anything, and mlist
// refuses a rule with an address that is none.
func (s *set) add(addr string) {
	key := message.AddressKey(addr)
	if !message.IsAddress(addr) || s.have[key] {
		return
	}
	if s.have == nil {
		s.have = map[string]bool{}
	}
	s.have[key] = true
	s.list = append(s.list, addr)
}
