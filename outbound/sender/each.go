package sender

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Each are transactions of one recipient each, as SendEach wants them.
type Each interface {
	// Next returns the next transaction, which has exactly one recipient, or nil when there
	// is none. It is asked for while the one before it is still under way.
	Next() *Transaction
	// Done is told what became of a transaction, in their order, before any more content is
	// sent. An error of it ends SendEach.
	Done(r Recipient) error
}

// SendEach makes one transaction after another. With PIPELINING the end of each goes out
// together with the commands of the next, so that it costs one round trip; only the
// recipient of one is in doubt when everything stops, however many there are.
//
// It returns nil when there are no more. An error is an *Error, and leaves the connection
// unusable, or it is that of Done. Transactions that Next gave and Done was not told of have
// not been taken. One whose content was not answered is told of as Unsent, and the error's
// kind is Unknown.
func (c *Conn) SendEach(ctx context.Context, all Each) error {
	if c.broken {
		return c.failed("MAIL", errors.New("the connection is no longer usable"))
	}
	stop := context.AfterFunc(ctx, c.abort)
	var err error
	if c.ext.pipelining {
		err = c.eachPipelined(all)
	} else {
		err = c.eachInTurn(ctx, all)
	}
	if !stop() || c.br.Buffered() > 0 {
		c.broken = true
	}
	if err != nil {
		c.broken = true
	}
	return err
}

// eachInTurn is for servers without PIPELINING.
func (c *Conn) eachInTurn(ctx context.Context, all Each) error {
	for t := all.Next(); t != nil; t = all.Next() {
		res, err := c.Send(ctx, t)
		var e *Error
		if err == nil || errors.As(err, &e) && e.Kind == Unknown || len(res.Recipients) == 1 && res.Recipients[0].Outcome != Unsent {
			if derr := all.Done(res.Recipients[0]); derr != nil {
				return derr
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// eachPipelined sends the end of a transaction together with the envelope of the next.
func (c *Conn) eachPipelined(all Each) error {
	t, err := c.firstOf(all)
	for t != nil && err == nil {
		var e envelope
		if err := c.envelopeReplies(&e); err != nil {
			return err
		}
		c.reset = e.data.Code != 354
		switch {
		case c.br.Buffered() > 0:
			return c.lost("DATA", fmt.Errorf("%w: more replies than commands", errReply))
		case e.accepted == 0 || c.reset:
			t, err = c.refusedOne(all, &e)
		default:
			t, err = c.acceptedOne(all, t)
		}
	}
	return err
}

// nextEnvelope puts the envelope of the next transaction that can be sent behind what is in
// dotted. skipped are those before it that cannot.
func (c *Conn) nextEnvelope(all Each) (t *Transaction, skipped []Recipient) {
	for t = all.Next(); t != nil; t = all.Next() {
		if c.prepare(t) {
			c.dotted = append(c.dotted, c.batch...)
			return t, skipped
		}
		skipped = append(skipped, c.results[0])
	}
	return nil, skipped
}

// firstOf sends the envelope of the next transaction, with none under way.
func (c *Conn) firstOf(all Each) (*Transaction, error) {
	c.dotted = c.dotted[:0]
	t, skipped := c.nextEnvelope(all)
	if err := tell(all, skipped); err != nil || t == nil {
		return nil, err
	}
	if err := c.write("MAIL", c.dotted, waitCommand); err != nil {
		return nil, c.lost("MAIL", errors.Unwrap(err))
	}
	return t, nil
}

func tell(all Each, results []Recipient) error {
	for _, r := range results {
		if err := all.Done(r); err != nil {
			return err
		}
	}
	return nil
}

// refusedOne deals with a transaction that came to nothing, and sends the next.
func (c *Conn) refusedOne(all Each, e *envelope) (*Transaction, error) {
	if e.accepted == 0 {
		c.emptyContent(e)
	} else {
		c.all(outcome(e.data), e.data)
	}
	if err := all.Done(c.results[0]); err != nil {
		return nil, err
	}
	if c.broken {
		return nil, c.lost("MAIL", errHungUp)
	}
	return c.firstOf(all)
}

// acceptedOne sends the content and with its end the next envelope, and reads the reply to
// the content.
func (c *Conn) acceptedOne(all Each, t *Transaction) (*Transaction, error) {
	if err := c.contentBut(t); err != nil {
		if _, err = c.cutShort(err); err != nil {
			return nil, err
		}
		// The server gave its answer, and hung up.
		if err := all.Done(c.results[0]); err != nil {
			return nil, err
		}
		return nil, c.lost("MAIL", errHungUp)
	}
	result := c.results[0]
	next, skipped := c.nextEnvelope(all)
	c.results[0] = result
	if err := c.confirm(t); err != nil {
		return nil, err
	}
	if err := c.write("content", c.dotted, waitBlock); err != nil {
		// Some of it has left: the dot may be among it.
		return nil, c.inDoubt(all, &Error{Kind: Unknown, Op: "content", MTA: c.cfg.String(), Err: errors.Unwrap(err)})
	}
	if _, err := c.final(); err != nil {
		return nil, c.inDoubt(all, err)
	}
	if err := all.Done(c.results[0]); err != nil {
		return nil, err
	}
	c.results[0] = Recipient{}
	return next, tell(all, skipped)
}

// errHungUp is for a server that has ended a connection by its answer.
var errHungUp = errors.New("the connection has ended")

// inDoubt tells of a transaction that the server may have taken, if the error is of that kind.
func (c *Conn) inDoubt(all Each, err error) error {
	var e *Error
	if errors.As(err, &e) && e.Kind == Unknown {
		if derr := all.Done(Recipient{}); derr != nil {
			return derr
		}
	}
	return err
}

// contentBut sends the content, except for its last block with the final dot, which it
// leaves in dotted.
func (c *Conn) contentBut(t *Transaction) error {
	if c.block == nil {
		c.block = make([]byte, blockSize)
		c.dotted = make([]byte, 0, 2*blockSize+16)
	}
	var d dotter
	for pos := int64(0); ; {
		n := max(0, min(int64(len(c.block)), t.Size-pos))
		if n > 0 {
			got, err := t.Content.ReadAt(c.block[:n], pos)
			if int64(got) < n {
				if err == nil || errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				// Not even a dot: the server must not take half a message for a whole.
				return &Error{Kind: Content, Op: "content", MTA: c.cfg.String(), Err: err}
			}
		}
		pos += n
		c.dotted = d.append(c.dotted[:0], c.block[:n])
		if pos >= t.Size {
			c.dotted = d.finish(c.dotted)
			return nil
		}
		if err := c.write("content", c.dotted, waitBlock); err != nil {
			return err
		}
	}
}
