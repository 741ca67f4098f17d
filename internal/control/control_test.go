package control

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "control.sock")
}

// serve answers on path until the test, or the returned function, ends it.
func serve(t *testing.T, path string, do Operations) (stop func()) {
	t.Helper()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, do) }()
	done := false
	stop = func() {
		if done {
			return
		}
		done = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("serve does not end")
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestStatusAndReloadAreAnswered(t *testing.T) {
	path := socket(t)
	var refuse error
	serve(t, path, Operations{
		Status: func() Status { return Status{PID: 7, Plugins: []Plugin{{Name: "standard", P99: 2.5}}} },
		Reload: func() ([]string, error) { return []string{"store.url"}, refuse },
	})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
	s, err := Ask(t.Context(), path)
	if err != nil || s.PID != 7 || len(s.Plugins) != 1 || s.Plugins[0].P99 != 2.5 {
		t.Errorf("status: %+v, %v", s, err)
	}
	if keys, err := Reload(t.Context(), path); err != nil || len(keys) != 1 || keys[0] != "store.url" {
		t.Errorf("reload: %v, %v", keys, err)
	}
	refuse = errors.New("x.toml:1: nonsense: no such key\nx.toml:2: more")
	if _, err := Reload(t.Context(), path); err == nil || err.Error() != refuse.Error() {
		t.Errorf("refused reload: %v", err)
	}
}

func TestWhereNobodyAnswersMlistIsNotRunning(t *testing.T) {
	path := socket(t)
	if _, err := Ask(t.Context(), path); !errors.Is(err, ErrNotRunning) {
		t.Errorf("without a socket: %v", err)
	}
	leave(t, path)
	if _, err := Reload(t.Context(), path); !errors.Is(err, ErrNotRunning) {
		t.Errorf("with a stale socket: %v", err)
	}
}

// leave leaves a socket behind, as a process does that is killed.
func leave(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
}

func TestASocketIsTakenOverOnlyWhenNobodyAnswers(t *testing.T) {
	path := socket(t)
	leave(t, path)
	stop := serve(t, path, Operations{Status: func() Status { return Status{} }})
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another program answers") {
		t.Errorf("beside one that answers: %v", err)
	}
	stop()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays behind: %v", err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil {
		t.Error("a file that is no socket was taken over")
	}
	if _, err := Listen(filepath.Join(filepath.Dir(path), "none", "x.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the directory: %v", err)
	}
}

func TestAClientThatSaysNothingDoesNotKeepTheServer(t *testing.T) {
	path := socket(t)
	stop := serve(t, path, Operations{Status: func() Status { return Status{} }})
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /status HT")); err != nil {
		t.Fatal(err)
	}
	stop() // fails the test if it has to wait
}

func TestALargeRequestIsRefused(t *testing.T) {
	path := socket(t)
	serve(t, path, Operations{Status: func() Status { return Status{} }})
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	// It may close before it has read all: what it answers is what counts.
	_, _ = conn.Write([]byte("GET /status HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 1<<15) + "\r\n\r\n"))
	answer := make([]byte, 100)
	n, err := conn.Read(answer)
	if !strings.Contains(string(answer[:n]), " 431 ") {
		t.Errorf("%q, %v", answer[:n], err)
	}
}
