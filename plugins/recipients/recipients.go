// Package recipients chooses who gets a post: the members who want every post as it
// comes, without those who do not want this one.
//
// It gives rules and sees no members: mlist applies the rules while it streams the
// membership, so that a list's size does not matter here.
package recipients

import (
	"context"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// maxNamed bounds the addresses of To and Cc that are looked at; members named
// further back get a second copy.
const maxNamed = 1000

// Stages returns stage recipients.
func Stages() []sdk.Stage {
	return []sdk.Stage{{
		Name:    "recipients",
		Help:    "chooses the members who get every post, without those who do not want this one",
		Handler: recipients{},
	}}
}

type recipients struct{}

// Handle implements sdk.Handler.
func (recipients) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	p.Recipients.Select([]string{"member"}, []string{"regular"}, []string{"enabled"})
	if a := authors(p); len(a) > 0 {
		p.Recipients.Exclude("no_own_posts", a...)
	}
	if n := copied(p); len(n) > 0 {
		p.Recipients.Exclude("no_duplicates", n...)
	}
	return sdk.Accept, nil
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
