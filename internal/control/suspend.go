package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// Suspend has the mlist behind the socket let go of spool and store until resume is called,
// or this process ends, however it does.
func Suspend(ctx context.Context, path string) (resume func(), err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("ask mlist on %s: %w", path, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })
	defer stop()
	if err := askToSuspend(conn); err != nil {
		conn.Close()
		return nil, errors.Join(fmt.Errorf("ask mlist on %s: %w", path, err), ctx.Err())
	}
	return func() { conn.Close() }, nil
}

func askToSuspend(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(SuspendTime)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "POST /suspend HTTP/1.1\r\nHost: mlist\r\nContent-Length: 0\r\n\r\n"); err != nil {
		return err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		why, _ := io.ReadAll(io.LimitReader(res.Body, maxRequest)) // as far as it came
		return fmt.Errorf("%s: %s", res.Status, strings.TrimSpace(string(why)))
	}
	return conn.SetDeadline(time.Time{})
}

// suspend hands the connection over.
func (do Operations) suspend(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		conn.Close()
		return
	}
	do.Suspend(conn)
}

// Suspended tells who asked that spool and store are let go of, waits until they are to be taken
// up again, or ctx ends, and closes the connection.
func Suspended(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })
	defer stop()
	defer conn.Close()
	if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"); err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, conn) // whatever ends it
}

// Refuse answers that spool and store are not let go of.
func Refuse(conn net.Conn, why string) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(requestTime))
	fmt.Fprintf(conn, "HTTP/1.1 409 Conflict\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(why), why)
}
