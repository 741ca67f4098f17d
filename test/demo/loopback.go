package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/emersion/go-smtp"
)

// loopback is a tiny MTA: it takes mail by SMTP, hands what is for lists.test to mlist
// over LMTP, and the rest to the members' servers, before it answers. It has no queue:
// good enough to show mlist where there is no Postfix, and for nothing else.
type loopback struct {
	server *smtp.Server
	addr   string
	done   chan error
}

func startLoopback(lmtp, boxes string) (*loopback, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return &relay{lmtp: lmtp, boxes: boxes}, nil
	}))
	server.Domain = "mx.test"
	server.EnableSMTPUTF8 = true
	lo := &loopback{server: server, addr: l.Addr().String(), done: make(chan error, 1)}
	go func() { lo.done <- server.Serve(l) }()
	return lo, nil
}

func (l *loopback) stop() error {
	err := l.server.Close()
	<-l.done
	return err
}

// relay is one SMTP session.
type relay struct {
	lmtp, boxes string
	from        string
	to          []string
}

func (r *relay) Reset()        { r.from, r.to = "", nil }
func (r *relay) Logout() error { return nil }

func (r *relay) Mail(from string, _ *smtp.MailOptions) error {
	r.from = from
	return nil
}

// Rcpt asks mlist, for an address of its own, whether it exists.
func (r *relay) Rcpt(to string, _ *smtp.RcptOptions) error {
	if isList(to) {
		c, err := r.dial(to)
		if err != nil {
			return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 4, 0}, Message: err.Error()}
		}
		defer c.Close()
		if err := c.Mail("", nil); err != nil {
			return err
		}
		if err := c.Rcpt(to, nil); err != nil {
			return err
		}
	}
	r.to = append(r.to, to)
	return nil
}

func isList(addr string) bool { return strings.HasSuffix(strings.ToLower(addr), "@lists.test") }

func (r *relay) Data(body io.Reader) error {
	text, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	for _, to := range r.to {
		if err := r.hand(to, text); err != nil {
			return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 4, 0}, Message: err.Error()}
		}
	}
	return nil
}

// hand hands a message for one recipient on.
func (r *relay) hand(to string, text []byte) error {
	c, err := r.dial(to)
	if err != nil {
		return fmt.Errorf("connect for %s: %w", to, err)
	}
	defer c.Close()
	if err := c.Mail(r.from, nil); err != nil {
		return err
	}
	if err := c.Rcpt(to, nil); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, bytes.NewReader(text)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

func (r *relay) dial(to string) (*smtp.Client, error) {
	if !isList(to) {
		return smtp.Dial(r.boxes)
	}
	conn, err := net.Dial("unix", r.lmtp)
	if err != nil {
		return nil, err
	}
	return smtp.NewClientLMTP(conn), nil
}
