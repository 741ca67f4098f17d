package pipeline

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/text"
)

// roleNotice is the role of an entry that mlist put into incoming itself: a notice
// about a held post, ready to go out as it is.
const roleNotice = "notice"

// maxAttached is how much of a message a notice quotes: enough to recognise it.
const maxAttached = 64 << 10

// notice is a message that mlist writes.
type notice struct {
	header []byte
	text   []byte
}

func (n *notice) fields() *message.Header { return message.ParseHeader(n.header) }

func (n *notice) body() *message.Body {
	return message.NewBody(bytes.NewReader(n.text), 0, int64(len(n.text)))
}

// values are what a notice may say of the post, for a reader of the language.
func (d *Daemon) values(p *post, reader string, v sdk.Verdict) templates.Values {
	subject := p.header.Text("Subject")
	if strings.TrimSpace(subject) == "" {
		subject = d.texts().Phrase(p.list, reader, "no_subject", nil)
	}
	reason := d.texts().Reason(p.list, reader, v.Reason)
	return templates.Values{
		"entry": string(p.entry.ID), "reason": reason, "subject": subject,
		"from": message.DecodeText(p.header.Get("From")), "date": p.header.Get("Date"),
	}
}

// language is that of an address on the list: its member's, or "" for the list's.
func (d *Daemon) language(ctx context.Context, l *list.List, a address.Address) (string, error) {
	if a.Local == "" {
		return "", nil
	}
	ms, err := d.store.Memberships(ctx, l.ID, []address.Address{a})
	if err != nil {
		return "", storeFailed("look a language up", err)
	}
	for _, m := range ms {
		if m.Language != "" {
			return m.Language, nil
		}
	}
	return "", nil
}

// oneLine keeps what strangers wrote from shaping a notice.
func oneLine(s string) string { return text.Line(s, 500) }

func (d *Daemon) rejectNotice(ctx context.Context, p *post, v sdk.Verdict) (*notice, error) {
	reader, err := d.language(ctx, p.list, p.author)
	if err != nil {
		return nil, err
	}
	return d.notice(p, "reject", "rejected", reader, v, p.entry.Sender, true)
}

// noticeHeader is the header block of what mlist answers (RFC 3834 section 3), without the
// fields on its content.
func (d *Daemon) noticeHeader(p *post, kind, to, subject string) *message.Header {
	owner := p.speaker()
	h := message.ParseHeader(nil)
	h.Append("From", message.Mailbox{Name: p.list.Name(), Address: owner.String()}.String())
	h.Append("To", to)
	h.Append("Subject", message.EncodeText(subject))
	h.Append("Date", p.entry.Received.UTC().Format(time.RFC1123Z))
	h.Append("Message-ID", fmt.Sprintf("<%s.%s@%s>", kind, p.entry.ID, p.list.Address.Domain))
	if id := p.header.Get("Message-ID"); id != "" && len(id) < 500 {
		h.Append("In-Reply-To", id)
	}
	if refs := references(p.header); refs != "" {
		h.Append("References", refs)
	}
	h.Append("Auto-Submitted", "auto-replied")
	h.Append("Precedence", "bulk")
	for _, mark := range append(p.loopMarks(), owner.String()) {
		h.Append(loopField, mark)
	}
	h.Append("MIME-Version", "1.0")
	return h
}

// notice writes a message from the list's owner address. kind makes its Message-ID,
// which a second run repeats.
func (d *Daemon) notice(p *post, kind, name, reader string, v sdk.Verdict, to string, attach bool) (*notice, error) {
	letter := d.texts().Letter(p.list, reader, name, d.values(p, reader, v))
	h := d.noticeHeader(p, kind, to, letter.Subject)
	if !attach {
		return textNotice(h, letter), nil
	}
	boundary := "=_mlist_" + string(p.entry.ID)
	original, kindOf, err := p.quote()
	if err != nil {
		return nil, err
	}
	return withAttachment(h, boundary, letter, original, kindOf), nil
}

// withAttachment is a notice with a text, and a message behind it. No stranger knows the
// boundary before it is used.
func withAttachment(h *message.Header, boundary string, l templates.Letter, original []byte, kind string) *notice {
	h.Append("Content-Type", `multipart/mixed; boundary="`+boundary+`"`)
	var body bytes.Buffer
	fmt.Fprintf(&body, "--%s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n", boundary)
	body.WriteString(crlf(l.Body))
	fmt.Fprintf(&body, "\r\n--%s\r\nContent-Type: %s\r\nContent-Disposition: attachment\r\n\r\n", boundary, kind)
	body.Write(original)
	fmt.Fprintf(&body, "\r\n--%s--\r\n", boundary)
	return &notice{h.Bytes(), body.Bytes()}
}

