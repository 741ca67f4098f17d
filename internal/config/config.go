// Package config reads mlist's one configuration file.
//
// Every key has a default that works on one machine. An unknown key, a wrong type or
// an impossible value is an error that names the file, the line and the key, and all
// of a file's errors are told at once. What a key is called, its default, its words
// and its help stand in the tags of [Config] and nowhere else: reading, checking,
// `mlist config` and etc/mlist.toml all follow them.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

//go:generate go run github.com/mlist/mlist/cmd/mlist config --defaults --force --output ../../etc/mlist.toml

// DefaultPath is where the configuration is unless --config or MLIST_CONFIG says otherwise.
const DefaultPath = "/etc/mlist/mlist.toml"

// Config is the effective configuration.
type Config struct {
	Hostname  string                    `toml:"hostname" help:"how mlist names itself to the MTA; the machine's name when empty"`
	SiteName  string                    `toml:"site_name" default:"mlist" help:"local part of the site's own address in each domain of lists: it takes commands such as lists and which; none when empty"`
	Store     Store                     `toml:"store" help:"lists, members, settings"`
	Templates Templates                 `toml:"templates" help:"what mlist writes to people: mlist template tells"`
	Archive   Archive                   `toml:"archive" help:"posts that are kept: for good, or until they went out in a digest"`
	Spool     Spool                     `toml:"spool" help:"messages on their way"`
	LMTPD     LMTPD                     `toml:"lmtpd" help:"mail in: the MTA's transport hands list mail over here"`
	Milter    Milter                    `toml:"milter" help:"says no while the sender is still connected, where Postfix's smtpd_milters names it"`
	Socketmap Socketmap                 `toml:"socketmap" help:"answers Postfix whether an address is a list's, where its tables do not: mlist postfix setup --live"`
	Pipeline  Pipeline                  `toml:"pipeline" help:"mail prepared: the stages that every post passes"`
	Plugin    map[string]map[string]any `toml:"plugin" help:"[plugin.NAME] is handed to the handler of the stage NAME, which checks it"`
	Styles    map[string]map[string]any `toml:"styles" help:"[styles.NAME] is a way of setting lists: settings, and inherits, locked and help; mlist style ls shows all"`
	Outbound  Outbound                  `toml:"outbound" help:"mail out: the MTA's port that takes prepared mail"`
	Trace     Trace                     `toml:"trace" help:"what happened to each message: mlist trace reads it"`
	Metrics   Metrics                   `toml:"metrics" help:"what Prometheus and health checks read by HTTP: /metrics, /healthz, /readyz"`
	Control   Control                   `toml:"control" help:"how the mlist command asks a running mlist"`
	Log       Log                       `toml:"log" help:"to standard error"`
}

// Store is [store].
type Store struct {
	URL string `toml:"url" default:"sqlite:/var/lib/mlist/mlist.db" help:"sqlite:PATH, or postgres://USER@HOST/DATABASE?passfile=PATH"`
}

// Templates is [templates].
type Templates struct {
	Dir      string `toml:"dir" default:"/etc/mlist/templates" help:"files that come before the built-in texts; it need not be there"`
	Language string `toml:"language" default:"en" help:"of lists that have no preferred_language; de, en and fr are built in"`
}

// Archive is [archive].
type Archive struct {
	URL string `toml:"url" default:"dir:/var/lib/mlist/archive" help:"dir:PATH; when empty nothing is kept, and there are no digests"`
}

// Spool is [spool].
type Spool struct {
	URL     string `toml:"url" default:"dir:/var/spool/mlist" help:"dir:PATH, on one file system; or postgres://USER@HOST/DATABASE?passfile=PATH, and then trace.dir"`
	MinFree Size   `toml:"min_free" default:"100MB" help:"of a directory's disk: with less, lmtpd answers 452 and the MTA keeps the mail, so that what is here can still go out; 0 takes mail until nothing is left"`

	Host  string   `toml:"host" help:"in a database: what mlist segment calls this machine; the machine's name when empty"`
	Lease Duration `toml:"lease" default:"10s" min:"2s" help:"in a database: how long a daemon that is not heard of keeps its segments"`
}

// LMTPD is [lmtpd].
type LMTPD struct {
	Listen         []string `toml:"listen" default:"unix:/run/mlist/lmtp.sock" help:"unix:PATH or tcp:HOST:PORT, one or more"`
	SocketMode     string   `toml:"socket_mode" default:"0666" help:"permissions of unix sockets, in octal"`
	MaxMessageSize Size     `toml:"max_message_size" default:"40MB" min:"1KB" help:"a larger message is refused"`
	MaxHeaderSize  Size     `toml:"max_header_size" default:"2MB" min:"1KB" help:"of a message; 2MB is the most"`
	MaxConnections int      `toml:"max_connections" default:"100" min:"1" help:"at once, on all addresses together"`
	MaxRecipients  int      `toml:"max_recipients" default:"1000" min:"1" help:"of one transaction"`
	IdleTimeout    Duration `toml:"idle_timeout" default:"5m" min:"1s" help:"without a command, or without progress of a message"`
}

