package milter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"time"

	gomilter "github.com/emersion/go-milter"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk"
)

// lookupTimeout bounds one look-up: a sender's SMTP session waits for it.
const lookupTimeout = 5 * time.Second

// session is what the library calls for one SMTP session, from one goroutine. Every
// response is "continue" or a reply of ours, so it lives as long as the connection.
type session struct {
	gomilter.NoOpMilter
	daemon *Daemon
	conn   *conn
	peer   string
	tx     *transaction // nil outside of one
}

// transaction is a message on its way in.
type transaction struct {
	sender string // "" is the null reverse-path
	lists  []target
	others int // recipients that are not a list's posting address, or are none of ours
	// unasked: a handler has failed at a recipient; the others' lists are not asked before the end of
	// the message, so that one that hangs is waited for once.
	unasked bool
	content
}

// target is a list that the message is for.
type target struct {
	list      *list.List
	recipient string
	language  string // of the envelope sender; "" is not known
}

func newSession(d *Daemon, c *conn) *session { return &session{daemon: d, conn: c} }

// Connect notes who the client is, for the log and the handlers.
func (s *session) Connect(host, _ string, _ uint16, addr net.IP, _ *gomilter.Modifier) (gomilter.Response, error) {
	s.peer = printable(host)
	if addr != nil {
		s.peer += " [" + addr.String() + "]"
	}
	return gomilter.RespContinue, nil
}

// MailFrom begins a transaction.
func (s *session) MailFrom(from string, _ *gomilter.Modifier) (gomilter.Response, error) {
	s.reset()
	s.tx = &transaction{sender: from}
	if s.conn != nil {
		s.conn.busy.Store(true)
	}
	return gomilter.RespContinue, nil
}

// RcptTo refuses one recipient, or lets it pass: no decision is about another.
func (s *session) RcptTo(to string, _ *gomilter.Modifier) (gomilter.Response, error) {
	begun := time.Now()
	response, err := s.rcptTo(to)
	s.daemon.meter.Verdict("rcpt", verdictOf(response), time.Since(begun))
	return response, err
}

func (s *session) rcptTo(to string) (gomilter.Response, error) {
	if s.tx == nil {
		return gomilter.RespContinue, nil
	}
	a, err := address.Parse(to)
	if err != nil {
		s.tx.others++ // it is the MTA's to say what is no address
		return gomilter.RespContinue, nil
	}
	ctx, cancel := context.WithTimeout(s.daemon.work, lookupTimeout)
	defer cancel()
	sender, _ := address.Parse(s.tx.sender) // the zero address is nobody
	now := s.daemon.now()
	arrival, err := s.daemon.store.Arrival(ctx, a, sender, now)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return s.noPost(ctx, a), nil
	case err != nil:
		return s.failed(err), nil
	}
	l := arrival.List
	if code, reason := l.Refusal(); code != "" {
		return s.refused(arrival, a, code, reason), nil
	}
	if verdict := s.askEnvelope(arrival, a, now); verdict.Kind == sdk.KindReject {
		return s.refused(arrival, a, verdict.Code, verdict.Reason), nil
	}
	if len(s.tx.lists) <= maxLists && !slices.ContainsFunc(s.tx.lists, func(o target) bool { return o.list.ID == l.ID }) {
		s.tx.lists = append(s.tx.lists, target{l, a.String(), arrival.Language()})
	}
	return gomilter.RespContinue, nil
}

// noPost answers for a recipient that is not the posting address of a list.
func (s *session) noPost(ctx context.Context, a address.Address) gomilter.Response {
	t, err := s.daemon.store.Resolve(ctx, a)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return s.unknown(ctx, a)
	case err != nil:
		return s.failed(fmt.Errorf("look %s up: %w", a, err))
	case t.Role == address.RolePost:
		return s.failed(fmt.Errorf("look %s up: the list came to be in this moment", a))
	}
	s.tx.others++
	return gomilter.RespContinue
}

