package lmtpd

import (
	"context"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStopTellsIdlePeers(t *testing.T) {
	w := start(t, nil, nil)
	p := w.greet(t)
	w.cancel()
	p.want("421 4.3.2", "EOF")
	w.stopAndWait(t)
	if _, err := net.Dial("tcp", "127.0.0.1:1"); err == nil {
		t.Error("something listens on port 1")
	}
}

func TestStopLetsOneWhoHasJustConnectedBegin(t *testing.T) {
	w := start(t, nil, nil)
	p := w.greet(t)
	w.cancel()
	p.send("MAIL FROM:<ann@net.test>\r\n")
	p.want("250")
	p.send("RCPT TO:<dev@l.test>\r\nDATA\r\n" + hello + ".\r\n")
	p.want("250", "354", "250", "421 4.3.2", "EOF")
	w.stopAndWait(t)
}

func TestStopLetsATransactionEnd(t *testing.T) {
	w := start(t, nil, &memory{gate: make(chan struct{})})
	p := w.greet(t)
	p.send("MAIL FROM:<ann@net.test>\r\n")
	p.want("250")
	w.cancel()
	wait(t, "the listener to close", func() bool {
		c, err := net.Dial("tcp", w.Addrs()[0].String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	p.send("RCPT TO:<dev@l.test>\r\nDATA\r\n" + hello + ".\r\n")
	p.want("250", "354")
	close(w.spool.gate)
	p.want("250", "421 4.3.2", "EOF")
	w.stopAndWait(t)
	if n := len(w.spool.all()); n != 1 {
		t.Errorf("%d entries", n)
	}
}

func TestStopCutsWhatOutlivesTheGrace(t *testing.T) {
	w := start(t, func(c *Config) { c.Grace = 50 * time.Millisecond }, &memory{gate: make(chan struct{})})
	stuck := w.greet(t) // in a put that does not end
	stuck.send("MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\nDATA\r\n" + hello + ".\r\n")
	stuck.want("250", "250", "354")
	open := w.greet(t) // in a transaction that does not end
	open.send("MAIL FROM:<ann@net.test>\r\n")
	open.want("250")
	w.stopAndWait(t)
	if n := len(w.spool.all()); n != 0 {
		t.Errorf("%d entries", n)
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lmtp.sock")
	use := func(c *Config) { c.Listen, c.SocketMode = []string{"unix:" + path}, 0o660 }
	w := start(t, use, nil)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	p := w.greet(t)
	p.send("MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\nDATA\r\nx\ny")
	p.want("250", "250", "354", "554 5.6.0", "EOF")
	p = w.greet(t)
	p.send("MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\nDATA\r\n" + hello + ".\r\n")
	p.want("250", "250", "354", "250")
	if got := w.spool.all()[0].env.Peer; got != "mx.test [unix]" {
		t.Errorf("peer %q", got)
	}

	other := New(*w.Config(), w.lists, w.spool, slog.New(slog.DiscardHandler))
	if err := other.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "another program answers") {
		t.Errorf("a second daemon on the socket: %v", err)
	}
	w.stopAndWait(t)
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket stays: %v", err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lmtp.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close() // as a killed daemon leaves it
	w := start(t, func(c *Config) { c.Listen = []string{"unix:" + path} }, nil)
	w.greet(t)
}

func TestBadConfigurations(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, err string
		change    func(*Config)
	}{
		{"nowhere to listen", "lmtpd.listen", func(c *Config) { c.Listen = nil }},
		{"an unknown network", "want unix:PATH or tcp:HOST:PORT", func(c *Config) { c.Listen = []string{"127.0.0.1:24"} }},
		{"no port", "want tcp:HOST:PORT", func(c *Config) { c.Listen = []string{"tcp:localhost"} }},
		{"a relative path", "absolute", func(c *Config) { c.Listen = []string{"unix:lmtp.sock"} }},
		{"a long path", "at most 107", func(c *Config) { c.Listen = []string{"unix:/" + strings.Repeat("x", 107)} }},
		{"the same address twice", "twice", func(c *Config) { c.Listen = []string{"tcp:127.0.0.1:0", "tcp:127.0.0.1:0"} }},
		{"a directory that is missing", "directory " + dir + "/none does not exist", func(c *Config) { c.Listen = []string{"unix:" + dir + "/none/s"} }},
		{"a file in the way", "no socket", func(c *Config) { c.Listen = []string{"unix:" + file} }},
		{"no message size", "max_message_size", func(c *Config) { c.MaxMessageSize = 0 }},
		{"a header size that cannot be parsed", "max_header_size", func(c *Config) { c.MaxHeaderSize = 3 << 20 }},
		{"no connections", "max_connections", func(c *Config) { c.MaxConnections = 0 }},
		{"no recipients", "max_recipients", func(c *Config) { c.MaxRecipients = 0 }},
		{"no idle time", "idle_timeout", func(c *Config) { c.IdleTimeout = 0 }},
		{"a hostname of two lines", "hostname", func(c *Config) { c.Hostname = "a\r\nb" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, nil, nil)
			p := w.greet(t)
			cfg := testConfig()
			tt.change(&cfg)
			if err := New(cfg, w.lists, w.spool, slog.New(slog.DiscardHandler)).Run(context.Background()); err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("Run: %v, want %q", err, tt.err)
			}
			if err := w.Reload(cfg); err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("Reload: %v, want %q", err, tt.err)
			}
			p.send("NOOP\r\n") // all is as it was
			p.want("250")
			w.greet(t)
		})
	}
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.sock"), filepath.Join(dir, "b.sock")
	w := start(t, func(c *Config) { c.Listen = []string{"unix:" + a, "tcp:127.0.0.1:0"} }, nil)
	old, err := os.Stat(a)
	if err != nil {
		t.Fatal(err)
	}
	p := w.greet(t)

	cfg := testConfig()
	cfg.Listen, cfg.MaxMessageSize, cfg.SocketMode = []string{"unix:" + a, "unix:" + b}, 2000, 0o600
	if err := w.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	now, err := os.Stat(a)
	if err != nil || !os.SameFile(old, now) || now.Mode().Perm() != 0o600 {
		t.Errorf("a socket whose address is unchanged: %v, %v", now, err)
	}
	if info, err := os.Stat(b); err != nil || info.Mode().Type() != fs.ModeSocket {
		t.Errorf("the new socket: %v, %v", info, err)
	}
	p.send("MAIL FROM:<ann@net.test> SIZE=1500\r\n") // under the new limit, on the old connection
	p.want("250")

	cfg.Listen = []string{"unix:" + b}
	if err := w.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(a); !os.IsNotExist(err) {
		t.Errorf("the socket that is gone: %v", err)
	}
	p.send("RCPT TO:<dev@l.test>\r\nDATA\r\n" + hello + ".\r\n")
	p.want("250", "354", "250")
	w.greet(t)
	p.Close()
	w.stopAndWait(t)
	if err := w.Reload(cfg); err == nil {
		t.Error("Reload of a daemon that has stopped")
	}
}
