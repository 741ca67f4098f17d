package lmtpd

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/trace"
)

const (
	// putTimeout bounds one put, under what Postfix waits for the reply (600 s).
	putTimeout = 2 * time.Minute
	// drainSize is how much more than the limit of a refused message is read, so that the
	// peer gets its replies and the connection can go on.
	drainSize = 256 << 20
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// LMTPData takes the message in and answers for each recipient, in order. The library
// sends the replies.
func (s *session) LMTPData(r io.Reader, status smtp.StatusCollector) error {
	if _, bdat := r.(*io.PipeReader); bdat {
		return replyNoBDAT
	}
	s.conn.enterData()
	defer s.conn.leaveData()
	replies := s.receive(r)
	for i, rcpt := range s.tx.rcpts {
		status.SetStatus(rcpt.raw, replies[i])
		s.daemon.meter.Reply("DATA", replies[i].Code)
	}
	return nil
}

func (s *session) receive(r io.Reader) []*smtp.SMTPError {
	started := time.Now()
	ctx, cancel := context.WithCancel(s.daemon.work)
	defer cancel()
	draft, err := s.daemon.spool.Create(ctx)
	if err != nil {
		s.daemon.meter.Trouble(err)
		s.daemon.log.Error("cannot start an entry", "peer", s.peer, "err", err)
		return s.refuseAll(s.drain(r, replyStorage(err)))
	}
	defer func() {
		if err := draft.Close(); err != nil {
			s.daemon.log.Error("cannot clean up after a message", "peer", s.peer, "err", err)
		}
	}()
	in := &intake{draft: draft, cfg: s.daemon.Config()}
	if refusal := s.fill(in, r); refusal != nil {
		return s.refuseAll(refusal)
	}
	return s.putAll(ctx, draft, in, started)
}

// fill copies the message into the draft, once. After a refusal the rest is read and
// thrown away.
func (s *session) fill(in *intake, r io.Reader) *smtp.SMTPError {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		n, err := r.Read(*buf)
		if refusal, cause := in.take((*buf)[:n]); refusal != nil {
			if cause != nil {
				s.daemon.meter.Trouble(cause)
			}
			s.logRefusal(refusal, cause, in.size)
			if err == nil {
				return s.drain(r, refusal)
			}
			return refusal
		}
		if errors.Is(err, io.EOF) {
			refusal := in.end()
			if refusal != nil {
				s.logRefusal(refusal, nil, in.size)
			}
			return refusal
		}
		if err != nil {
			s.conn.fail(err)
			s.logRefusal(replyRead(err), err, in.size)
			return replyRead(err)
		}
	}
}

// drain reads the rest of a refused message, within bounds, and returns the refusal.
func (s *session) drain(r io.Reader, refusal *smtp.SMTPError) *smtp.SMTPError {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for left := s.daemon.Config().MaxMessageSize + drainSize; left > 0; {
		n, err := r.Read(*buf)
		if errors.Is(err, io.EOF) {
			return refusal
		}
		if err != nil {
			s.conn.fail(err)
			return refusal
		}
		left -= int64(n)
	}
	s.conn.fail(errFlood)
	return refusal
}

func (s *session) logRefusal(refusal *smtp.SMTPError, cause error, size int64) {
	args := []any{"code", refusal.Code, "reply", refusal.Message, "sender", s.tx.sender, "list", s.tx.rcpts[0].list, "size", size, "peer", s.peer}
	if cause != nil {
		args = append(args, "err", cause)
	}
	s.daemon.log.Warn("message not taken", args...)
}

func (s *session) refuseAll(refusal *smtp.SMTPError) []*smtp.SMTPError {
	out := make([]*smtp.SMTPError, len(s.tx.rcpts))
	for i := range out {
		out[i] = refusal
	}
	return out
}

// putAll puts one entry for each distinct target; its reply is that of all its
// recipients.
func (s *session) putAll(ctx context.Context, draft spool.Draft, in *intake, started time.Time) []*smtp.SMTPError {
	malformed, messageID := in.malformed(), in.messageID()
	received := started.Truncate(time.Microsecond)
	done := map[target]*smtp.SMTPError{}
	out := make([]*smtp.SMTPError, len(s.tx.rcpts))
	for i, rcpt := range s.tx.rcpts {
		if done[rcpt.target] == nil {
			env := rcpt.envelope(s.tx, rcpt.given, s.peer, malformed, received)
			done[rcpt.target] = s.put(ctx, draft, rcpt.queue, env, in.size, messageID, started)
		}
		out[i] = done[rcpt.target]
	}
	return out
}

func (s *session) put(ctx context.Context, draft spool.Draft, q spool.Queue, env spool.Envelope, size int64, messageID string, started time.Time) *smtp.SMTPError {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	id, err := draft.Put(ctx, q, "", env)
	log := s.daemon.log.With("list", env.List, "role", env.Role, "sender", env.Sender, "size", size, "peer", s.peer, "ms", time.Since(started).Milliseconds())
	if err != nil {
		s.daemon.meter.Trouble(err)
		log.Error("message not kept", "queue", q, "err", err)
		return replyStorage(err)
	}
	s.daemon.meter.Trouble(nil)
	s.daemon.meter.Kept(size, time.Since(started))
	log.Info("message kept", "entry", id, "queue", q, "flags", env.Flags)
	s.daemon.tracer.Trace(string(id), env.List, trace.Kept, trace.KeyMessageID, messageID, "queue", string(q), "role", env.Role,
		"sender", env.Sender, "recipient", env.Recipient, "peer", s.peer, "size", size, "flags", env.Flags)
	return replyKept(string(id))
}