// quote returns the message, or its header block alone if it is large.
func (p *post) quote() (text []byte, kind string, err error) {
	size := p.msg.Size()
	kind = "message/rfc822"
	if size > maxAttached {
		size, kind = min(p.bodyAt, maxAttached), "text/rfc822-headers"
	}
	text, err = io.ReadAll(io.NewSectionReader(p.msg, 0, size))
	if err != nil {
		return nil, "", fmt.Errorf("read the message: %w", err)
	}
	return text, kind, nil
}

// textNotice is a notice that is nothing but text.
func textNotice(h *message.Header, l templates.Letter) *notice {
	h.Append("Content-Type", "text/plain; charset=utf-8")
	h.Append("Content-Transfer-Encoding", "8bit")
	return &notice{h.Bytes(), []byte(crlf(l.Body))}
}

func crlf(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }

// tellAuthor tells the author that the post waits.
func (d *Daemon) tellAuthor(ctx context.Context, p *post, v sdk.Verdict) error {
	if !p.list.Settings.RespondToPostRequests {
		return nil
	}
	may, err := d.mayAnswer(ctx, p)
	if err != nil || !may {
		return err
	}
	reader, err := d.language(ctx, p.list, p.author)
	if err != nil {
		return err
	}
	n, err := d.notice(p, "held-author", "held_author", reader, v, p.entry.Sender, false)
	if err != nil {
		return err
	}
	return d.putNotice(ctx, p, n, p.entry.Sender)
}

// putNotice puts a notice about the entry into incoming, as an entry of its own under an id
// that follows from it.
func (d *Daemon) putNotice(ctx context.Context, p *post, n *notice, to string) error {
	draft, err := d.spool.Create(ctx)
	if err != nil {
		return fmt.Errorf("write a notice: %w", err)
	}
	defer draft.Close()
	for _, part := range [][]byte{n.header, []byte("\r\n"), n.text} {
		if _, err := draft.Write(part); err != nil {
			return fmt.Errorf("write a notice: %w", err)
		}
	}
	id, err := draft.Put(ctx, spool.Incoming, idOf(p.entry.Received, p.entry.List, string(p.entry.ID), to), spool.Envelope{
		List: p.entry.List, Role: roleNotice, Recipient: to, Key: segment.KeyOf(p.entry.List),
		Received: p.entry.Received, Peer: "pipeline",
	})
	if err != nil {
		return fmt.Errorf("put a notice: %w", err)
	}
	d.tracer.Trace(string(id), p.entry.List, trace.Kept, trace.KeyOf, string(p.entry.ID), "queue", string(spool.Incoming),
		"role", roleNotice, "recipient", to, "peer", "pipeline")
	return nil
}

// sendNotice sends a notice that putNotice left.
func (d *Daemon) sendNotice(ctx context.Context, p *post) error {
	rules := []sdk.Rule{{Kind: sdk.RuleAdd, Addresses: []string{p.entry.Recipient}}}
	if p.entry.Recipient == "moderators" {
		var err error
		if rules, err = d.lookers(ctx, p.list); err != nil {
			return err
		}
	}
	return d.commitAsIs(ctx, p, "", rules)
}

// lookers are who look after a list: its owners and moderators, or if it has none those of its
// domain.
func (d *Daemon) lookers(ctx context.Context, l *list.List) ([]sdk.Rule, error) {
	roles := []list.Role{list.Moderator, list.Owner}
	n, err := d.store.CountMembers(ctx, l.ID, store.Filter{Roles: roles})
	if err != nil {
		return nil, storeFailed("look for the owners", err)
	}
	if n > 0 {
		return ownersAndModerators, nil
	}
	who, err := d.desk().DomainPeople(ctx, l, roles...)
	if err != nil {
		return nil, storeFailed("look for the domain's owners", err)
	}
	return addOnly(who...), nil
}

var ownersAndModerators = []sdk.Rule{{Kind: sdk.RuleSelect, Roles: []string{string(list.Moderator), string(list.Owner)}}}
