package sender

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// Send makes one transaction. The result has an entry for each recipient.
//
// An error is always an *Error, and leaves the connection unusable: close it. Even then
// the result is good for recipients that are Deferred or Refused, because the MTA had
// already said so; all others are Unsent. When ctx ends, the connection is cut.
func (c *Conn) Send(ctx context.Context, t *Transaction) (Result, error) {
	if c.broken {
		return Result{}, c.failed("MAIL", errors.New("the connection is no longer usable"))
	}
	if !c.prepare(t) {
		return c.result(Reply{}), nil
	}
	stop := context.AfterFunc(ctx, c.abort)
	final, err := c.transact(t)
	if !stop() || c.br.Buffered() > 0 {
		c.broken = true
	}
	if err != nil {
		c.broken = true
		c.undo()
		return c.result(Reply{}), err
	}
	return c.result(final), nil
}

// transact sends what prepare has prepared.
func (c *Conn) transact(t *Transaction) (Reply, error) {
	var e envelope
	var err error
	if c.ext.pipelining {
		err = c.pipelined(&e)
	} else {
		err = c.inTurn(&e)
	}
	if err != nil {
		return Reply{}, err
	}
	c.reset = e.data.Code != 354
	if c.br.Buffered() > 0 {
		// A reply too many: the next one would be taken for that to the content.
		return Reply{}, c.lost("DATA", fmt.Errorf("%w: more replies than commands", errReply))
	}
	switch {
	case e.accepted == 0:
		c.emptyContent(&e)
		return Reply{}, nil
	case e.data.Code != 354:
		c.all(outcome(e.data), e.data)
		return Reply{}, nil
	}
	if err := c.content(t); err != nil {
		return c.cutShort(err)
	}
	return c.final()
}

// envelope is what the server said up to DATA.
type envelope struct {
	mail     Reply
	accepted int
	full     bool  // a RCPT was answered with "too many"
	data     Reply // zero when it was not sent
}

// pipelined sends all commands at once (RFC 2920) and reads the replies meanwhile: a
// server that waits for us to read before it reads on would otherwise make both wait
// for ever.
func (c *Conn) pipelined(e *envelope) error {
	written := make(chan error, 1)
	go func() {
		// No deadline: every reply has one, and when it passes the connection is closed.
		_, err := c.nc.Write(c.batch)
		written <- err
	}()
	err := c.envelopeReplies(e)
	if err != nil {
		c.broken = true
		c.abort()
		<-written
		return err
	}
	if err := <-written; err != nil {
		// All replies came, so the server made them up.
		return c.lost("DATA", err)
	}
	return nil
}

func (c *Conn) envelopeReplies(e *envelope) error {
	if c.reset {
		if _, err := c.ask("RSET"); err != nil {
			return err
		}
	}
	var err error
	if e.mail, err = c.ask("MAIL"); err != nil {
		return err
	}
	if e.mail.positive() {
		if err := c.recipientReplies(e); err != nil {
			return err
		}
	} else {
		c.all(outcome(e.mail), e.mail)
		for range c.sent {
			if _, err := c.ask("RCPT"); err != nil {
				return err
			}
		}
	}
	e.data, err = c.reply("DATA", waitData, false, nil)
	return c.judge("DATA", e.data, err, true)
}

// recipientReplies reads the replies to RCPT.
func (c *Conn) recipientReplies(e *envelope) error {
	for left := c.sent; len(left) > 0; {
		n := acceptances(c.br, len(left))
		for _, i := range left[:n] {
			c.results[i].Outcome = Accepted
		}
		e.accepted += n
		if left = left[n:]; n > 0 {
			continue
		}
		r, err := c.ask("RCPT")
		if err != nil {
			return err
		}
		c.rcpt(e, left[0], r)
		left = left[1:]
	}
	return nil
}

// inTurn is for servers without PIPELINING: one command, one reply.
func (c *Conn) inTurn(e *envelope) error {
	rest := c.batch
	step := func(op string) (Reply, error) {
		i := bytes.IndexByte(rest, '\n') + 1
		line := rest[:i]
		rest = rest[i:]
		if err := c.write(op, line, waitCommand); err != nil {
			return Reply{}, c.lost(op, errors.Unwrap(err))
		}
		if op == "DATA" {
			r, err := c.reply(op, waitData, false, nil)
			return r, c.judge(op, r, err, true)
		}
		return c.ask(op)
	}
	if c.reset {
		if _, err := step("RSET"); err != nil {
			return err
		}
	}
	var err error
	if e.mail, err = step("MAIL"); err != nil {
		return err
	}
	if !e.mail.positive() {
		c.all(outcome(e.mail), e.mail)
		return nil
	}
	for _, i := range c.sent {
		if e.full {
			c.results[i] = Recipient{Outcome: Carried}
			continue
		}
		r, err := step("RCPT")
		if err != nil {
			return err
		}
		c.rcpt(e, i, r)
	}
	if e.accepted == 0 {
		return nil
	}
	rest = []byte("DATA\r\n")
	e.data, err = step("DATA")
	return err
}

// rcpt notes the reply to the i-th recipient.
func (c *Conn) rcpt(e *envelope, i int, r Reply) {
	switch {
	case r.positive():
		e.accepted++
		c.results[i].Outcome = Accepted
	case e.accepted > 0 && tooMany(r):
		e.full = true
		c.results[i] = Recipient{Outcome: Carried, Reply: r}
	default:
		c.results[i] = Recipient{Outcome: outcome(r), Reply: r}
	}
}

// tooMany tells whether r says that the transaction takes no more recipients: 452, or
// 552 from old servers (RFC 5321 4.5.3.1.10). A subject other than 3 (mail system) or
// 5 (protocol) speaks of something else, such as a full mailbox (4.2.2), and so does
// 5.3.4 (message too big).
func tooMany(r Reply) bool {
	if r.Code != 452 && r.Code != 552 {
		return false
	}
	e := r.Enhanced
	return e == (Enhanced{}) || (e[1] == 5 && (e[2] == 3 || e[2] == 0)) || (r.Code == 452 && e[1] == 3)
}

// ask reads a reply to a command of the envelope.
func (c *Conn) ask(op string) (Reply, error) {
	r, err := c.reply(op, waitCommand, false, nil)
	return r, c.judge(op, r, err, false)
}

// judge turns a reply that ends the transaction into an error.
func (c *Conn) judge(op string, r Reply, err error, data bool) error {
	if err != nil {
		return c.lost(op, errors.Unwrap(err))
	}
	switch {
	case r.Code == 421:
		return c.refused(op, r)
	case op == "MAIL" && distrust(r.Code), op == "RSET" && !r.positive():
		return c.refused(op, r)
	case r.transient(), r.permanent():
		return nil
	case r.positive() && !data, r.Code == 354 && data:
		return nil
	}
	return c.lost(op, fmt.Errorf("%w: %s out of place", errReply, r))
}

// distrust has the replies to MAIL that are about us and the MTA, not about the
// message: commands out of order or unknown, and 530, 534, 535, 538 for a login or TLS
// that is missing (RFC 4954 6, RFC 3207 4). Bouncing mail for them would punish members
// for a wrong configuration.
func distrust(code int) bool {
	switch code {
	case 500, 502, 503, 530, 534, 535, 538:
		return true
	}
	return false
}

func outcome(r Reply) Outcome {
	if r.permanent() {
		return Refused
	}
	return Deferred
}

// lost is failed for a transaction.
func (c *Conn) lost(op string, err error) *Error {
	e := c.failed(op, err)
	e.Kind = Lost
	return e
}
