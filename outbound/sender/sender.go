// Package sender is a pipelined SMTP client (RFC 5321, RFC 2920) for handing mail
// to one MTA: many recipients a transaction, many transactions a connection.
//
// [Dial] gives a connection that is ready for [Conn.Send]. Send tells for each
// recipient what became of it. It promises that a recipient is never reported as
// accepted unless the MTA's reply to the final dot said so, and that a connection
// whose state is in doubt is never used again.
//
// A transaction costs two round trips however many recipients it has, and the
// client allocates nothing for a recipient that is accepted. With CHUNKING (RFC 3030) it
// would be one; that is not used. Between DATA and the content the client learns whether
// anybody is to get it, without which a large message for nobody would be sent all the same,
// and transactions of one recipient cost one round trip already: their content goes out
// together with the next envelope. No MTA takes thousands of recipients so fast that the
// other round trip would count.
package sender

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// TLS says how a connection is to be encrypted.
type TLS string

// Ways of encrypting.
const (
	// TLSNever never starts TLS.
	TLSNever TLS = "never"
	// TLSOpportunistic uses STARTTLS where it is offered, with any certificate
	// (RFC 7435), and goes on in the clear where it fails. With credentials it does not
	// go on, and for an MTA on another machine it is TLSRequire: a password is worth a
	// check.
	TLSOpportunistic TLS = "opportunistic"
	// TLSRequire demands STARTTLS and a certificate that verifies.
	TLSRequire TLS = "require"
	// TLSImplicit starts with TLS (smtps, RFC 8314 3.3), with a certificate that verifies.
	TLSImplicit TLS = "implicit"
)

// Config is how to reach the MTA. The zero value of a field that is not the address
// is usable.
type Config struct {
	Network   string      // "tcp" or "unix"
	Address   string      // host:port or the path of a socket
	Hostname  string      // what to say in EHLO; "localhost" when empty
	TLS       TLS         // TLSOpportunistic when empty
	TLSConfig *tls.Config // trust and server name; the system's roots and Address's host when nil
	Username  string      // for AUTH; none when empty
	Password  string
	// Timeout is how long one reply may take, at most what RFC 5321 4.5.3.2 asks to
	// wait for it. The reply to the final dot gets twice as long, because giving up on
	// it means to send everything again. 5 minutes when 0.
	Timeout time.Duration
}

// ParseMTA reads the form in which an MTA stands in the configuration: smtp://HOST:PORT,
// smtps://HOST:PORT or unix:PATH. Ports are 25 and 465 when left out. It returns a
// Config with Network, Address and, for smtps, TLS.
func ParseMTA(s string) (Config, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			return Config{}, fmt.Errorf("mta %q: the path of a unix socket must be absolute", s)
		}
		return Config{Network: "unix", Address: path}, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return Config{}, fmt.Errorf("mta %q: %w", s, errors.Unwrap(err))
	}
	c := Config{Network: "tcp"}
	port := "25"
	switch u.Scheme {
	case "smtp":
	case "smtps":
		c.TLS, port = TLSImplicit, "465"
	default:
		return Config{}, fmt.Errorf("mta %q: want smtp://HOST:PORT, smtps://HOST:PORT or unix:PATH", s)
	}
	if u.User != nil {
		return Config{}, fmt.Errorf("mta %s: credentials belong in username and password_file", u.Redacted())
	}
	if u.Hostname() == "" || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" {
		return Config{}, fmt.Errorf("mta %q: want %s://HOST:PORT and nothing else", s, u.Scheme)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	c.Address = net.JoinHostPort(u.Hostname(), port)
	return c, nil
}

// String names the MTA in logs.
func (c Config) String() string {
	if c.Network == "unix" {
		return "unix:" + c.Address
	}
	if c.TLS == TLSImplicit {
		return "smtps://" + c.Address
	}
	return "smtp://" + c.Address
}

func (c Config) withDefaults() Config {
	if c.Hostname == "" {
		c.Hostname = "localhost"
	}
	if c.TLS == "" {
		c.TLS = TLSOpportunistic
	}
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Minute
	}
	return c
}

// limit is the time to wait for a step for which RFC 5321 4.5.3.2 names rfc.
func (c Config) limit(rfc time.Duration) time.Duration { return min(rfc, c.Timeout) }

// The waits of RFC 5321 4.5.3.2.
const (
	waitConnect  = 30 * time.Second // not of the RFC: a kernel takes minutes to give up
	waitGreeting = 5 * time.Minute
	waitCommand  = 5 * time.Minute // MAIL, RCPT and everything before them
	waitData     = 2 * time.Minute // the 354
	waitBlock    = 3 * time.Minute // one write of content
	waitFinal    = 10 * time.Minute
	waitQuit     = 2 * time.Second // not of the RFC: nothing depends on the 221
)
