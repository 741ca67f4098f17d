package lmtpd

import (
	"fmt"
	"net"
	"time"

	"github.com/mlist/mlist/internal/listen"
)

// listener hands out connections that keep mlist's limits, and refuses those over
// the limit itself.
type listener struct {
	*listen.Listener
	daemon *Daemon
}

// Accept returns the next connection within the limit.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if out, ok := l.daemon.admit(c); ok {
			return out, nil
		}
		l.daemon.meter.Reply("CONNECT", 421)
		refuse(c, l.daemon.Config().Hostname)
	}
}

// refuse must not hold up Accept: what it writes fits any socket buffer.
func refuse(c net.Conn, hostname string) {
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	fmt.Fprintf(c, "421 4.3.2 %s too many connections, try again later\r\n", hostname)
	c.Close()
}

func (d *Daemon) admit(raw net.Conn) (*conn, bool) {
	c := newConn(d, raw)
	if limit := d.Config().MaxConnections; !d.conns.Admit(c, limit) {
		d.log.Warn("lmtp connection refused: too many", "peer", c.peer, "limit", limit)
		return nil, false
	}
	return c, true
}
