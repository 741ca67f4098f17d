package metrics

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"

	"github.com/mlist/mlist/internal/listen"
)

const (
	requestTime = 5 * time.Second  // to send a request
	answerTime  = 30 * time.Second // to make and take the answer
	maxRequest  = 8 << 10
	maxAtOnce   = 20 // connections
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"` // why not
}

// Health is what several checks came to.
type Health struct {
	OK     bool    `json:"ok"`
	Checks []Check `json:"checks"`
}

// HealthOf sums up.
func HealthOf(checks []Check) Health {
	h := Health{OK: true, Checks: checks}
	for _, c := range checks {
		h.OK = h.OK && c.OK
	}
	return h
}

// Pages are what can be read.
type Pages struct {
	Metrics *Metrics
	Alive   func() Health // whether the process gets on: without it, restart it
	Ready   func() Health // whether it can do all that it is there for
}

// Serve answers on l, and closes it, when ctx ends. Who asks may be slow or many: it is
// bounded what they can use.
func Serve(ctx context.Context, l net.Listener, p Pages) error {
	s := &http.Server{
		Handler: p.handler(), ReadTimeout: requestTime, WriteTimeout: answerTime, IdleTimeout: time.Minute,
		MaxHeaderBytes: maxRequest,
	}
	if err := listen.HTTP(ctx, netutil.LimitListener(l, maxAtOnce), s); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

func (p Pages) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", string(TextFormat))
		_ = p.Metrics.Write(w) // who asked may be gone
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, p.Alive()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, p.Ready()) })
	return http.MaxBytesHandler(mux, maxRequest)
}

func answer(w http.ResponseWriter, h Health) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !h.OK {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(h) // who asked may be gone
}
