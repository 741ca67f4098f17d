package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
)

const maxAnswer = 1 << 20

// Ask asks the mlist behind the socket for its status. The error is ErrNotRunning if
// nobody answers.
func Ask(ctx context.Context, path string) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	var s Status
	answer, err := exchange(ctx, path, http.MethodGet, "/status")
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(answer, &s); err != nil {
		return s, fmt.Errorf("answer on %s: %w", path, err)
	}
	return s, nil
}

// Reload has the mlist behind the socket read its configuration again, and returns the keys
// whose change needs a restart. The error says why it keeps the old one, or is ErrNotRunning.
func Reload(ctx context.Context, path string) (needRestart []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, ReloadTime)
	defer cancel()
	text, err := exchange(ctx, path, http.MethodPost, "/reload")
	if err != nil {
		return nil, err
	}
	var a reloaded
	if err := json.Unmarshal(text, &a); err != nil {
		return nil, fmt.Errorf("answer on %s: %w", path, err)
	}
	return a.NeedRestart, nil
}

// reloaded is the answer to a reload that was taken on.
type reloaded struct {
	NeedRestart []string `json:"need_restart"`
}

// exchange sends one request on a connection of its own.
func exchange(ctx context.Context, path, method, what string) ([]byte, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, "http://mlist"+what, nil)
	if err != nil {
		return nil, err
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNotRunning
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // its address means nothing to anybody
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("ask mlist on %s: no answer in time (%w)", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("ask mlist on %s: %w", path, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("answer on %s: %w", path, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, errors.New(strings.TrimSpace(string(answer)))
	}
	return answer, nil
}
