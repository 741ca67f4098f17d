// Package describe tells the stages about a message: its parts, the list it is for, and
// what the addresses that claim to have sent it are there. Whoever asks the stages, the
// pipeline, the milter or `mlist try`, tells them the same of the same message.
package describe

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// Store is what is asked about the list and the senders.
type Store interface {
	Standings(ctx context.Context, listID int64, addrs []address.Address) ([]list.Standing, error)
	Aliases(ctx context.Context, listID int64) ([]address.Address, error)
	OpenApprovals(ctx context.Context, listID int64, entry string, at time.Time) ([]string, error)
	MatchBans(ctx context.Context, listID int64, domain string, addrs []address.Address) (map[string]list.Ban, error)
}

// Describer describes messages for the lists of a store. It may be used by everybody at once.
type Describer struct {
	store Store
	kept  kept
}

// New makes one that asks this store.
func New(st Store) *Describer { return &Describer{store: st} }

// Message is a message, taken apart.
type Message struct {
	spool.Entry
	Text   spool.Message
	Header *message.Header
	Body   *message.Body
	BodyAt int64 // where the body starts in Text
}

// Split takes a message apart. Its body is read when it is wanted.
func Split(e spool.Entry, text spool.Message) (*Message, error) {
	block, bodyAt, err := message.Split(text, text.Size())
	if err != nil {
		return nil, err
	}
	return &Message{
		Entry: e, Text: text,
		Header: message.ParseHeader(block),
		Body:   message.NewBody(text, bodyAt, text.Size()-bodyAt),
		BodyAt: bodyAt,
	}, nil
}

// Post is the message as the stages of the list see it. The error is the store's.
func (d *Describer) Post(ctx context.Context, texts *templates.Set, l *list.List, m *Message, number int64) (*host.Post, error) {
	p, settings, err := d.described(ctx, texts, l, m.Entry, m.Header)
	if err != nil {
		return nil, err
	}
	if err := addAliases(ctx, d.store, l, p.List.Settings); err != nil {
		return nil, err
	}
	file, offset := m.Text.File()
	p.Shared, p.Number = settings.post, number
	p.Body, p.File, p.Offset, p.Length = m.Body, file.Name(), offset+m.BodyAt, m.Text.Size()-m.BodyAt
	return p, nil
}

// Envelope is what the stages of the list see of a message that has not come yet. A sender's session waits at
// each recipient, so they are told what matters then alone: no texts for people but those that are settings,
// no setting that is empty, and not the list's other addresses.
func (d *Describer) Envelope(texts *templates.Set, a list.Arrival, env spool.Envelope) *host.Post {
	var senders []sdk.Sender
	if from, err := address.Parse(env.Sender); err == nil {
		bans := map[string]list.Ban{}
		if a.Ban != nil {
			bans[from.Key()] = *a.Ban
		}
		senders = append(senders, sender(claim{from, "envelope"}, a.Standings, bans))
	}
	p := newPost(a.List, spool.Entry{Envelope: env}, message.ParseHeader(nil), senders, a.OneTime)
	p.Shared = d.settings(texts, a.List, a.Language()).envelope
	return p
}

// described is a post without its body, and the list's settings.
func (d *Describer) described(ctx context.Context, texts *templates.Set, l *list.List, e spool.Entry, header *message.Header) (*host.Post, shared, error) {
	senders, language, err := senders(ctx, d.store, l, e.Sender, header)
	if err != nil {
		return nil, shared{}, err
	}
	once, err := d.store.OpenApprovals(ctx, l.ID, string(e.ID), e.Received)
	if err != nil {
		return nil, shared{}, err
	}
	return newPost(l, e, header, senders, once), d.settings(texts, l, language), nil
}

