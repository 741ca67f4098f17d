// Package harness sets up real parts for tests, demo and benchmarks: a private Postfix
// instance and a whole mlist installation, both in a directory of their own and on
// loopback only. Everything that it starts, it ends.
package harness

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// ErrNoPostfix says that there is no Postfix on this machine, or that we are not root
// and so cannot start an instance of it.
var ErrNoPostfix = errors.New("a private Postfix needs Postfix installed (apt-get install postfix) and root")

// PostfixOptions say what a private Postfix is for.
type PostfixOptions struct {
	Domain string // the domain of the lists
	LMTP   string // path of mlist's LMTP socket
	Relay  string // host:port to which all other mail goes
	Milter string // path of mlist's milter socket; none when empty
	// Bare knows nothing of mlist, which has yet to tell it. Nobody listens at HandBack then.
	// Its own domain users.test has the user ann.
	Bare bool
	// Tuned lifts limits that would slow a benchmark down.
	Tuned bool
	// Discard has mail for others end here, without Relay.
	Discard bool
	// Chroot has the port where mail comes in served from within the queue directory, as Debian's Postfix does.
	Chroot bool
	// Main are lines of main.cf that stand in for those of the same parameters, or beside them.
	Main string
	// NoXVERP has the hand-back port not offer XVERP.
	NoXVERP bool
}

// Postfix is a private instance.
type Postfix struct {
	Dir      string
	SMTP     string // host:port where mail comes in
	HandBack string // host:port where mlist hands prepared mail back
	opts     PostfixOptions
}

// FindPostfix tells whether StartPostfix can work here.
func FindPostfix() error {
	if os.Geteuid() != 0 {
		return ErrNoPostfix
	}
	if _, err := exec.LookPath("postfix"); err != nil {
		return ErrNoPostfix
	}
	return nil
}

