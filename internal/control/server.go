package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

const (
	requestTime = 5 * time.Second // to send a request
	maxRequest  = 1 << 10
	grace       = time.Second // for answers under way at the end
)

// Listen makes the socket, with mode 0600 from the first moment. One that is there is
// replaced if nobody answers on it.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	if err := removeStale(ctx, path); err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	// The kernel gives the file the mode that the socket has before it is bound.
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }); cerr != nil {
			return cerr
		}
		return err
	}}
	l, err := private.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}

func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // or its directory is not there, which Listen tells
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file that is no socket")
	}
	dialer := net.Dialer{Timeout: requestTime}
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close() // it said nothing
		return errors.New("another mlist answers on it")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// Serve answers on l, and closes it, when ctx ends. Then it waits for answers under way,
// but not for long.
func Serve(ctx context.Context, l net.Listener, do Operations) error {
	s := &http.Server{
		Handler: do.handler(), ReadTimeout: requestTime, WriteTimeout: ReloadTime + requestTime, IdleTimeout: requestTime,
		MaxHeaderBytes: maxRequest, ErrorLog: log.New(io.Discard, "", 0),
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	select {
	case err := <-ended:
		_ = s.Close() // it listens no more
		return fmt.Errorf("control socket: %w", err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if s.Shutdown(end) != nil {
		_ = s.Close() // who did not finish a request gets no answer
	}
	<-ended
	return nil
}

func (do Operations) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(do.Status()) // who asked may be gone
	})
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, _ *http.Request) {
		if err := do.Reload(); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	})
	return http.MaxBytesHandler(mux, maxRequest)
}