// Milter is [milter].
type Milter struct {
	Listen      []string `toml:"listen" default:"unix:/run/mlist/milter.sock" help:"unix:PATH or tcp:HOST:PORT, one or more; none when empty"`
	SocketMode  string   `toml:"socket_mode" default:"0666" help:"permissions of unix sockets, in octal"`
	OnFailure   string   `toml:"on_failure" default:"tempfail" of:"tempfail,pass" help:"to mail that cannot be judged, as while the store is down: try again later, or leave it to the pipeline"`
	ListDomains []string `toml:"list_domains" help:"domains in which every address is a list's: another one is refused at RCPT"`
	MaxSessions int      `toml:"max_sessions" default:"500" min:"1" help:"at once, on all addresses together"`
	IdleTimeout Duration `toml:"idle_timeout" default:"15m" min:"1s" help:"without a word from the MTA; longer than its own time-outs"`
}

// Socketmap is [socketmap].
type Socketmap struct {
	Listen         []string `toml:"listen" help:"unix:PATH or tcp:HOST:PORT, one or more; none when empty"`
	SocketMode     string   `toml:"socket_mode" default:"0666" help:"permissions of unix sockets, in octal"`
	MaxConnections int      `toml:"max_connections" default:"500" min:"1" help:"at once, on all addresses together"`
}

// Pipeline is [pipeline].
type Pipeline struct {
	PluginDir     string   `toml:"plugin_dir" default:"/usr/lib/mlist/plugins" help:"the programs that offer stages"`
	Stages        []string `toml:"stages" default:"loop,authenticate,posting,limits,mime,topics,recipients,cleanse,subject,reply-to,list-headers,archive,digest,footer,dmarc,acknowledge,sign" help:"in order"`
	Segments      Segments `toml:"segments" default:"0000-ffff" help:"which lists this daemon prepares mail of, by their keys; or auto, with a spool in a database: a share of them"`
	Workers       int      `toml:"workers" default:"8" min:"1" help:"posts of different lists prepared at once"`
	Timeout       Duration `toml:"timeout" default:"30s" min:"1s" help:"of one call to a plugin"`
	MaxTries      int      `toml:"max_tries" default:"5" min:"1" help:"tries before a post goes to failed"`
	PluginMemory  Size     `toml:"plugin_memory" default:"512MB" help:"that one plugin may use; 0 is no limit"`
	PluginSHA256  Pins     `toml:"plugin_sha256" help:"checksums of programs by file name, such as { standard = \"64 hex digits\" }; a program that differs is not started"`
	CheckOwner    bool     `toml:"check_owner" default:"true" help:"refuse plugins that others than root can write"`
	RetryMin      Duration `toml:"retry_min" default:"1s" min:"1ms" help:"wait after the first failure; doubles each time"`
	RetryMax      Duration `toml:"retry_max" default:"10m" min:"1ms" help:"the longest wait"`
	NoticesPerDay int      `toml:"notices_per_day" default:"10" min:"0" help:"automatic replies to one address"`

	PluginStateKeys int      `toml:"plugin_state_keys" default:"10000" min:"0" help:"values that one plugin may keep for one list; 0 is no limit"`
	PluginStateSize Size     `toml:"plugin_state_size" default:"16MB" help:"of those values with their keys, together; 0 is no limit"`
	ConsultTimeout  Duration `toml:"consult_timeout" default:"5s" min:"100ms" help:"of all plugins together, when they are asked while a sender's SMTP session waits"`
}

// Outbound is [outbound].
type Outbound struct {
	MTA                      string   `toml:"mta" default:"smtp://127.0.0.1:10025" help:"smtp://HOST:PORT (with STARTTLS where tls says so), smtps://HOST:PORT, or unix:PATH"`
	Username                 string   `toml:"username" help:"for AUTH; none when empty"`
	PasswordFile             string   `toml:"password_file" help:"a file with the password on its first line"`
	TLS                      string   `toml:"tls" default:"opportunistic" of:"never,opportunistic,require" help:"STARTTLS"`
	TLSCAFile                string   `toml:"tls_ca_file" help:"certificates to trust, beside the system's"`
	TLSServerName            string   `toml:"tls_server_name" help:"the name to check; the MTA's host when empty"`
	Segments                 Segments `toml:"segments" default:"0000-ffff" help:"what this daemon owns; or auto, with a spool in a database: a share that fits how fast its MTA is"`
	RecipientsPerTransaction int      `toml:"recipients_per_transaction" default:"1000" min:"1" help:"at most what the MTA's port allows"`
	Connections              int      `toml:"connections" default:"8" min:"1" help:"to the MTA at once"`
	RetryMin                 Duration `toml:"retry_min" default:"1m" min:"1ms" help:"wait after the first deferral; doubles each time"`
	RetryMax                 Duration `toml:"retry_max" default:"2h" min:"1ms" help:"the longest wait"`
	MaxAge                   Duration `toml:"max_age" default:"5d" min:"1s" help:"since the post came in, when deferral ends in a bounce"`
	DelayNotice              Duration `toml:"delay_notice" default:"4h" help:"since the post came in, when a list's owners are told that the MTA defers it, once a day at most; 0 is never"`
	Timeout                  Duration `toml:"timeout" default:"5m" min:"1s" help:"of one SMTP reply"`
}

