package sender

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"pgregory.net/rapid"

	"github.com/mlist/mlist/outbound/internal/fakemta"
)

// certificate makes one for name, and the roots that trust it.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// backend is a real SMTP server's mailbox: go-smtp's.
type backend struct {
	mechs []string
	mu    sync.Mutex
	users []string
	got   [][]byte
	to    []string
}

type session struct {
	b  *backend
	to []string
}

func (b *backend) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{b: b}, nil }

func (s *session) AuthMechanisms() []string { return s.b.mechs }

func (s *session) Auth(mech string) (sasl.Server, error) {
	check := func(user, password string) error {
		s.b.mu.Lock()
		s.b.users = append(s.b.users, mech+" "+user)
		s.b.mu.Unlock()
		if password != "geheim" {
			return errors.New("wrong")
		}
		return nil
	}
	if mech == sasl.Login {
		return &loginServer{check: check}, nil
	}
	return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
}

type loginServer struct {
	check func(user, password string) error
	said  []string
}

func (l *loginServer) Next(response []byte) ([]byte, bool, error) {
	if response != nil {
		l.said = append(l.said, string(response))
	}
	switch len(l.said) {
	case 0:
		return []byte("Who are you?"), false, nil // as some servers do
	case 1:
		return []byte("Prove it"), false, nil
	}
	return nil, true, l.check(l.said[0], l.said[1])
}

func (s *session) Reset()                               { s.to = nil }
func (s *session) Logout() error                        { return nil }
func (s *session) Mail(string, *smtp.MailOptions) error { return nil }
func (s *session) Rcpt(a string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, a)
	return nil
}

func (s *session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.b.mu.Lock()
	s.b.got, s.b.to = append(s.b.got, b), append(s.b.to, s.to...)
	s.b.mu.Unlock()
	return nil
}

type serverOptions struct {
	cert     *tls.Certificate
	implicit bool
	insecure bool // AUTH without TLS
	unix     bool
	mechs    []string
}

func serve(t *testing.T, o serverOptions) (*backend, Config) {
	t.Helper()
	network, addr := "tcp", "127.0.0.1:0"
	if o.unix {
		network, addr = "unix", filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(ln.Addr().String())
	cfg.Network = network
	b := &backend{mechs: o.mechs}
	srv := smtp.NewServer(b)
	srv.Domain, srv.AllowInsecureAuth, srv.EnableSMTPUTF8 = "mx.test", o.insecure, true
	srv.MaxLineLength = 1 << 20 // of content, too
	srv.ErrorLog = quiet{}
	if o.cert != nil {
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*o.cert}}
		if o.implicit {
			ln = tls.NewListener(ln, srv.TLSConfig)
		}
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		srv.Close()
		_ = srv.Shutdown(ctx)
		<-done
	})
	return b, cfg
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