// StartPostfix makes and starts an instance under dir, which must be absolute, and
// which everybody must be able to search.
func StartPostfix(ctx context.Context, dir string, opts PostfixOptions) (*Postfix, error) {
	if err := FindPostfix(); err != nil {
		return nil, err
	}
	p := &Postfix{Dir: dir, opts: opts}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	p.SMTP, p.HandBack = ports[0], ports[1]
	for _, d := range []string{"", "etc", "spool", "data"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	if err := p.writeConfig(); err != nil {
		return nil, err
	}
	if out, err := p.run(ctx, "chown", "postfix", filepath.Join(dir, "data")); err != nil {
		return nil, fmt.Errorf("chown data: %w: %s", err, out)
	}
	// With maillog_file, a warning about main.cf would fill the log socket before its
	// reader is there, and everything would hang: look for warnings before the start.
	out, err := p.run(ctx, "sh", "-c", "postconf -c "+p.etc()+" 2>&1 >/dev/null")
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		return nil, fmt.Errorf("check main.cf: %v: %s", err, out)
	}
	if err := p.Start(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// Start starts the instance again that was stopped, or killed.
func (p *Postfix) Start(ctx context.Context) error {
	if out, err := p.run(ctx, "postfix", "-c", p.etc(), "start"); err != nil {
		return fmt.Errorf("postfix start: %w: %s\n%s", err, out, p.Log())
	}
	for _, addr := range []string{p.SMTP, p.HandBack} {
		if p.opts.Bare && addr == p.HandBack {
			continue
		}
		if err := waitGreeting(ctx, addr); err != nil {
			p.Stop()
			return fmt.Errorf("postfix at %s: %w\n%s", addr, err, p.Log())
		}
	}
	return nil
}

// Etc is its configuration directory.
func (p *Postfix) Etc() string { return p.etc() }

func (p *Postfix) etc() string { return filepath.Join(p.Dir, "etc") }

// run runs a command that ends by itself within a minute, or is ended.
func (p *Postfix) run(ctx context.Context, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	// Daemons that the command leaves behind must not keep us waiting for its output.
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return out, err
}

// Stop ends the instance.
func (p *Postfix) Stop() error {
	out, err := p.run(context.Background(), "postfix", "-c", p.etc(), "stop")
	if err != nil {
		return fmt.Errorf("postfix stop: %w: %s", err, out)
	}
	return nil
}

// Flush tries all deferred mail now.
func (p *Postfix) Flush(ctx context.Context) error {
	if out, err := p.run(ctx, "postqueue", "-c", p.etc(), "-f"); err != nil {
		return fmt.Errorf("postqueue -f: %w: %s", err, out)
	}
	return nil
}

// Defer has all mail that is handed back deferred from now on, or no longer. It starts the
// instance anew: a client that keeps its connection would never notice a reload.
func (p *Postfix) Defer(ctx context.Context, on bool) error {
	restrictions := ""
	if on {
		restrictions = "defer"
	}
	if err := p.Stop(); err != nil {
		return err
	}
	if out, err := p.run(ctx, "postconf", "-c", p.etc(), "-P", p.HandBack+"/inet/smtpd_recipient_restrictions="+restrictions); err != nil {
		return fmt.Errorf("postconf: %w: %s", err, out)
	}
	return p.Start(ctx)
}

// Queue returns what postqueue says is queued, one JSON object a line; empty if nothing is.
func (p *Postfix) Queue(ctx context.Context) (string, error) {
	out, err := p.run(ctx, "postqueue", "-c", p.etc(), "-j")
	return strings.TrimSpace(string(out)), err
}

// PID is the process id of the master, whose children do the work.
func (p *Postfix) PID() (int, error) {
	text, err := os.ReadFile(filepath.Join(p.Dir, "spool", "pid", "master.pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// LogFile is the path of its log.
func (p *Postfix) LogFile() string { return filepath.Join(p.Dir, "mail.log") }

// Log is Postfix's log so far.
func (p *Postfix) Log() string {
	b, _ := os.ReadFile(p.LogFile())
	return string(b)
}

func (p *Postfix) writeConfig() error {
	for name, text := range map[string]string{"main.cf": mainCF, "master.cf": masterCF} {
		var b strings.Builder
		data := map[string]any{"Dir": p.Dir, "SMTP": p.SMTP, "HandBack": p.HandBack, "Opts": p.opts, "Relay": bracket(p.opts.Relay)}
		if err := template.Must(template.New(name).Parse(text)).Execute(&b, data); err != nil {
			return err
		}
		text := b.String()
		if name == "main.cf" {
			text = override(text, p.opts.Main)
		}
		if err := os.WriteFile(filepath.Join(p.etc(), name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	transport := p.opts.Domain + " mlist:unix:" + p.opts.LMTP + "\n"
	return os.WriteFile(filepath.Join(p.etc(), "transport"), []byte(transport), 0o644)
}

// override puts lines behind a text, without those of the same parameters in it.
func override(text, lines string) string {
	set := map[string]bool{}
	for line := range strings.Lines(lines) {
		name, _, ok := strings.Cut(line, "=")
		set[strings.TrimSpace(name)] = ok
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		if name, _, _ := strings.Cut(line, "="); !set[strings.TrimSpace(name)] {
			out.WriteString(line)
		}
	}
	return out.String() + lines
}

// bracket writes host:port so that Postfix looks up no MX.
func bracket(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return "[" + host + "]:" + port
}

// freePorts finds loopback ports that nobody uses.
func freePorts(n int) ([]string, error) {
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all stay open until each has its own
		out = append(out, l.Addr().String())
	}
	return out, nil
}

// waitGreeting waits until an SMTP server greets at addr.
func waitGreeting(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		line, err := greeting(addr)
		if err == nil && strings.HasPrefix(line, "220") {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no greeting: %q, %w", line, errors.Join(err, ctx.Err()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func greeting(addr string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	io.WriteString(c, "QUIT\r\n")
	return line, err
}

const mainCF = `# a private instance, made by mlist's test harness
compatibility_level = 3.6
config_directory = {{.Dir}}/etc
queue_directory = {{.Dir}}/spool
data_directory = {{.Dir}}/data
maillog_file = {{.Dir}}/mail.log
maillog_file_prefixes = {{.Dir}}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.test
mynetworks = 127.0.0.0/8
mydestination ={{if .Opts.Bare}} users.test{{end}}
local_recipient_maps ={{if .Opts.Bare}} inline:{ ann=x }{{end}}
alias_maps =
alias_database =
biff = no
{{- if not .Opts.Bare}}
relay_domains = {{.Opts.Domain}}
transport_maps = texthash:{{.Dir}}/etc/transport
smtpd_recipient_restrictions = check_recipient_access inline:{ {{.Opts.Domain}}=reject_unverified_recipient }
unverified_recipient_reject_code = 550
address_verify_negative_expire_time = 60s
address_verify_negative_refresh_time = 30s
address_verify_poll_delay = 1s
address_verify_map =
recipient_delimiter = +
mlist_destination_concurrency_failed_cohort_limit = 100
{{- end}}
{{- if .Opts.Discard}}
default_transport = discard
{{- else}}
relayhost = {{.Relay}}
{{- end}}
disable_dns_lookups = yes
smtp_host_lookup = native
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_tls_security_level = none
smtp_tls_security_level = none
smtputf8_enable = yes
enable_long_queue_ids = yes
message_size_limit = 52428800
mailbox_size_limit = 0
minimal_backoff_time = 5s
maximal_backoff_time = 10s
queue_run_delay = 5s
{{- if .Opts.Milter}}
smtpd_milters = unix:{{.Opts.Milter}}
milter_default_action = tempfail
{{- end}}
{{- if .Opts.Tuned}}
in_flow_delay = 0
smtpd_client_connection_count_limit = 0
{{- end}}
`

const masterCF = `{{.SMTP}} inet n - {{if .Opts.Chroot}}y{{else}}n{{end}} - - smtpd
{{- if not .Opts.Bare}}
{{.HandBack}} inet n - n - - smtpd
  -o syslog_name=postfix/handback
  -o smtpd_milters=
  -o smtpd_relay_restrictions=permit_mynetworks,reject
  -o smtpd_recipient_restrictions=
  -o smtpd_recipient_limit=1000
  -o smtpd_hard_error_limit=1000
  -o smtpd_error_sleep_time=0
  -o receive_override_options=no_unknown_recipient_checks,no_header_body_checks,no_milters
  -o local_header_rewrite_clients=
{{- if not .Opts.NoXVERP}}
  -o smtpd_authorized_verp_clients=127.0.0.0/8
{{- end}}
{{- end}}
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
{{- if not .Opts.Bare}}
mlist     unix  - - n - 10 lmtp
  flags=X
{{- end}}
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
`
