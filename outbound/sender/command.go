package sender

import (
	"time"
)

// command sends one line and reads its reply.
func (c *Conn) command(op, line string, each func([]byte)) (Reply, error) {
	if err := c.write(op, []byte(line+"\r\n"), waitCommand); err != nil {
		return Reply{}, err
	}
	return c.reply(op, waitCommand, false, each)
}

// write sends p and gives it no more than wait.
func (c *Conn) write(op string, p []byte, wait time.Duration) error {
	err := c.nc.SetWriteDeadline(time.Now().Add(c.cfg.limit(wait)))
	if err == nil {
		_, err = c.nc.Write(p)
	}
	if err != nil {
		return c.failed(op, err)
	}
	return nil
}

// reply reads one reply, for no longer than wait.
func (c *Conn) reply(op string, wait time.Duration, keep bool, each func([]byte)) (Reply, error) {
	return c.replyWithin(op, c.cfg.limit(wait), keep, each)
}

func (c *Conn) replyWithin(op string, limit time.Duration, keep bool, each func([]byte)) (Reply, error) {
	c.in.limit, c.in.armed = limit, false
	r, err := readReply(c.br, keep, each)
	if err != nil {
		return Reply{}, c.failed(op, err)
	}
	return r, nil
}

// failed marks the connection as broken and gives the error for it.
func (c *Conn) failed(op string, err error) *Error {
	c.broken = true
	return &Error{Kind: Unavailable, Op: op, MTA: c.cfg.String(), Err: err}
}

// refused is failed for a reply.
func (c *Conn) refused(op string, r Reply) *Error {
	c.broken = true
	return &Error{Kind: Unavailable, Op: op, MTA: c.cfg.String(), Reply: r}
}
