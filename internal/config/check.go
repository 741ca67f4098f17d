package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
)

const (
	// maxSocketPath is what fits into the kernel's sockaddr_un with its final NUL.
	maxSocketPath = 107
	// maxHeader is half of what the parser of header blocks takes: the list's own fields
	// come on top.
	maxHeader = 2 << 20
	// maxMetricsPort leaves four for single daemons.
	maxMetricsPort = 65535 - 4
)

// checkSiteName wants a local part that no role address of a list can be.
func checkSiteName(name string) error {
	a, err := address.Parse(name + "@localhost.test")
	if err != nil || a.Local != name || len(address.Candidates(a)) > 1 || strings.ContainsAny(name, "+\" ") {
		return fmt.Errorf("%q: want a local part such as mlist, without a + and without the end of a list's own addresses (-request and the like)", name)
	}
	return nil
}

// check looks at what no single value tells.
func (c *Config) check(file string, at lines) error {
	p := &problems{file: file, at: at}
	expect := func(key string, err error) {
		if err != nil {
			p.add(key, err)
		}
	}
	expect("hostname", checkHostname(c.Hostname))
	if c.SiteName != "" {
		expect("site_name", checkSiteName(c.SiteName))
	}
	expect("store.url", checkURL(c.Store.URL, "sqlite"))
	expect("spool.url", checkURL(c.Spool.URL, "dir"))
	if c.Trace.Dir == "" && !strings.HasPrefix(c.Spool.URL, "dir:") {
		p.addf("trace.dir", "want a directory on this machine: the spool is in a database")
	}
	if c.Spool.Host != "" {
		expect("spool.host", checkHostname(c.Spool.Host))
	}
	for key, s := range map[string]Segments{"outbound.segments": c.Outbound.Segments, "pipeline.segments": c.Pipeline.Segments} {
		if s.Auto && strings.HasPrefix(c.Spool.URL, "dir:") {
			p.addf(key, "auto needs a spool in a database (spool.url); in a directory each daemon has ranges of its own, such as 0000-7fff and 8000-ffff")
		}
	}
	if c.Templates.Dir != "" {
		expect("templates.dir", checkPath(c.Templates.Dir))
	}
	expect("templates.language", list.CheckLanguage(c.Templates.Language))
	if c.Archive.URL != "" {
		expect("archive.url", checkPathURL(c.Archive.URL, "dir"))
	}

	expect("lmtpd.listen", checkListen(c.LMTPD.Listen))
	_, err := parseMode(c.LMTPD.SocketMode)
	expect("lmtpd.socket_mode", err)
	if c.LMTPD.MaxHeaderSize > maxHeader {
		p.addf("lmtpd.max_header_size", "%v: want %v or less", c.LMTPD.MaxHeaderSize, Size(maxHeader))
	}

	if len(c.Milter.Listen) > 0 {
		expect("milter.listen", checkListen(c.Milter.Listen))
	}
	_, err = parseMode(c.Milter.SocketMode)
	expect("milter.socket_mode", err)
	for _, d := range c.Milter.ListDomains {
		_, err := address.ParseDomain(d)
		expect("milter.list_domains", err)
	}

	if len(c.Socketmap.Listen) > 0 {
		expect("socketmap.listen", checkListen(c.Socketmap.Listen))
	}
	_, err = parseMode(c.Socketmap.SocketMode)
	expect("socketmap.socket_mode", err)

	expect("pipeline.plugin_dir", checkPath(c.Pipeline.PluginDir))
	expect("pipeline.plugin_sha256", checkPins(c.Pipeline.PluginSHA256))
	expect("pipeline.stages", checkStages(c.Pipeline.Stages))
	expect("pipeline.retry_max", checkOrder(c.Pipeline.RetryMax, c.Pipeline.RetryMin, "pipeline.retry_min"))

	expect("outbound.mta", checkMTA(c.Outbound.MTA))
	expect("outbound.retry_max", checkOrder(c.Outbound.RetryMax, c.Outbound.RetryMin, "outbound.retry_min"))
	switch {
	case c.Outbound.Username != "" && c.Outbound.PasswordFile == "":
		p.addf("outbound.username", "want password_file beside it")
	case c.Outbound.Username == "" && c.Outbound.PasswordFile != "":
		p.addf("outbound.password_file", "want username beside it")
	}
	for key, path := range map[string]string{"outbound.password_file": c.Outbound.PasswordFile, "outbound.tls_ca_file": c.Outbound.TLSCAFile, "trace.dir": c.Trace.Dir} {
		if path != "" {
			expect(key, checkPath(path))
		}
	}
	if _, err := list.ReadStyles(c.Styles); err != nil {
		var se *list.StyleError
		if errors.As(err, &se) && se.Key != "" {
			p.add(keyPath("styles", se.Style, se.Key), se.Err)
		} else {
			p.add("styles", err)
		}
	}
	expect("control.listen", checkControl(c.Control.Listen))
	expect("metrics.listen", checkMetrics(c.Metrics.Listen))
	return p.err()
}

func checkHostname(name string) error {
	domain, err := address.ParseDomain(name)
	if err != nil {
		return err
	}
	if !(address.Address{Local: "x", Domain: domain}).IsASCII() {
		return fmt.Errorf("%q: want letters, digits, dots and hyphens", name)
	}
	return nil
}