func TestTLSAndAuth(t *testing.T) {
	cert, pool := certificate(t, "mx.test")
	trust := &tls.Config{RootCAs: pool, ServerName: "mx.test"}
	wrongName := &tls.Config{RootCAs: pool, ServerName: "other.test"}
	plain := []string{"PLAIN"}
	tests := []struct {
		name   string
		server serverOptions
		client Config
		user   string // whom the server saw, with the mechanism
		tls    bool
		err    string
	}{
		{"opportunistic without STARTTLS", serverOptions{}, Config{}, "", false, ""},
		{"opportunistic with a certificate nobody knows", serverOptions{cert: &cert}, Config{}, "", true, ""},
		{"never", serverOptions{cert: &cert}, Config{TLS: TLSNever}, "", false, ""},
		{"require with trust", serverOptions{cert: &cert}, Config{TLS: TLSRequire, TLSConfig: trust}, "", true, ""},
		{"require without trust", serverOptions{cert: &cert}, Config{TLS: TLSRequire}, "", false, "certificate"},
		{"require with another name", serverOptions{cert: &cert}, Config{TLS: TLSRequire, TLSConfig: wrongName}, "", false, "other.test"},
		{"require without STARTTLS", serverOptions{}, Config{TLS: TLSRequire}, "", false, "does not offer"},
		{"implicit", serverOptions{cert: &cert, implicit: true}, Config{TLS: TLSImplicit, TLSConfig: trust}, "", true, ""},
		{"implicit without trust", serverOptions{cert: &cert, implicit: true}, Config{TLS: TLSImplicit}, "", false, "certificate"},
		{"PLAIN under TLS", serverOptions{cert: &cert, mechs: plain}, Config{TLS: TLSRequire, TLSConfig: trust, Username: "u", Password: "geheim"}, "PLAIN u", true, ""},
		{"LOGIN where there is no PLAIN", serverOptions{cert: &cert, mechs: []string{"LOGIN"}}, Config{Username: "u", Password: "geheim"}, "LOGIN u", true, ""},
		{"a wrong password", serverOptions{cert: &cert, mechs: plain}, Config{Username: "u", Password: "falsch"}, "PLAIN u", true, "AUTH"},
		{"PLAIN to the same machine in the clear", serverOptions{insecure: true, mechs: plain}, Config{Username: "u", Password: "geheim"}, "PLAIN u", false, ""},
		{"PLAIN over a unix socket", serverOptions{insecure: true, unix: true, mechs: plain}, Config{Username: "u", Password: "geheim"}, "PLAIN u", false, ""},
		{"no AUTH offered", serverOptions{mechs: plain}, Config{Username: "u", Password: "geheim"}, "", false, "want PLAIN or LOGIN"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, cfg := serve(t, tt.server)
			tt.client.Network, tt.client.Address, tt.client.Timeout = cfg.Network, cfg.Address, cfg.Timeout
			c, err := Dial(t.Context(), tt.client)
			if got := strings.Join(b.users, ","); got != tt.user {
				t.Errorf("the server saw %q, want %q", got, tt.user)
			}
			if tt.err != "" {
				var e *Error
				if !errors.As(err, &e) || e.Kind != Unavailable || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q", err, tt.err)
				}
				if strings.Contains(err.Error(), "falsch") {
					t.Errorf("the password is in the error: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.Encrypted() != tt.tls {
				t.Errorf("encrypted: %v", c.Encrypted())
			}
			for range 2 {
				if res, err := c.Send(t.Context(), message("a@m.test", "b@m.test")); err != nil || outcomes(res) != "AA" {
					t.Errorf("%s, %v", outcomes(res), err)
				}
			}
		})
	}
}

func TestDial(t *testing.T) {
	tests := []struct {
		name   string
		script fakemta.Script
		tls    TLS
		err    string
		hello  string // the last command
	}{
		{"the banner says 554", fakemta.Script{Greeting: "554 5.7.1 not you"}, "", "greeting at smtp://", ""},
		{"the banner says 421", fakemta.Script{Greeting: "421 4.3.2 busy"}, "", "421 4.3.2 busy", ""},
		{"the banner is garbage", fakemta.Script{Greeting: "SSH-2.0-x"}, "", "not an SMTP reply", ""},
		{"no banner", fakemta.Script{Greeting: fakemta.Hang}, "", "timeout", ""},
		{"a drop instead of a banner", fakemta.Script{Greeting: fakemta.Drop}, "", "EOF", ""},
		{"EHLO is unknown", fakemta.Script{EHLO: "502 5.5.1 what"}, "", "", "HELO lists.test"},
		{"EHLO and HELO are refused", fakemta.Script{EHLO: "550 no", HELO: "550 no"}, "", "550 no", "HELO lists.test"},
		{"EHLO gets 554", fakemta.Script{EHLO: "554 no"}, "", "EHLO", "EHLO lists.test"},
		{"EHLO gets 4xx", fakemta.Script{EHLO: "450 later"}, "", "EHLO", "EHLO lists.test"},
		{"STARTTLS gets 454", fakemta.Script{Extensions: []string{"STARTTLS"}}, "", "", "STARTTLS"},
		{"STARTTLS gets 454 and is required", fakemta.Script{Extensions: []string{"STARTTLS"}}, TLSRequire, "454 4.7.0", "STARTTLS"},
		{"STARTTLS is broken", fakemta.Script{Extensions: []string{"STARTTLS"}, StartTLS: "220 go\r\nnot TLS at all"}, "", "", "EHLO lists.test"},
		{"STARTTLS is broken and is required", fakemta.Script{Extensions: []string{"STARTTLS"}, StartTLS: "220 go\r\n250 injected"}, TLSRequire, "after its 220", "STARTTLS"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := fakemta.Start(t, "", tt.script)
			cfg := config(s.Addr)
			cfg.Timeout, cfg.TLS = 300*time.Millisecond, tt.tls
			c, err := Dial(t.Context(), cfg)
			if tt.err != "" {
				var e *Error
				if !errors.As(err, &e) || e.Kind != Unavailable || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q", err, tt.err)
				}
			} else {
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
			}
			last := ""
			if l := s.Lines(); len(l) > 0 {
				last = l[len(l)-1]
			}
			if last != tt.hello {
				t.Errorf("last command %q, want %q", last, tt.hello)
			}
			if err == nil {
				if res, err := c.Send(t.Context(), message("a@m.test")); err != nil || outcomes(res) != "A" {
					t.Errorf("%s, %v", outcomes(res), err)
				}
			}
		})
	}
}

