package pipeline

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io"
	"strings"
	"text/template"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

//go:embed notices/*.txt
var noticeFiles embed.FS

var noticeTexts = template.Must(template.ParseFS(noticeFiles, "notices/*.txt"))

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

// noticeData is what the texts in notices/ may use.
type noticeData struct {
	List, Owner, Entry, Reason, From, Subject, Date string
}

func (p *post) noticeData(v sdk.Verdict) noticeData {
	subject := p.header.Text("Subject")
	if subject == "" {
		subject = "(no subject)"
	}
	return noticeData{
		List:    p.list.Address.String(),
		Owner:   address.Sub(p.list.Address, address.RoleOwner).String(),
		Entry:   string(p.entry.ID),
		Reason:  oneLine(v.Reason),
		From:    oneLine(message.DecodeText(p.header.Get("From"))),
		Subject: oneLine(subject),
		Date:    oneLine(p.header.Get("Date")),
	}
}

// oneLine keeps what strangers wrote from shaping a notice.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "") + "…"
	}
	return s
}

func (d *Daemon) rejectNotice(p *post, v sdk.Verdict) (*notice, error) {
	return d.notice(p, "reject", "reject.txt", v, p.entry.Sender,
		fmt.Sprintf("Your message to %s was rejected", p.list.Address), true)
}

// noticeHeader is the header block of what mlist answers (RFC 3834 section 3), without the
// fields on its content.
func (d *Daemon) noticeHeader(p *post, kind, to, subject string) *message.Header {
	owner := address.Sub(p.list.Address, address.RoleOwner)
	h := message.ParseHeader(nil)
	h.Append("From", message.Mailbox{Name: p.list.Name(), Address: owner.String()}.String())
	h.Append("To", to)
	h.Append("Subject", subject)
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
func (d *Daemon) notice(p *post, kind, text string, v sdk.Verdict, to, subject string, attach bool) (*notice, error) {
	h := d.noticeHeader(p, kind, to, subject)
	var out bytes.Buffer
	if err := noticeTexts.ExecuteTemplate(&out, text, p.noticeData(v)); err != nil {
		return nil, fmt.Errorf("write the notice %s: %w", text, err)
	}
	if !attach {
		h.Append("Content-Type", "text/plain; charset=utf-8")
		h.Append("Content-Transfer-Encoding", "8bit")
		return &notice{h.Bytes(), crlf(out.Bytes())}, nil
	}
	boundary := "=_mlist_" + string(p.entry.ID)
	h.Append("Content-Type", `multipart/mixed; boundary="`+boundary+`"`)
	original, kindOf, err := p.quote()
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	fmt.Fprintf(&body, "--%s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n", boundary)
	body.Write(crlf(out.Bytes()))
	fmt.Fprintf(&body, "\r\n--%s\r\nContent-Type: %s\r\nContent-Disposition: attachment\r\n\r\n", boundary, kindOf)
	body.Write(original)
	fmt.Fprintf(&body, "\r\n--%s--\r\n", boundary)
	return &notice{h.Bytes(), body.Bytes()}, nil
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

func crlf(text []byte) []byte {
	return bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
}

// holdNotices tells the moderators and the author that the post waits.
func (d *Daemon) holdNotices(ctx context.Context, p *post, v sdk.Verdict) error {
	name := p.list.Address.String()
	if p.list.Settings.AdminImmedNotify && !p.noticeCameBack() {
		n, err := d.notice(p, "held-moderators", "held-moderators.txt", v,
			address.Sub(p.list.Address, address.RoleOwner).String(), fmt.Sprintf("A message to %s waits for you", name), true)
		if err != nil {
			return err
		}
		if err := d.putNotice(ctx, p, n, "moderators"); err != nil {
			return err
		}
	}
	if !p.list.Settings.RespondToPostRequests {
		return nil
	}
	may, err := d.mayAnswer(ctx, p)
	if err != nil || !may {
		return err
	}
	n, err := d.notice(p, "held-author", "held-author.txt", v, p.entry.Sender,
		fmt.Sprintf("Your message to %s waits for a moderator", name), false)
	if err != nil {
		return err
	}
	return d.putNotice(ctx, p, n, p.entry.Sender)
}

// putNotice puts a notice into incoming as an entry of its own; to is an address, or
// "moderators".
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
	id, err := draft.Put(ctx, spool.Incoming, "", spool.Envelope{
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
		rules = ownersAndModerators
	}
	return d.commitAsIs(ctx, p, "", rules)
}

var ownersAndModerators = []sdk.Rule{{Kind: sdk.RuleSelect, Roles: []string{string(list.Moderator), string(list.Owner)}}}
