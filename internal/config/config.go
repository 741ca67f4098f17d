// Package config reads mlist's one configuration file.
//
// Every key has a default that works on one machine. An unknown key, a wrong type or
// an impossible value is an error that names the file, the line and the key.
package config

import (
	"time"

	"github.com/mlist/mlist/internal/segment"
)

// Config is the effective configuration.
type Config struct {
	Hostname string                    `toml:"hostname" help:"how mlist names itself to the MTA; the machine's name when empty"`
	Store    Store                     `toml:"store"`
	Spool    Spool                     `toml:"spool"`
	LMTPD    LMTPD                     `toml:"lmtpd"`
	Pipeline Pipeline                  `toml:"pipeline"`
	Plugin   map[string]map[string]any `toml:"plugin" help:"handed to the handler of that stage"`
	Outbound Outbound                  `toml:"outbound"`
	Log      Log                       `toml:"log"`
}

// Store is [store].
type Store struct {
	URL string `toml:"url" default:"sqlite:/var/lib/mlist/mlist.db" help:"sqlite:PATH"`
}

// Spool is [spool].
type Spool struct {
	URL string `toml:"url" default:"dir:/var/spool/mlist" help:"dir:PATH, on one file system"`
}

// LMTPD is [lmtpd].
type LMTPD struct {
	Listen         []string `toml:"listen" default:"unix:/run/mlist/lmtp.sock" help:"unix:PATH or tcp:HOST:PORT, one or more"`
	SocketMode     string   `toml:"socket_mode" default:"0666" help:"permissions of unix sockets, in octal"`
	MaxMessageSize Size     `toml:"max_message_size" default:"40MB"`
	MaxHeaderSize  Size     `toml:"max_header_size" default:"256KB"`
	MaxConnections int      `toml:"max_connections" default:"100"`
	MaxRecipients  int      `toml:"max_recipients" default:"1000"`
	IdleTimeout    Duration `toml:"idle_timeout" default:"5m"`
}

// Pipeline is [pipeline].
type Pipeline struct {
	PluginDir     string   `toml:"plugin_dir" default:"/usr/lib/mlist/plugins"`
	Stages        []string `toml:"stages" default:"loop,posting,limits,cleanse,subject,reply-to,list-headers,footer,recipients" help:"in order"`
	Workers       int      `toml:"workers" default:"8" help:"posts of different lists prepared at once"`
	Timeout       Duration `toml:"timeout" default:"30s" help:"of one call to a plugin"`
	MaxTries      int      `toml:"max_tries" default:"5" help:"tries before a post goes to failed"`
	PluginMemory  Size     `toml:"plugin_memory" default:"512MB" help:"that one plugin may use; 0 is no limit"`
	CheckOwner    bool     `toml:"check_owner" default:"true" help:"refuse plugins that others than root can write"`
	RetryMin      Duration `toml:"retry_min" default:"1s"`
	RetryMax      Duration `toml:"retry_max" default:"10m"`
	NoticesPerDay int      `toml:"notices_per_day" default:"10" help:"automatic replies to one address"`
}

// Outbound is [outbound].
type Outbound struct {
	MTA                      string   `toml:"mta" default:"smtp://127.0.0.1:10025" help:"smtp:// (with STARTTLS where tls says so), smtps://, or unix:PATH"`
	Username                 string   `toml:"username" help:"for AUTH; none when empty"`
	PasswordFile             string   `toml:"password_file"`
	TLS                      string   `toml:"tls" default:"opportunistic" of:"never,opportunistic,require" help:"STARTTLS"`
	TLSCAFile                string   `toml:"tls_ca_file" help:"certificates to trust, beside the system's"`
	TLSServerName            string   `toml:"tls_server_name" help:"the name to check; the MTA's host when empty"`
	Segments                 Segments `toml:"segments" default:"0000-ffff" help:"what this daemon owns"`
	RecipientsPerTransaction int      `toml:"recipients_per_transaction" default:"1000"`
	Connections              int      `toml:"connections" default:"8"`
	RetryMin                 Duration `toml:"retry_min" default:"1m"`
	RetryMax                 Duration `toml:"retry_max" default:"2h"`
	MaxAge                   Duration `toml:"max_age" default:"120h" help:"when deferral ends"`
	Timeout                  Duration `toml:"timeout" default:"5m" help:"of one SMTP reply"`
}

// Log is [log].
type Log struct {
	Level  string `toml:"level" default:"info" of:"debug,info,warn,error"`
	Format string `toml:"format" default:"text" of:"text,json"`
}

// Size is a number of octets; its text form may have KB, MB or GB (of 1024).
type Size int64

// Duration is a time.Duration whose text form may have d for 24 hours.
type Duration time.Duration

// Segments is a set of keys; its text form is that of segment.Parse.
type Segments struct{ segment.Set }

// Load reads and checks the file.
func Load(path string) (*Config, error) { panic("TODO") }

// Default returns the configuration of an empty file.
func Default() *Config { panic("TODO") }
