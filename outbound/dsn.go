package outbound

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/trace"
)

// Fields of a DSN made here that others do not have: the header has HeaderPost,
// HeaderChunk and HeaderList, and the group of each recipient HeaderScope.
const (
	HeaderPost  = "X-Mlist-Post"  // the id of the post
	HeaderChunk = "X-Mlist-Chunk" // post/name
	HeaderList  = "X-Mlist-List"  // address of the list
	HeaderScope = "X-Mlist-Scope" // ScopeRecipient or ScopeMessage
)

// Values of HeaderScope.
const (
	ScopeRecipient = "recipient" // the address was refused
	ScopeMessage   = "message"   // the sender or the content was refused: no fault of the address
)

// roleBounces is address.RoleBounces as it stands in an envelope.
const roleBounces = "bounces"

// bounce puts one entry with all refusals of a transaction in bounces. It is there when
// bounce returns nil, and doing it again after a crash makes no second one.
func (d *Daemon) bounce(ctx context.Context, c *spool.Chunk, refused []refusal) error {
	if c.Sender == "" {
		// The null reverse-path: nobody is to be told (RFC 5321 4.5.5).
		d.log.Info("outbound: refused, and nobody to tell", "entry", c.Post, "chunk", c.Name, "list", c.List,
			"recipients", len(refused), "reason", reason(refused[0]))
		return nil
	}
	id := bounceID(c, refused)
	now := d.now()
	draft, err := d.spool.Create(ctx)
	if err != nil {
		return fmt.Errorf("bounce of chunk %s: %w", c.ID(), err)
	}
	defer draft.Close()
	text := dsn(id, c, refused, d.cfg.Load().MTA.Hostname, now)
	if _, err := draft.Write(text); err != nil {
		return fmt.Errorf("bounce of chunk %s: %w", c.ID(), err)
	}
	if _, err := draft.Put(ctx, spool.Bounces, id, envelope(c, now)); err != nil {
		return fmt.Errorf("bounce of chunk %s: %w", c.ID(), err)
	}
	d.trace.Trace(string(c.Post), c.List, trace.Bounced, "chunk", c.Name, "recipients", len(refused), "as", string(id))
	d.trace.Trace(string(id), c.List, trace.Kept, trace.KeyOf, string(c.Post), "queue", string(spool.Bounces), "role", roleBounces,
		"peer", "outbound", "size", len(text))
	return nil
}

// envelope is that of a report about a chunk.
func envelope(c *spool.Chunk, now time.Time) spool.Envelope {
	return spool.Envelope{
		List: clean(c.List), Role: roleBounces, Key: segment.KeyOf(clean(c.List)), Recipient: clean(c.Sender),
		Received: now, Peer: "outbound", Flags: []string{spool.FlagOutbound},
	}
}

// bounceID makes an id of the chunk, its tries and who was refused: the same when the
// chunk runs again with the same end, because it was not settled, and another when the
// end is another, so that no refusal is taken for one that is known. It begins as the
// post's id, and so sorts by the post's age.
func bounceID(c *spool.Chunk, refused []refusal) spool.ID {
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00%d", c.ID(), c.Tries)
	for _, r := range refused {
		fmt.Fprintf(h, "\x00%s", r.recipient)
	}
	sum := strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil)))
	if id, err := spool.CheckID(string(c.Post)); err == nil {
		return id[:6] + spool.ID(sum[:10])
	}
	return spool.ID(sum[:16])
}

// dsn writes a report (RFC 3464; RFC 6533 where it is not all ASCII) that recipients were
// refused.
func dsn(id spool.ID, c *spool.Chunk, refused []refusal, host string, now time.Time) []byte {
	return report(id, c, "failed", refused, host, now)
}

// actions are how a report says each Action in words.
var actions = map[string]struct{ subject, text string }{
	"failed":  {"Not delivered to ", " could not be delivered to "},
	"delayed": {"Delayed for ", " could not be delivered yet to "},
}

func report(id spool.ID, c *spool.Chunk, action string, about []refusal, host string, now time.Time) []byte {
	if host == "" {
		host = "localhost"
	}
	status := statusPart(c, action, about, host, now)
	kind := "message/delivery-status"
	if !ascii(string(status)) {
		kind = "message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit"
	}
	boundary := "=_" + string(id)

	var b bytes.Buffer
	field := func(name, value string) { b.WriteString(name + ": " + value + "\r\n") }
	field("From", "Mail delivery <mailer-daemon@"+clean(host)+">")
	field("To", "<"+clean(c.Sender)+">")
	field("Subject", actions[action].subject+strconv.Itoa(len(about))+" recipients")
	field("Date", now.Format(time.RFC1123Z))
	field("Message-ID", "<"+string(id)+"@"+clean(host)+">")
	field("Auto-Submitted", "auto-replied")
	field(HeaderPost, clean(string(c.Post)))
	field(HeaderChunk, clean(c.ID()))
	field(HeaderList, clean(c.List))
	field("MIME-Version", "1.0")
	field("Content-Type", `multipart/report; report-type=delivery-status; boundary="`+boundary+`"`)
	b.WriteString("\r\n--" + boundary + "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
	b.WriteString("A post to " + clean(c.List) + actions[action].text + strconv.Itoa(len(about)) + " recipients.\r\n")
	b.WriteString("The first of them: " + clean(reason(about[0])) + "\r\n")
	b.WriteString("\r\n--" + boundary + "\r\nContent-Type: " + kind + "\r\n\r\n")
	b.Write(status)
	b.WriteString("\r\n--" + boundary + "--\r\n")
	return b.Bytes()
}

// statusPart is the machine-readable part: a group for the message, and one for each
// recipient.
func statusPart(c *spool.Chunk, action string, about []refusal, host string, now time.Time) []byte {
	var b bytes.Buffer
	field := func(name, value string) { b.WriteString(name + ": " + value + "\r\n") }
	field("Reporting-MTA", "dns;"+clean(host))
	field("Original-Envelope-Id", clean(c.ID()))
	field("Arrival-Date", c.Created.Format(time.RFC1123Z))
	for _, r := range about {
		kind, scope := "rfc822;", ScopeRecipient
		if !ascii(r.recipient) {
			kind = "utf-8;"
		}
		if r.message {
			scope = ScopeMessage
		}
		b.WriteString("\r\n")
		field("Final-Recipient", kind+clean(r.recipient))
		field("Action", action)
		field("Status", r.status().String())
		field("Diagnostic-Code", "smtp; "+shorten(clean(r.reply.String())))
		field("Last-Attempt-Date", now.Format(time.RFC1123Z))
		field(HeaderScope, scope)
	}
	return b.Bytes()
}

// clean makes s fit for one line of a header: what would end it becomes '?'.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// shorten keeps a line within the 998 octets of RFC 5322 2.1.1.
func shorten(s string) string {
	const most = 900
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}
