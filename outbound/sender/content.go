package sender

import (
	"errors"
	"fmt"
	"time"
)

// blockSize is how much content is read and sent at once, before dots are added.
const blockSize = 32 << 10

// emptyContent ends the DATA that a server started although it has taken no recipient
// (RFC 2920 3.1). Every result is known by then, so that a failure only costs the
// connection.
func (c *Conn) emptyContent(e *envelope) {
	if e.data.Code != 354 {
		return
	}
	if c.write("content", []byte(".\r\n"), waitBlock) != nil {
		return
	}
	if r, err := c.replyWithin("final dot", c.finalWait(), false, nil); err == nil && r.Code == 421 {
		c.broken = true
	}
}

// content sends the message and the final dot.
func (c *Conn) content(t *Transaction) error {
	if err := c.contentBut(t); err != nil {
		return err
	}
	if err := c.confirm(t); err != nil {
		return err
	}
	return c.write("content", c.dotted, waitBlock)
}

// cutShort is for content that could not be sent. Not all of it has left, so that the
// final dot has not either. A server that has seen enough may have said why before it
// hung up: that is its answer to the message.
func (c *Conn) cutShort(err error) (Reply, error) {
	c.broken = true
	var e *Error
	if errors.As(err, &e) && (e.Kind == Content || e.Kind == Withheld) {
		return Reply{}, err
	}
	r, replyErr := c.replyWithin("content", waitQuit, true, nil)
	switch {
	case replyErr != nil:
		return Reply{}, c.lost("content", errors.Unwrap(err))
	case r.Code == 421:
		return Reply{}, c.refused("content", r)
	case r.transient(), r.permanent():
		c.all(outcome(r), r)
		return r, nil
	}
	return Reply{}, c.lost("content", errors.Unwrap(err))
}

// final reads the reply to the content.
func (c *Conn) final() (Reply, error) {
	r, err := c.replyWithin("final dot", c.finalWait(), true, nil)
	switch {
	case err != nil:
		return r, &Error{Kind: Unknown, Op: "final dot", MTA: c.cfg.String(), Err: errors.Unwrap(err)}
	case r.Code == 421:
		return r, c.refused("final dot", r)
	case r.positive():
	case r.transient(), r.permanent():
		c.all(outcome(r), r)
	default:
		return r, &Error{Kind: Unknown, Op: "final dot", MTA: c.cfg.String(), Err: fmt.Errorf("%w: %s out of place", errReply, r)}
	}
	return r, nil
}

// finalWait is how long the reply to the content may take.
func (c *Conn) finalWait() time.Duration { return min(waitFinal, 2*c.cfg.Timeout) }
