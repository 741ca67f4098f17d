package sender

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
)

// local tells whether the MTA is on this machine, where nobody can listen in.
func (c *Conn) local() bool {
	a, ok := c.raw.RemoteAddr().(*net.TCPAddr)
	return !ok || a.IP.IsLoopback()
}

// verify tells whether the certificate must be that of the MTA.
func (c *Conn) verify() bool {
	return c.cfg.TLS == TLSRequire || c.cfg.TLS == TLSImplicit || (c.cfg.Username != "" && !c.local())
}

func (c *Conn) maybeStartTLS(ctx context.Context) error {
	if c.cfg.TLS == TLSNever || c.cfg.TLS == TLSImplicit {
		return nil
	}
	if !c.ext.startTLS {
		if c.verify() {
			return c.failed(opStartTLS, errors.New("the MTA does not offer it, and it is required"))
		}
		return nil
	}
	r, err := c.command(opStartTLS, "STARTTLS", nil)
	if err != nil {
		return err
	}
	if r.Code != 220 {
		if c.verify() || r.Code == 421 {
			return c.refused(opStartTLS, r)
		}
		return nil
	}
	if c.br.Buffered() > 0 {
		// Somebody between us and the server may have put it there, to be taken for what
		// comes under TLS.
		return c.failed(opStartTLS, errors.New("the MTA sent something after its 220"))
	}
	if err := c.handshake(ctx); err != nil {
		return err
	}
	return c.hello()
}

func (c *Conn) handshake(ctx context.Context) error {
	cfg := &tls.Config{}
	if c.cfg.TLSConfig != nil {
		cfg = c.cfg.TLSConfig.Clone()
	}
	if cfg.MinVersion == 0 {
		cfg.MinVersion = tls.VersionTLS12
	}
	if cfg.ServerName == "" {
		cfg.ServerName = c.cfg.Address
		if host, _, err := net.SplitHostPort(c.cfg.Address); err == nil {
			cfg.ServerName = host
		}
	}
	if !c.verify() {
		cfg.InsecureSkipVerify = true
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.limit(waitCommand))
	defer cancel()
	tc := tls.Client(c.raw, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		return c.failed(opStartTLS, err)
	}
	c.tls = true
	c.use(tc)
	return nil
}
