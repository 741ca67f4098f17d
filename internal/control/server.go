package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/mlist/mlist/internal/listen"
)

const (
	requestTime = 5 * time.Second // to send a request
	maxRequest  = 1 << 10
)

// Listen makes the socket, with mode 0600 from the first moment. One that is there is
// replaced if nobody answers on it.
func Listen(path string) (net.Listener, error) {
	l, err := listen.Open("unix:"+path, 0o600)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}

// Serve answers on l, and closes it, when ctx ends. Then it waits for answers under way,
// but not for long.
func Serve(ctx context.Context, l net.Listener, do Operations) error {
	s := &http.Server{
		Handler: do.handler(), ReadTimeout: requestTime, WriteTimeout: ReloadTime + requestTime, IdleTimeout: requestTime,
		MaxHeaderBytes: maxRequest,
	}
	if err := listen.HTTP(ctx, l, s); err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

func (do Operations) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(do.Status()) // who asked may be gone
	})
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, _ *http.Request) {
		needRestart, err := do.Reload()
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(reloaded{needRestart}) // who asked may be gone
	})
	mux.HandleFunc("POST /suspend", do.suspend)
	return http.MaxBytesHandler(mux, maxRequest)
}