// newPost is a post without its body; once are the one-time passwords that may let it pass.
func newPost(l *list.List, e spool.Entry, header *message.Header, senders []sdk.Sender, once []string) *host.Post {
	beside := map[string]string{} // the list's settings
	if len(once) > 0 {
		beside[sdk.OneTimePasswords] = strings.Join(once, "\n")
	}
	return &host.Post{
		Entry:    string(e.ID),
		ListID:   l.ID,
		Approved: hasFlag(e.Flags, spool.FlagApproved), SubmittedBy: SubmittedBy(e.Flags),
		List: sdk.List{Address: l.Address.String(), Settings: beside},
		Envelope: sdk.Envelope{
			Sender: e.Sender, Recipient: e.Recipient, Peer: e.Peer,
			Received: e.Received, Flags: e.Flags,
		},
		Senders: senders,
		Header:  header,
		Notes:   map[string]string{},
	}
}

// addAliases adds to the settings the other addresses of a list.
func addAliases(ctx context.Context, st Store, l *list.List, m map[string]string) error {
	aliases, err := st.Aliases(ctx, l.ID)
	if err != nil {
		return fmt.Errorf("look the list's aliases up: %w", err)
	}
	var lines []string
	for _, a := range aliases {
		lines = append(lines, a.String())
	}
	if len(lines) > 0 {
		m[sdk.OtherAddresses] = strings.Join(lines, "\n")
	}
	return nil
}

// SubmittedBy are the stages that led to an entry with such flags, the first one first.
func SubmittedBy(flags []string) []string {
	var out []string
	for _, f := range flags {
		if stage, ok := strings.CutPrefix(f, spool.FlagBy); ok {
			out = append(out, stage)
		}
	}
	return out
}

// claim is an address that claims to have sent a post, and where it stands.
type claim struct {
	address.Address
	source string
}

// claims are those of a message, in the order in which Mailman asks them. Of a field that is there
// twice both count: a mail program may show either. sdk.MaxSenders bounds what a hostile header can
// make the store look up, of each field by itself, so that none can hide what another says.
func claims(envelope string, h *message.Header) []claim {
	var out []claim
	add := func(source, text string) {
		a, err := address.Parse(text)
		if err != nil || slices.ContainsFunc(out, func(c claim) bool { return c.source == source && c.Key() == a.Key() }) {
			return
		}
		out = append(out, claim{a, source})
	}
	field := func(name, source string) {
		boxes := h.Mailboxes(name)
		for _, m := range boxes[:min(len(boxes), sdk.MaxSenders)] {
			add(source, m.Address)
		}
	}
	field("From", "from")
	add("envelope", envelope)
	field("Reply-To", "reply-to")
	field("Sender", "sender")
	return out
}

// senders are who claims to have sent the post, with what they, or others of the same person, are on the
// list; and the language of the first member who has one.
func senders(ctx context.Context, st Store, l *list.List, envelope string, h *message.Header) (out []sdk.Sender, language string, err error) {
	all := claims(envelope, h)
	if len(all) == 0 {
		return nil, "", nil
	}
	var addrs []address.Address
	for _, c := range all {
		addrs = append(addrs, c.Address)
	}
	standings, err := st.Standings(ctx, l.ID, addrs)
	if err != nil {
		return nil, "", fmt.Errorf("look the senders up: %w", err)
	}
	bans, err := st.MatchBans(ctx, l.ID, l.Address.Domain, addrs)
	if err != nil {
		return nil, "", fmt.Errorf("look the senders up: %w", err)
	}
	for _, c := range all {
		var own []list.Standing
		for _, s := range standings {
			if s.Of.Key() == c.Key() {
				own = append(own, s)
			}
		}
		if language == "" {
			language = list.LanguageOf(own)
		}
		out = append(out, sender(c, own, bans))
	}
	return out, language, nil
}

// sender is one of them, with what it is.
func sender(c claim, standings []list.Standing, bans map[string]list.Ban) sdk.Sender {
	s := sdk.Sender{Address: c.String(), Source: c.source}
	if b, ok := bans[c.Key()]; ok {
		s.Ban = b.String()
	}
	for _, m := range standings {
		s.Memberships = append(s.Memberships, sdk.Membership{
			Role: string(m.Role), Action: string(m.Action), Mode: string(m.Mode), Status: string(m.Status),
			NoOwnPosts: m.NoOwnPosts, NoDuplicates: m.NoDuplicates, AcknowledgePosts: m.AcknowledgePosts,
		})
	}
	return s
}

func hasFlag(flags []string, flag string) bool { return slices.Contains(flags, flag) }