// Trace is [trace].
type Trace struct {
	Enabled bool     `toml:"enabled" default:"true" help:"write it"`
	Dir     string   `toml:"dir" help:"a file for each day; the directory trace in the spool when empty"`
	Keep    Duration `toml:"keep" default:"14d" min:"1d" help:"older files are removed"`
	MaxSize Size     `toml:"max_size" default:"1GB" help:"of all files: the oldest go first, and when today's alone has it, nothing more is written today; 0 is no limit"`
}

// Metrics is [metrics].
type Metrics struct {
	Listen string `toml:"listen" default:"tcp:127.0.0.1:9130" help:"tcp:HOST:PORT or unix:PATH; single daemons take the next ports: lmtpd 9131, milter 9132, pipeline 9133, outbound 9134, or put their name before .sock; off when empty"`
	Lists  int    `toml:"lists" default:"0" min:"0" help:"how many lists have counters of their own, by name: those that get mail first"`
}

// Control is [control].
type Control struct {
	Listen string `toml:"listen" default:"unix:/run/mlist/control.sock" help:"unix:PATH, for who runs mlist alone; single daemons put their name before .sock; off when empty"`
}

// Log is [log].
type Log struct {
	Level  string `toml:"level" default:"info" of:"debug,info,warn,error" help:"the least that is logged"`
	Format string `toml:"format" default:"text" of:"text,json" help:"text is key=value; json is one object a line"`
}

// Load reads and checks the file.
func Load(path string) (*Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return Parse(path, b)
}

// Parse reads and checks the text of a configuration file; name stands for the file in
// errors. Every error in it is an [*Error], joined with the others.
func Parse(name string, text []byte) (*Config, error) {
	c, at, err := decode(name, text)
	if err != nil {
		return nil, err
	}
	c.complete()
	if err := c.check(name, at); err != nil {
		return nil, err
	}
	return c, nil
}

// Salvage returns what can be read of a file that Load refuses, with the defaults for the rest:
// for who has to find a running mlist, whatever has become of the file since.
func Salvage(path string) *Config {
	text, err := os.ReadFile(path)
	for err == nil {
		c, _, wrong := decode(path, text)
		if c != nil {
			c.complete()
			return c
		}
		var syntax *Error
		if !errors.As(wrong, &syntax) || syntax.Line < 2 {
			break
		}
		// Not TOML: what stands before the line may be.
		lines := bytes.SplitAfterN(text, []byte("\n"), syntax.Line)
		if len(lines) < syntax.Line {
			break
		}
		text = bytes.Join(lines[:syntax.Line-1], nil)
	}
	return Default()
}

// Default returns the configuration of an empty file.
func Default() *Config {
	c := defaults()
	c.complete()
	return c
}

// complete fills in what depends on the machine.
func (c *Config) complete() {
	if c.Hostname != "" {
		return
	}
	if name, err := os.Hostname(); err == nil && checkHostname(name) == nil {
		c.Hostname = name
	} else {
		c.Hostname = "localhost"
	}
}

// Mode is SocketMode as a number.
func (l LMTPD) Mode() (fs.FileMode, error) {
	mode, err := parseMode(l.SocketMode)
	if err != nil {
		return 0, fmt.Errorf("lmtpd.socket_mode: %w", err)
	}
	return mode, nil
}

// Mode is SocketMode as a number.
func (s Socketmap) Mode() (fs.FileMode, error) {
	mode, err := parseMode(s.SocketMode)
	if err != nil {
		return 0, fmt.Errorf("socketmap.socket_mode: %w", err)
	}
	return mode, nil
}

// Mode is SocketMode as a number.
func (m Milter) Mode() (fs.FileMode, error) {
	mode, err := parseMode(m.SocketMode)
	if err != nil {
		return 0, fmt.Errorf("milter.socket_mode: %w", err)
	}
	return mode, nil
}