func checkPath(path string) error {
	switch {
	case !filepath.IsAbs(path):
		return fmt.Errorf("%q: want an absolute path", path)
	case strings.ContainsRune(path, 0):
		return fmt.Errorf("%q: NUL in a path", path)
	}
	return nil
}

// checkControl leaves room for a single daemon's name in the path.
func checkControl(listen string) error {
	if listen == "" {
		return nil
	}
	path, ok := strings.CutPrefix(listen, "unix:")
	if !ok {
		return fmt.Errorf("%q: want unix:PATH", listen)
	}
	if most := maxSocketPath - len("-pipeline.sock"); len(path) > most {
		return fmt.Errorf("%q: this socket's path has at most %d octets", listen, most)
	}
	return checkPath(path)
}

// checkMetrics leaves room for single daemons: in the path of a socket, or above the port.
func checkMetrics(listen string) error {
	if strings.HasPrefix(listen, "unix:") {
		return checkControl(listen)
	}
	if listen == "" {
		return nil
	}
	if err := checkListen([]string{listen}); err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(listen[len("tcp:"):])
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > maxMetricsPort {
		return fmt.Errorf("%q: want a port of 1 to %d", listen, maxMetricsPort)
	}
	return nil
}

// checkPathURL wants scheme:PATH. Only the scheme is printed of another: what follows
// it may hold a password.
func checkPathURL(s, scheme string) error {
	have, path, ok := strings.Cut(s, ":")
	if !ok || have != scheme {
		return fmt.Errorf("%q: want %s:PATH", have, scheme)
	}
	return checkPath(path)
}

// checkURL takes a path of one scheme, or a PostgreSQL server, without a password: the
// configuration is printed, and read by more than the daemons.
func checkURL(s, local string) error {
	scheme, _, _ := strings.Cut(s, ":")
	switch scheme {
	case local:
		return checkPathURL(s, scheme)
	case "postgres", "postgresql":
	default:
		return fmt.Errorf("%q: want %s:PATH or postgres://USER@HOST/DATABASE", scheme, local)
	}
	u, err := url.Parse(s)
	if err != nil {
		return errors.New("no URL, or one with characters that need %XX") // the text may hold a password
	}
	if _, has := u.User.Password(); has || u.Query().Has("password") || u.Query().Has("sslpassword") {
		return errors.New("a password belongs in a file that passfile=PATH names in the URL, as libpq has it")
	}
	if u.Opaque != "" || u.Host == "" && !u.Query().Has("host") {
		return errors.New("want postgres://USER@HOST/DATABASE, or ?host=DIRECTORY of the server's socket")
	}
	return nil
}

func checkListen(listen []string) error {
	if len(listen) == 0 {
		return errors.New("want one address or more")
	}
	seen := map[string]bool{}
	for _, a := range listen {
		network, rest, _ := strings.Cut(a, ":")
		switch network {
		case "unix":
			if err := checkPath(rest); err != nil {
				return err
			}
			if len(rest) > maxSocketPath {
				return fmt.Errorf("%q: a socket's path has at most %d octets", a, maxSocketPath)
			}
		case "tcp":
			if err := checkHostPort(rest); err != nil {
				return fmt.Errorf("%q: want tcp:HOST:PORT: %w", a, err)
			}
		default:
			return fmt.Errorf("%q: want unix:PATH or tcp:HOST:PORT", a)
		}
		if seen[a] {
			return fmt.Errorf("%s is there twice", a)
		}
		seen[a] = true
	}
	return nil
}

func checkHostPort(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		var ae *net.AddrError
		if errors.As(err, &ae) {
			return errors.New(ae.Err)
		}
		return err
	}
	if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
		return fmt.Errorf("port %q", port)
	}
	return nil
}

// checkMTA wants a form that outbound understands.
func checkMTA(s string) error {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return checkPath(path)
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "smtp" && u.Scheme != "smtps" || u.Hostname() == "":
		if err == nil && u.User != nil {
			s = u.Redacted()
		}
		return fmt.Errorf("%q: want smtp://HOST:PORT, smtps://HOST:PORT or unix:PATH", s)
	case u.User != nil:
		return errors.New("credentials belong in username and password_file")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%q: want %s://HOST:PORT and nothing else", s, u.Scheme)
	case u.Port() == "":
		return nil
	}
	return checkHostPort(u.Host)
}

func checkStages(stages []string) error {
	if len(stages) == 0 {
		return errors.New("want one stage or more")
	}
	seen := map[string]bool{}
	for _, s := range stages {
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return fmt.Errorf("%q is not the name of a stage", s)
		}
		if seen[s] {
			return fmt.Errorf("%s is there twice", s)
		}
		seen[s] = true
	}
	return nil
}

func checkPins(pins Pins) error {
	for _, name := range slices.Sorted(maps.Keys(pins)) {
		if b, err := hex.DecodeString(pins[name]); err != nil || len(b) != 32 {
			return fmt.Errorf("%s: %.80q is no SHA-256: want 64 hexadecimal digits, as sha256sum prints them", name, pins[name])
		}
	}
	return nil
}

func checkOrder(most, least Duration, leastKey string) error {
	if most < least {
		return fmt.Errorf("%v: want no less than %s (%v)", most, leastKey, least)
	}
	return nil
}
