package pipeline

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/archive"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/sdk/message"
)

// digestMail is the message that a form of an issue starts as: a multipart/digest of the
// posts, each whole and octet for octet. The stage digest makes the form of it.
type digestMail struct {
	list  *list.List
	issue store.Digest
	form  string
	id    spool.ID
	texts *templates.Set
}

// say writes a phrase in the list's language.
func (m digestMail) say(phrase string, v templates.Values) string {
	return m.texts.Phrase(m.list, "", phrase, v)
}

// name is what people call the issue.
func (m digestMail) name() string {
	return m.say("digest_name", templates.Values{"volume": fmt.Sprint(m.issue.Volume), "issue": fmt.Sprint(m.issue.Issue.Issue)})
}

// header is the message's header block. From is an address of the list: the authors' domains
// have signed none of this.
func (m digestMail) header(boundary string) *message.Header {
	h := message.ParseHeader(nil)
	request := address.Sub(m.list.Address, address.RoleRequest).String()
	h.Append("From", message.Mailbox{Name: m.list.Name(), Address: message.ASCIIAddress(request)}.String())
	h.Append("To", message.ASCIIAddress(m.list.Address.String()))
	h.Append("Reply-To", message.ASCIIAddress(m.list.Address.String()))
	h.Append("Subject", message.EncodeText(m.name()))
	h.Append("Date", m.issue.Closed.UTC().Format(time.RFC1123Z))
	h.Append("Message-ID", "<"+message.ASCIIAddress(fmt.Sprintf("digest-%s-%d-%d.%s@%s", m.form, m.issue.Volume, m.issue.Issue.Issue, m.id, m.list.Address.Domain))+">")
	h.Append("MIME-Version", "1.0")
	h.Append("Content-Type", `multipart/digest; boundary="`+boundary+`"`)
	h.Append("Content-Transfer-Encoding", "8bit") // whatever the posts are
	return h
}

// writeDigest writes the message: the posts stream from the archive.
func (d *Daemon) writeDigest(ctx context.Context, to io.Writer, m digestMail, posts []store.Archived) error {
	boundary := newBoundary()
	w := bufio.NewWriterSize(to, 64<<10)
	w.Write(m.header(boundary).Bytes())
	w.WriteString("\r\n")
	order := make([]archive.Post, len(posts))
	for i, a := range posts {
		order[i] = archive.Post{ID: a.MessageID, Refs: a.Refs}
	}
	for _, i := range archive.Threads(order) {
		w.WriteString("--" + boundary + "\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
		if err := d.copyPost(ctx, w, m, posts[i]); err != nil {
			return err
		}
		w.WriteString("\r\n")
	}
	w.WriteString("--" + boundary + "--\r\n")
	return w.Flush()
}

// copyPost writes a post as it was kept. One that is damaged, or was removed meanwhile, does
// not stop the digest, which says so in its place.
func (d *Daemon) copyPost(ctx context.Context, w io.Writer, m digestMail, a store.Archived) error {
	if !a.Removed.IsZero() {
		h := message.ParseHeader(nil)
		h.Append("Subject", message.EncodeText(m.say("digest_removed_subject", nil)))
		return m.remark(w, h, "digest_removed")
	}
	place := a.DigestPlace
	if place == "" { // an issue that is filed again
		place = a.Place
	}
	r, err := d.archive.Open(ctx, place)
	if errors.Is(err, archive.ErrNotFound) || errors.Is(err, archive.ErrDamaged) {
		d.log.Error("a post of a digest cannot be read", "number", a.Number, "entry", a.Entry, "err", err)
		h := message.ParseHeader(nil)
		h.Append("Date", a.Date.Format(time.RFC1123Z))
		h.Append("From", message.Mailbox{Name: a.FromName, Address: a.From}.String())
		h.Append("Subject", message.EncodeText(a.Subject))
		return m.remark(w, h, "digest_damaged")
	}
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(w, r)
	if errors.Is(err, archive.ErrDamaged) {
		d.log.Error("a post of a digest cannot be read to its end", "number", a.Number, "entry", a.Entry, "err", err)
		_, err = io.WriteString(w, "\r\n"+m.say("digest_rest_damaged", nil)+"\r\n")
	}
	return err
}

// remark writes a message that says something in the place of a post.
func (m digestMail) remark(w io.Writer, h *message.Header, phrase string) error {
	text := m.say(phrase, nil)
	if strings.ContainsFunc(text, func(r rune) bool { return r >= 0x80 }) {
		h.Append("MIME-Version", "1.0")
		h.Append("Content-Type", "text/plain; charset=utf-8")
		h.Append("Content-Transfer-Encoding", "8bit")
	}
	_, err := fmt.Fprintf(w, "%s\r\n%s\r\n", h.Bytes(), text)
	return err
}

// newBoundary is one that nobody could have put into a post.
func newBoundary() string {
	var b [18]byte
	_, _ = rand.Read(b[:]) // never fails
	return "mlist-" + hex.EncodeToString(b[:])
}