// unknown refuses an address that is no list's, where no other can be: in a domain of lists
// alone, and behind a list's name and a + everywhere. Such a one looks like the list to an MTA
// that knows of recipient delimiters, and would be taken and bounced.
func (s *session) unknown(ctx context.Context, a address.Address) gomilter.Response {
	known := slices.Contains(s.daemon.Config().ListDomains, strings.ToLower(a.Domain))
	if key := strings.ToLower(a.Local); key == "postmaster" || key == "abuse" {
		known = false // every domain has them (RFC 5321 4.5.1, RFC 2142)
	}
	if name, _, ok := strings.Cut(a.Local, "+"); ok && !known {
		_, err := s.daemon.store.Resolve(ctx, address.Address{Local: name, Domain: a.Domain})
		known = err == nil
	}
	if !known {
		s.tx.others++
		return gomilter.RespContinue
	}
	s.daemon.log.Info("milter: recipient refused", "recipient", a.String(), "sender", s.tx.sender, "peer", s.peer, "code", "unknown-address")
	return refuse(550, "5.1.1", fmt.Sprintf("<%s>: no such list address here", a))
}

// refused says that the list does not take this sender's posts, whatever stands in them: in the
// sender's language, if that is known, for it is the sender whose MTA will quote it.
func (s *session) refused(to list.Arrival, a address.Address, code, reason string) gomilter.Response {
	s.daemon.log.Info("milter: recipient refused", "list", to.List.Address, "recipient", a.String(), "sender", s.tx.sender, "peer", s.peer, "code", code)
	return refuse(550, "5.7.1", s.daemon.Config().Texts.Reason(to.List, to.Language(), reason))
}

// failed is what happens to mail when the milter cannot judge it.
func (s *session) failed(err error) gomilter.Response {
	cfg := s.daemon.Config()
	s.daemon.log.Error("milter: cannot judge", "sender", s.tx.sender, "peer", s.peer, "then", cfg.OnFailure, "err", err)
	if cfg.OnFailure == Pass {
		s.tx.others++ // and so the message as a whole passes
		return gomilter.RespContinue
	}
	return refuse(451, "4.3.0", cfg.Hostname+" cannot check this at present, try again later")
}

// Header keeps a header field, if there is a list that wants to know.
func (s *session) Header(name, value string, _ *gomilter.Modifier) (gomilter.Response, error) {
	if s.asks() {
		s.tx.addField(name, value)
	}
	return gomilter.RespContinue, nil
}

// Headers implements gomilter.Milter; Header has had the fields.
func (s *session) Headers(textproto.MIMEHeader, *gomilter.Modifier) (gomilter.Response, error) {
	return gomilter.RespContinue, nil
}

// BodyChunk keeps a piece of the body, likewise.
func (s *session) BodyChunk(chunk []byte, _ *gomilter.Modifier) (gomilter.Response, error) {
	if s.asks() {
		s.tx.addBody(chunk, s.daemon.Config().MaxMessageSize)
	}
	return gomilter.RespContinue, nil
}

// asks tells whether the message could still be refused as a whole: not when somebody
// gets it whatever the lists say, nor when it is for more lists than are asked.
func (s *session) asks() bool {
	return s.tx != nil && len(s.tx.lists) > 0 && len(s.tx.lists) <= maxLists && s.tx.others == 0
}

// Body is the end of the message.
func (s *session) Body(m *gomilter.Modifier) (gomilter.Response, error) {
	defer s.reset()
	if !s.asks() {
		return gomilter.RespContinue, nil
	}
	begun := time.Now()
	response := s.judge(m.Macros["i"])
	s.daemon.meter.Verdict("message", verdictOf(response), time.Since(begun))
	return response, nil
}

// Abort ends the transaction. The library calls it after each message, too.
func (s *session) Abort(*gomilter.Modifier) error {
	s.reset()
	return nil
}

func (s *session) reset() {
	if s.tx != nil {
		s.tx.close()
		s.tx = nil
	}
	if s.conn != nil {
		s.conn.busy.Store(false)
	}
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
