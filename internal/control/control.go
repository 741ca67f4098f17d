// Package control lets the mlist command ask a running mlist, over a unix socket that
// only the user who runs it, and root, can use: what state it is in, and to read its
// configuration again.
//
// It promises that requests are small and end in time, whoever sends them, and that a
// socket is taken over only when nobody answers on it.
package control

import (
	"errors"
	"net"
	"time"

	"github.com/mlist/mlist/internal/metrics"
)

// ErrNotRunning is returned when nobody answers.
var ErrNotRunning = errors.New("mlist is not running")

// ReloadTime is how long a reload may take, with the drain of the plugins before.
const ReloadTime = 2 * time.Minute

// SuspendTime is how long a process may take to let go of spool and store: what is under way
// ends first.
const SuspendTime = 2 * time.Minute

// Status is what a running mlist says of itself.
type Status struct {
	Version string   `json:"version"`
	PID     int      `json:"pid"`
	Daemons []string `json:"daemons"`
	Posts   int64    `json:"posts"` // that the plugins were asked about
	Calls   int64    `json:"calls"` // that this took
	Plugins []Plugin `json:"plugins"`

	Started time.Time       `json:"started"`
	Totals  metrics.Totals  `json:"totals"` // since then
	Minute  metrics.Totals  `json:"minute"` // in the last minute
	Checks  []metrics.Check `json:"checks"` // what works, and what does not
	MTA     *MTA            `json:"mta,omitempty"`
	Config  Config          `json:"config"`
	// Connections are those that are open now, by daemon.
	Connections map[string]int `json:"connections"`
}

// Config is what became of the configuration.
type Config struct {
	Taken time.Time `json:"taken"` // when that which is in effect was taken on
	// Refused is the last reload, if it came to nothing.
	Refused *Refusal `json:"refused,omitempty"`
	// NeedRestart are keys that have other values in the file, which only a restart takes on.
	NeedRestart []string `json:"need_restart,omitempty"`
}

// Refusal is why a configuration was not taken on.
type Refusal struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// MTA is how outbound gets on with the MTA.
type MTA struct {
	Address      string    `json:"address"`
	Up           bool      `json:"up"`
	DownSince    time.Time `json:"down_since,omitzero"`
	Reason       string    `json:"reason,omitempty"`
	Transactions int       `json:"transactions"` // under way
	Limit        int       `json:"limit"`        // of those
}

// Plugin is a plugin that runs.
type Plugin struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Path    string   `json:"path"`
	PID     int      `json:"pid"` // 0 while it is down
	Stages  []string `json:"stages"`
	Healthy bool     `json:"healthy"`
	Why     string   `json:"why,omitempty"` // it is down
	// Lost is how often its process was lost in the last quarter of an hour, as far as ten, and
	// LostWhy why the last time.
	Lost     int     `json:"lost,omitempty"`
	LostWhy  string  `json:"lost_why,omitempty"`
	Restarts int     `json:"restarts"`
	Calls    int64   `json:"calls"`
	Errors   int64   `json:"errors"`
	P50      float64 `json:"p50_ms"` // of calls, in milliseconds
	P99      float64 `json:"p99_ms"`
	// Counts is what its handlers have counted since mlist started.
	Counts map[string]int64 `json:"counts,omitempty"`
}

// Operations are what can be asked. Each may be called while another runs.
type Operations struct {
	Status func() Status
	// Reload returns the keys whose change needs a restart.
	Reload func() ([]string, error)
	// Suspend has the process let go of spool and store, and take them up again, with the
	// configuration as it is then, when the connection ends. It answers on it, by Suspended,
	// once it has let go.
	Suspend func(net.Conn)
}
