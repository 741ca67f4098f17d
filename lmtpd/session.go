package lmtpd

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/emersion/go-smtp"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
)

// lookupTimeout bounds one look-up, so that a store that hangs becomes a 451.
const lookupTimeout = 5 * time.Second

// session is what the library calls for one connection, from one goroutine at a time.
type session struct {
	daemon *Daemon
	conn   *conn
	peer   string
	tx     *transaction // nil outside of one
}

// transaction is what came since MAIL.
type transaction struct {
	sender string // "" is the null reverse-path
	flags  []string
	rcpts  []recipient
}

// recipient is one accepted RCPT.
type recipient struct {
	raw   string // as the library knows it
	given string // as the client gave it, quoted if need be
	target
}

// target is where a message goes: recipients with the same target share an entry.
type target struct {
	queue              spool.Queue
	list, role, detail string
}

func (d *Daemon) newSession(c *smtp.Conn) (smtp.Session, error) {
	mine, ok := c.Conn().(*conn)
	if !ok {
		return nil, reply(421, 4, 3, 0, "internal error") // TLS would be another net.Conn; it is not offered
	}
	return &session{daemon: d, conn: mine, peer: peerText(c.Hostname(), mine.peer)}, nil
}

// peerText names the peer in envelopes and logs: what it said in LHLO, and where it is.
func peerText(helo, from string) string {
	helo = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, helo)
	if len(helo) > address.MaxDomain {
		helo = helo[:address.MaxDomain]
	}
	return helo + " [" + from + "]"
}

// Mail begins a transaction.
func (s *session) Mail(from string, opts *smtp.MailOptions) error {
	err := s.mail(from, opts)
	if err != nil {
		return s.daemon.counted("MAIL", err)
	}
	return nil
}

func (s *session) mail(from string, opts *smtp.MailOptions) error {
	if s.tx != nil {
		return replyNested // the library would keep the recipients of the one before
	}
	tx := &transaction{}
	if from != "" {
		a, err := parse(from)
		if err != nil {
			return reply(501, 5, 1, 7, "bad sender address")
		}
		tx.sender = a.String()
		if opts.UTF8 || !a.IsASCII() {
			tx.flags = append(tx.flags, spool.FlagSMTPUTF8)
		}
	} else if opts.UTF8 {
		tx.flags = append(tx.flags, spool.FlagSMTPUTF8)
	}
	if opts.Body == smtp.Body8BitMIME {
		tx.flags = append(tx.flags, spool.Flag8BitMIME)
	}
	if limit := s.daemon.Config().MaxMessageSize; opts.Size > limit {
		return replyTooBig(limit)
	}
	if err := s.daemon.room(opts.Size); err != nil {
		return err
	}
	s.tx = tx
	s.conn.setBusy(true)
	return nil
}

// Rcpt asks the store whose address it is.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	return s.daemon.counted("RCPT", s.rcpt(to))
}

func (s *session) rcpt(to string) error {
	if s.tx == nil {
		return reply(503, 5, 5, 1, "no transaction is open")
	}
	if len(s.tx.rcpts) >= s.daemon.Config().MaxRecipients {
		return reply(452, 4, 5, 3, "too many recipients")
	}
	a, err := parse(to)
	if err != nil {
		return reply(501, 5, 1, 3, "bad recipient address")
	}
	ctx, cancel := context.WithTimeout(s.daemon.work, lookupTimeout)
	defer cancel()
	t, err := s.daemon.resolver.Resolve(ctx, a)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return reply(550, 5, 1, 1, "<%s>: no such list address here", a)
	case err != nil:
		s.daemon.meter.StoreError()
		s.daemon.log.Error("look-up failed", "recipient", a.String(), "peer", s.peer, "err", err)
		return replyLookup
	}
	if code, reason := t.State.Refusal(t.List.String(), t.Why); code != "" && t.Role == address.RolePost {
		s.daemon.log.Info("recipient refused", "recipient", a.String(), "sender", s.tx.sender, "peer", s.peer, "code", code)
		return reply(550, 5, 7, 1, "%s", ascii(reason))
	}
	s.tx.rcpts = append(s.tx.rcpts, recipient{raw: to, given: a.String(), target: targetOf(t)})
	return nil
}

func targetOf(t store.Target) target {
	out := target{spool.Incoming, t.List.Key(), string(t.Role), t.Detail}
	if t.Role == address.RoleBounces {
		out.queue = spool.Bounces
	}
	return out
}

// parse reads an address as the library hands it over: with the quotes of the local
// part taken off, and control characters let through.
func parse(s string) (address.Address, error) {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return address.Address{}, errors.New("no @")
	}
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }) {
		return address.Address{}, errors.New("control character")
	}
	return address.Parse(address.Address{Local: s[:at], Domain: s[at+1:]}.String())
}

// Reset ends the transaction: the library calls it after the last reply to DATA too.
func (s *session) Reset() {
	s.tx = nil
	s.conn.setBusy(false)
}

// Logout is called when the connection ends.
func (s *session) Logout() error { return nil }

// Data is not called over LMTP.
func (s *session) Data(io.Reader) error { return replySpool }

func (t target) envelope(tx *transaction, given, peer string, malformed bool, received time.Time) spool.Envelope {
	env := spool.Envelope{
		List: t.list, Role: t.role, Detail: t.detail, Key: segment.KeyOf(t.list),
		Sender: tx.sender, Recipient: given, Received: received, Peer: peer,
		Flags: append([]string(nil), tx.flags...),
	}
	if malformed {
		env.Flags = append(env.Flags, spool.FlagMalformed)
	}
	return env
}
