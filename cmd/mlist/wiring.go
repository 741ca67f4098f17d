package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/socketmap"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/lmtpd"
	"github.com/mlist/mlist/milter"
	"github.com/mlist/mlist/outbound"
	"github.com/mlist/mlist/outbound/sender"
	"github.com/mlist/mlist/pipeline"
)

// settings are what the configuration file says, as each daemon wants it.
type settings struct {
	lmtpd    lmtpd.Config
	milter   milter.Config
	live     socketmap.Config
	host     host.Config
	pipeline pipeline.Config
	outbound outbound.Config
}

// translate reads the files that the configuration names, too, so that what is wrong
// with them shows before anything is changed.
func translate(c *config.Config, log *slog.Logger) (*settings, error) {
	mode, err := c.LMTPD.Mode()
	if err != nil {
		return nil, err
	}
	milterMode, err := c.Milter.Mode()
	if err != nil {
		return nil, err
	}
	liveMode, err := c.Socketmap.Mode()
	if err != nil {
		return nil, err
	}
	mta, err := mtaOf(c)
	if err != nil {
		return nil, err
	}
	keys, err := signKeys(c)
	if err != nil {
		return nil, err
	}
	name := func(daemon string) string {
		return daemon + " on " + c.Hostname
	}
	return &settings{
		lmtpd: lmtpd.Config{
			Listen: c.LMTPD.Listen, SocketMode: mode, Hostname: c.Hostname,
			MaxMessageSize: int64(c.LMTPD.MaxMessageSize), MaxHeaderSize: int64(c.LMTPD.MaxHeaderSize),
			MinFree:        int64(c.Spool.MinFree),
			MaxConnections: c.LMTPD.MaxConnections, MaxRecipients: c.LMTPD.MaxRecipients,
			IdleTimeout: c.LMTPD.IdleTimeout.Std(),
		},
		milter: milter.Config{
			Listen: c.Milter.Listen, SocketMode: milterMode, Hostname: c.Hostname, OnFailure: milter.OnFailure(c.Milter.OnFailure),
			ListDomains: c.Milter.ListDomains, MaxSessions: c.Milter.MaxSessions, MaxMessageSize: int64(c.LMTPD.MaxMessageSize),
			IdleTimeout: c.Milter.IdleTimeout.Std(),
		},
		live: socketmap.Config{Listen: c.Socketmap.Listen, SocketMode: liveMode, MaxConnections: c.Socketmap.MaxConnections},
		host: hostConfig(c, log),
		pipeline: pipeline.Config{
			Name: name("pipeline"), Hostname: c.Hostname, Segments: c.Pipeline.Segments.Set, Auto: c.Pipeline.Segments.Auto, Workers: c.Pipeline.Workers, MaxTries: c.Pipeline.MaxTries,
			RetryMin: c.Pipeline.RetryMin.Std(), RetryMax: c.Pipeline.RetryMax.Std(),
			RecipientsPerChunk: c.Outbound.RecipientsPerTransaction, NoticesPerDay: c.Pipeline.NoticesPerDay,
			StateLimits: store.StateLimits{Keys: int64(c.Pipeline.PluginStateKeys), Bytes: int64(c.Pipeline.PluginStateSize)},
			SignKeys:    keys,
		},
		outbound: outbound.Config{
			MTA: mta, Segments: c.Outbound.Segments.Set, Auto: c.Outbound.Segments.Auto, Name: name("outbound"),
			RecipientsPerTransaction: c.Outbound.RecipientsPerTransaction, Connections: c.Outbound.Connections,
			RetryMin: c.Outbound.RetryMin.Std(), RetryMax: c.Outbound.RetryMax.Std(), MaxAge: c.Outbound.MaxAge.Std(),
			DelayNotice: c.Outbound.DelayNotice.Std(),
		},
	}, nil
}

func hostConfig(c *config.Config, log *slog.Logger) host.Config {
	return host.Config{
		Dir: c.Pipeline.PluginDir, Stages: c.Pipeline.Stages, Plugins: c.Plugin, Hostname: c.Hostname, Version: versionText(),
		Timeout: c.Pipeline.Timeout.Std(), Memory: int64(c.Pipeline.PluginMemory), CheckOwner: c.Pipeline.CheckOwner, Logger: log,
		SHA256: c.Pipeline.PluginSHA256, ConsultTimeout: c.Pipeline.ConsultTimeout.Std(),
	}
}

func mtaOf(c *config.Config) (sender.Config, error) {
	o := c.Outbound
	mta, err := sender.ParseMTA(o.MTA)
	if err != nil {
		return mta, fmt.Errorf("outbound.mta: %w", err)
	}
	mta.Hostname, mta.Username, mta.Timeout = c.Hostname, o.Username, o.Timeout.Std()
	if mta.TLS == "" { // smtps has its own
		mta.TLS = sender.TLS(o.TLS)
	}
	if mta.Password, err = readPassword(o.PasswordFile); err != nil {
		return mta, fmt.Errorf("outbound.password_file: %w", err)
	}
	if o.TLSCAFile == "" && o.TLSServerName == "" {
		return mta, nil
	}
	mta.TLSConfig = &tls.Config{ServerName: o.TLSServerName, MinVersion: tls.VersionTLS12}
	if o.TLSCAFile != "" {
		if mta.TLSConfig.RootCAs, err = readRoots(o.TLSCAFile); err != nil {
			return mta, fmt.Errorf("outbound.tls_ca_file: %w", err)
		}
	}
	return mta, nil
}

func readPassword(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	first, _, _ := bytes.Cut(b, []byte("\n"))
	if first = bytes.TrimRight(first, "\r"); len(first) == 0 {
		return "", fmt.Errorf("%s: no password on its first line", path)
	}
	return string(first), nil
}

func readRoots(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // a machine without certificates of its own
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New(path + ": no certificate in it")
	}
	return roots, nil
}
