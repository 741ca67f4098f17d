package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/outbound/sender"
)

func TestTheConfigurationReachesTheDaemons(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c := config.Default()
	c.Outbound.MTA, c.Outbound.Username = "smtps://mx.test", "mlist"
	c.Outbound.PasswordFile = write("password", "secret word \r\nand a comment\n")
	c.Outbound.TLSServerName = "other.test"
	c.Outbound.RecipientsPerTransaction = 77
	set, err := translate(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	mta := set.outbound.MTA
	if mta.Address != "mx.test:465" || mta.TLS != sender.TLSImplicit || mta.Password != "secret word " || mta.TLSConfig.ServerName != "other.test" {
		t.Errorf("the MTA is %+v", mta)
	}
	if set.pipeline.RecipientsPerChunk != 77 || set.outbound.RecipientsPerTransaction != 77 {
		t.Error("chunks and transactions differ in size")
	}
	if set.lmtpd.SocketMode != 0o666 || set.lmtpd.IdleTimeout != 5*time.Minute || set.lmtpd.MaxMessageSize != 40<<20 {
		t.Errorf("lmtpd is %+v", set.lmtpd)
	}
	for _, bad := range []struct {
		says   string
		change func(o *config.Outbound)
	}{
		{"no password on its first line", func(o *config.Outbound) { o.PasswordFile = write("empty", "\nx\n") }},
		{"no certificate in it", func(o *config.Outbound) { o.TLSCAFile = write("ca", "no PEM") }},
		{"outbound.tls_ca_file: open", func(o *config.Outbound) { o.TLSCAFile = filepath.Join(dir, "missing") }},
	} {
		next := *c
		bad.change(&next.Outbound)
		if _, err := translate(&next, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("want an error with %q, got %v", bad.says, err)
		}
	}
}

// mlist's own mail is signed with the keys of stage sign, where that runs.
func TestOwnMailIsSignedWithTheKeysOfPosts(t *testing.T) {
	c := config.Default()
	key := func(domain, selector string, standby bool) map[string]any {
		return map[string]any{"domain": domain, "selector": selector, "key_file": "/etc/mlist/" + selector, "standby": standby}
	}
	c.Plugin = map[string]map[string]any{"sign": {"keys": []map[string]any{key("Example.org", "a", false), key("lists.example.org", "b", false), key("lists.example.org", "c", true)}}}
	for domain, want := range map[string]string{"lists.example.org": "b", "other.example.org": "a", "example.net": ""} {
		set, err := translate(c, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, k := range set.pipeline.SignKeys(domain) {
			got += k.Selector
			if k.File != "/etc/mlist/"+k.Selector {
				t.Errorf("%+v", k)
			}
		}
		if got != want {
			t.Errorf("%s is signed with %q, want %q", domain, got, want)
		}
	}
	c.Pipeline.Stages = slices.DeleteFunc(slices.Clone(c.Pipeline.Stages), func(s string) bool { return s == "sign" })
	if set, err := translate(c, slog.New(slog.DiscardHandler)); err != nil || set.pipeline.SignKeys != nil {
		t.Errorf("without stage sign: %v", err)
	}
}