func TestDialRefusesAHostnameThatIsNone(t *testing.T) {
	cfg := config(fakemta.Start(t, "", fakemta.Script{}).Addr)
	cfg.Hostname = "a\r\nMAIL"
	if _, err := Dial(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "hostname") {
		t.Errorf("error %v", err)
	}
}

// What a real server reads is what the naive model says, whatever the content.
func TestContentArrivesAtARealServer(t *testing.T) {
	b, cfg := serve(t, serverOptions{})
	c := dialed(t, cfg)
	rapid.Check(t, func(rt *rapid.T) {
		s := rapid.StringOf(rapid.RuneFrom([]rune("\r\n. xé"))).Draw(rt, "content")
		s = strings.Repeat(s, rapid.SampledFrom([]int{1, 1, 1, 5000}).Draw(rt, "times"))
		tr := &Transaction{From: "", Recipients: []string{"a@m.test"}, Content: strings.NewReader(s), Size: int64(len(s))}
		res, err := c.Send(t.Context(), tr)
		if err != nil || res.Accepted != 1 {
			rt.Fatalf("%s, %v", outcomes(res), err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		got := string(b.got[len(b.got)-1])
		b.got = nil
		want := strings.TrimSuffix(naiveDots(s), ".\r\n")
		want = strings.ReplaceAll("\r\n"+want, "\r\n.", "\r\n")[2:]
		if got != want {
			rt.Fatalf("content %.200q arrived as %.200q", want, got)
		}
	})
}

// Fourteen ways to end a message too early: each must arrive as one message.
func TestNoSmuggling(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{})
	c := dialed(t, config(s.Addr))
	ends := []string{"\r\n.\r\n", "\n.\n", "\n.\r\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\r\n.\n", "\r\r\n.\r\r\n", "\r\n\x00.\r\n", "\n\n.\n\n",
		"\r\n.\r\r\n", "\r\n..\r\n", "\r\n. \r\n", "\r\r.\r\r"}
	for i, end := range ends {
		content := []byte("a: b\r\n\r\nx" + end + "MAIL FROM:<evil@x.test>\r\nRCPT TO:<evil@m.test>\r\nDATA\r\nevil\r\n.\r\n")
		res, err := c.Send(t.Context(), &Transaction{Recipients: []string{"a@m.test"}, Content: bytes.NewReader(content), Size: int64(len(content))})
		if err != nil || outcomes(res) != "A" {
			t.Fatalf("%q: %s, %v", end, outcomes(res), err)
		}
		m := s.Messages()
		if len(m) != i+1 || strings.Contains(m[i].Content, "[BARE]") || !strings.Contains(m[i].Content, "MAIL FROM:<evil") {
			t.Errorf("%q: %d messages, the last %q", end, len(m), m[len(m)-1].Content)
		}
	}
}
