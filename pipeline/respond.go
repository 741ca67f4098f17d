package pipeline

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/wire"
)

// Automatic responses are a list's answers to whoever writes to it, to its owners, or
// for commands. They keep to RFC 3834, as all that mlist answers does (answer.go), and
// one sender gets them once within the list's grace period.

// The words of autorespond_postings and the others, but for "none".
const (
	respondAndDiscard  = "respond_and_discard"
	respondAndContinue = "respond_and_continue"
)

// responder is the name under which a response goes out with a post.
const responder = "autorespond"

// respondsAlone says why mail is thrown away.
const respondsAlone = "The list answers such mail and throws it away."

// autorespond returns what to do with the post's kind of mail, and the name of the text.
func (p *post) autorespond() (action, text string) {
	s := &p.list.Settings
	switch address.Role(p.entry.Role) {
	case address.RolePost:
		return s.AutorespondPostings, "autoresponse_postings_text"
	case address.RoleOwner:
		return s.AutorespondOwner, "autoresponse_owner_text"
	case address.RoleRequest:
		return s.AutorespondRequests, "autoresponse_request_text"
	}
	return "none", ""
}

// responds tells what the list does with mail of this kind. Posts that mlist or a handler
// made are none that anybody sent, and what a moderator let through is not thrown away.
func (d *Daemon) responds(p *post) string {
	action, _ := p.autorespond()
	if p.entry.Peer == "pipeline" || action == respondAndDiscard && hasFlag(p.entry.Flags, spool.FlagApproved) {
		return "none"
	}
	return action
}

// response is what goes out with mail that is gone on with, once; nothing if the list
// does not respond, or not to this sender.
func (d *Daemon) response(ctx context.Context, p *post) ([]wire.Submission, error) {
	if d.responds(p) != respondAndContinue {
		return nil, nil
	}
	n, err := d.responseNotice(ctx, p)
	if n == nil || err != nil {
		return nil, err
	}
	return []wire.Submission{{Stage: responder, Submission: sdk.Submission{To: p.author.String(), Message: bytes.Join([][]byte{n.header, n.text}, []byte("\r\n"))}}}, nil
}

// respondAlone ends mail with a response, or without one. A post is filed, so that a
// second copy is known.
func (d *Daemon) respondAlone(ctx context.Context, p *post, filing *store.Post) error {
	n, err := d.responseNotice(ctx, p)
	if err != nil {
		return err
	}
	if n != nil {
		may, err := d.mayAnswer(ctx, p)
		if err != nil {
			return err
		}
		if !may {
			n = nil
		}
	}
	if filing != nil {
		if _, err := d.store.FilePost(ctx, *filing, false, duplicateWindow); err != nil {
			return storeFailed("file the post", err)
		}
	}
	p.log.Info("mail is answered and thrown away", "role", p.entry.Role, "answered", n != nil)
	d.note(p, trace.Discarded, "stage", responder, "code", responder, "reason", respondsAlone)
	if n == nil {
		d.note(p, trace.Done, "reason", "discarded, and nobody is answered")
		return p.owner.Done(ctx, p.entry)
	}
	return d.commitNotice(ctx, p, n, "", []sdk.Rule{{Kind: sdk.RuleAdd, Addresses: []string{p.author.String()}}})
}

// responseNotice writes the response, if the sender is to have one.
func (d *Daemon) responseNotice(ctx context.Context, p *post) (*notice, error) {
	if !p.personal {
		return nil, nil
	}
	_, text := p.autorespond()
	grace := time.Duration(p.list.Settings.AutoresponseGracePeriod) * 24 * time.Hour
	allowed, err := d.store.AllowResponse(ctx, p.list.ID, p.entry.Role, p.author, string(p.entry.ID), p.entry.Received, grace)
	if err != nil {
		return nil, storeFailed("look for an earlier response", err)
	}
	if !allowed {
		return nil, nil
	}
	reader, err := d.language(ctx, p.list, p.author)
	if err != nil {
		return nil, err
	}
	letter := d.texts().Letter(p.list, reader, text, templates.Values{"recipient": address.Sub(p.list.Address, address.Role(p.entry.Role)).String()})
	return textNotice(d.noticeHeader(p, "response", p.author.String(), letter.Subject), letter), nil
}

// maxReferences and maxReference bound what a reply takes over of a long thread.
const maxReferences, maxReference = 20, 250

// references are the Message-IDs for the References of a reply (RFC 5322 3.6.4).
func references(h *message.Header) string {
	id := h.ID()
	if id == "" {
		return ""
	}
	var out []string
	for _, earlier := range append(h.IDs("References"), id) {
		if len(earlier) <= maxReference && isASCII(earlier) && !slices.Contains(out, "<"+earlier+">") {
			out = append(out, "<"+earlier+">")
		}
	}
	return strings.Join(out[max(0, len(out)-maxReferences):], " ")
}
