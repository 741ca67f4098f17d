// Package postgres is how mlist reaches a PostgreSQL server. One that is gone, that hangs, that
// was cut off or that takes no writes any more is an error within seconds, whoever waits for it
// and however patiently; the next try goes to the server of the URL that takes writes by then.
package postgres

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"
)

const (
	// Silence is how long a server may say nothing while something is expected of it. No
	// look-up and no change of mlist's takes a server that works so long; a longer wait needs
	// a connection without this bound.
	Silence = 20 * time.Second
	// connectTime bounds the wait for each server that a URL names, from the first packet
	// until it is ready.
	connectTime = 3 * time.Second
	// lost is how long the other machine may leave unacknowledged what was sent to it: then
	// the connection ends, at both ends. That is sooner than look-ups and leases wait, so that
	// they find the next server. Connections that have nothing to say ask after it.
	lost          = 4 * time.Second
	keepAliveIdle = 4 * time.Second
	keepAliveNext = 2 * time.Second
	keepAlives    = 3
)

// readOnly is what a server answers to a write that takes none any more.
const readOnly = "25006"

// Prepare makes of a configuration that was parsed from text, a URL or what else libpq takes,
// one whose connections do as the package says, but for the bound of Within. What text itself
// says comes first.
func Prepare(c *pgx.ConnConfig, text string) error {
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTime
	}
	d := &dialer{many: len(hosts(c)) > 1}
	if err := d.sockets(c.RuntimeParams); err != nil {
		return err
	}
	c.DialFunc = d.dial
	for name, value := range map[string]string{
		"application_name": "mlist",
		// Each statement sees what others have committed, whatever is usual in this database.
		"default_transaction_isolation": "read committed",
		// The server is to notice as well that this machine was cut off, and to take neither
		// connections nor locks for its own then. (Over a unix socket it disregards these.)
		"tcp_user_timeout":        strconv.FormatInt(lost.Milliseconds(), 10),
		"tcp_keepalives_idle":     seconds(keepAliveIdle),
		"tcp_keepalives_interval": seconds(keepAliveNext),
		"tcp_keepalives_count":    strconv.Itoa(keepAlives),
	} {
		if _, given := c.RuntimeParams[name]; !given {
			c.RuntimeParams[name] = value
		}
	}
	if c.ValidateConnect == nil && !strings.Contains(text, "target_session_attrs") {
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	c.ValidateConnect = utf8Only(c.ValidateConnect)
	c.OnPgError = func(_ *pgconn.PgConn, err *pgconn.PgError) bool {
		// The connection ends, so that the next one finds where writes are taken now.
		return !strings.EqualFold(err.Severity, "FATAL") && err.Code != readOnly
	}
	return nil
}

// utf8Only refuses databases that cannot keep every character, or look at none: what a peer or
// a member is called may have any.
func utf8Only(further pgconn.ValidateConnectFunc) pgconn.ValidateConnectFunc {
	return func(ctx context.Context, conn *pgconn.PgConn) error {
		if is := conn.ParameterStatus("server_encoding"); is != "UTF8" {
			return fmt.Errorf("the database is encoded in %s: make one with createdb --encoding UTF8 --template template0", is)
		}
		if further == nil {
			return nil
		}
		return further(ctx, conn)
	}
}

// Lock is the number of an advisory lock as an expression: locks are the database's, and several
// sites may have a schema of it each, which do not wait for each other.
func Lock(number int64) string {
	return fmt.Sprintf(`(%d # hashtextextended(current_schema(), 0))`, number)
}

// Within returns a configuration whose connections break when the server says nothing for so
// long while it is waited for. It is for statements, not for LISTEN.
func Within(c *pgx.ConnConfig, silence time.Duration) *pgx.ConnConfig {
	c = c.Copy()
	dial := c.DialFunc
	c.DialFunc = bounded(dial, silence)
	return c
}

// hosts are the addresses that a configuration names.
func hosts(c *pgx.ConnConfig) map[string]bool {
	out := map[string]bool{net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))): true}
	for _, f := range c.Fallbacks {
		out[net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port)))] = true
	}
	return out
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

// sockets takes from parameters what libpq does with sockets, and the driver does not.
func (d *dialer) sockets(params map[string]string) error {
	user, idle, next, count, on := int(lost.Milliseconds()), int(keepAliveIdle/time.Second), int(keepAliveNext/time.Second), keepAlives, 1
	for name, to := range map[string]*int{"tcp_user_timeout": &user, "keepalives": &on, "keepalives_idle": &idle, "keepalives_interval": &next, "keepalives_count": &count} {
		text, given := params[name]
		if !given {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return fmt.Errorf("%s=%s in the URL: want a number", name, text)
		}
		*to = n
		if name != "tcp_user_timeout" { // the server has one of that name, too
			delete(params, name)
		}
	}
	d.net.KeepAliveConfig = net.KeepAliveConfig{Enable: on > 0, Idle: time.Duration(idle) * time.Second, Interval: time.Duration(next) * time.Second, Count: count}
	if on == 0 {
		d.net.KeepAlive = -1
	}
	d.net.Control = func(network, _ string, raw syscall.RawConn) error {
		if !strings.HasPrefix(network, "tcp") {
			return nil
		}
		var err error
		if cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, user) }); cerr != nil {
			return cerr
		}
		return err
	}
	return nil
}

// WithoutPassword is a URL as it may be printed.
func WithoutPassword(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "postgres://…"
	}
	q := u.Query()
	for _, secret := range []string{"password", "sslpassword"} {
		if q.Has(secret) {
			q.Set(secret, "xxxxx")
		}
	}
	u.RawQuery = q.Encode()
	return u.Redacted()
}
