package milter

import (
	"context"
	"errors"
	"fmt"
	"time"

	gomilter "github.com/emersion/go-milter"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/describe"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/sdk"
)

// maxLists is how many lists one message is judged for; with more, the pipeline says no.
const maxLists = 20

// judge asks the stages of each list that the message is for, maxLists at most. It is refused if all of them
// reject it, with the reason of the first: a reply at the end of a message is to all of
// its recipients.
func (s *session) judge(queueID string) gomilter.Response {
	body, err := s.tx.finish()
	switch {
	case errors.Is(err, errTooBig):
		return gomilter.RespContinue
	case err != nil:
		return s.failed(err)
	}
	var first sdk.Verdict
	for i, t := range s.tx.lists {
		verdict, err := s.ask(t, body)
		switch {
		case err != nil:
			return s.failed(fmt.Errorf("judge a post to %s: %w", t.list.Address, err))
		case verdict.Kind != sdk.KindReject:
			return gomilter.RespContinue
		case i == 0:
			first = verdict
		}
	}
	for _, t := range s.tx.lists {
		s.daemon.log.Info("milter: post refused", "list", t.list.Address, "sender", s.tx.sender, "peer", s.peer, "queue_id", queueID,
			"code", first.Code, "reason", first.Reason)
	}
	t := s.tx.lists[0]
	return refuse(550, "5.7.1", s.daemon.Config().Texts.Reason(t.list, t.language, first.Reason))
}

// ask tells what the stages of one list say.
func (s *session) ask(t target, body spool.Message) (sdk.Verdict, error) {
	entry := spool.Entry{Queue: spool.Incoming, Size: body.Size(), Envelope: spool.Envelope{
		List: t.list.Address.Key(), Role: string(address.RolePost), Sender: s.sender(),
		Recipient: t.recipient, Received: s.daemon.now(), Peer: s.peer,
	}}
	m, err := describe.Split(entry, body)
	if err != nil {
		return sdk.Accept, nil // lmtpd says what is no message
	}
	ctx, cancel := context.WithTimeout(s.daemon.work, lookupTimeout)
	defer cancel()
	post, err := s.daemon.describer.Post(ctx, s.daemon.Config().Texts, t.list, m, 0)
	if err != nil {
		return sdk.Verdict{}, err
	}
	result, err := s.daemon.stages.Consult(s.daemon.work, post)
	return result.Verdict, err
}

// askEnvelope asks the stages of one list what they can say without a message. What they
// cannot say now, because a handler fails, they are asked at its end.
func (s *session) askEnvelope(a list.Arrival, recipient address.Address, received time.Time) sdk.Verdict {
	if s.tx.unasked {
		return sdk.Accept
	}
	post := s.daemon.describer.Envelope(s.daemon.Config().Texts, a, spool.Envelope{
		List: a.List.Address.Key(), Role: string(address.RolePost), Sender: s.sender(), Recipient: recipient.String(), Received: received, Peer: s.peer,
	})
	result, err := s.daemon.stages.ConsultEnvelope(s.daemon.work, post)
	if err != nil {
		s.tx.unasked = true
		s.daemon.log.Warn("milter: handlers cannot judge at RCPT", "list", a.List.Address, "err", err)
		return sdk.Accept
	}
	return result.Verdict
}

// sender is the envelope sender in the form that lmtpd gives it.
func (s *session) sender() string {
	a, err := address.Parse(s.tx.sender)
	if err != nil {
		return ""
	}
	return a.String()
}
