package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/test/postgres"
)

// silentServer takes connections and never says a word.
func silentServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String() // the kernel takes them
}

func prepared(t *testing.T, text string) *pgx.ConnConfig {
	t.Helper()
	c, err := pgx.ParseConfig(text)
	if err == nil {
		err = Prepare(c, text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestASilentServerIsAnError(t *testing.T) {
	addr := silentServer(t)
	c, err := Within(prepared(t, "postgres://x@"+addr+"/x"), 50*time.Millisecond).DialFunc(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	one := make([]byte, 1)
	if _, err := c.Read(one); !errors.Is(err, ErrSilent) || timedOut(err) {
		t.Errorf("a server that says nothing: %v", err)
	}
	// A deadline of who waits is theirs, and the driver sees it as one.
	if err := c.SetDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(one); !timedOut(err) || errors.Is(err, ErrSilent) {
		t.Errorf("after the deadline of who waits: %v", err)
	}
	if err := c.SetDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(one); !errors.Is(err, ErrSilent) {
		t.Errorf("long before the deadline of who waits: %v", err)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	full := make([]byte, 1<<20)
	for err == nil { // until nothing more fits between here and there
		_, err = c.Write(full)
	}
	if !errors.Is(err, ErrSilent) {
		t.Errorf("a server that takes nothing: %v", err)
	}
}

// Of several servers the one that does not answer is waited for once in a while.
func TestAServerThatDoesNotAnswerIsNotWaitedFor(t *testing.T) {
	one, two := silentServer(t), silentServer(t)
	c := prepared(t, fmt.Sprintf("postgres://x@%s,%s/x", one, two))
	d := &dialer{many: len(hosts(c)) > 1}
	if !d.many {
		t.Fatal("two servers are one")
	}
	read := func() error {
		conn, err := d.dial(t.Context(), "tcp", one)
		if err != nil {
			return err
		}
		defer conn.Close()
		if !d.silent(one) {
			if err := conn.SetDeadline(time.Now().Add(2 * hurry)); err != nil {
				return err
			}
		}
		_, err = conn.Read(make([]byte, 1))
		return err
	}
	if err := read(); !timedOut(err) {
		t.Errorf("the first time: %v", err)
	}
	if !d.silent(one) || d.silent(two) {
		t.Error("which one does not answer is not known")
	}
	if err := read(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the second time, without a deadline: %v", err)
	}
	d.mu.Lock()
	until := d.until[one]
	d.mu.Unlock()
	if time.Until(until) > lately {
		t.Error("who was not given long is blamed anew")
	}
	d.heard(one, true)
	if d.silent(one) {
		t.Error("it answers and is not waited for")
	}
}

// failing is a connection whose reads fail.
type failing struct {
	net.Conn
	err error
}

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// When the kernel gives a connection up, the others to the machine end as well, and the driver
// is not told of a time-out, after which it would go on with the connection.
func TestAMachineThatIsLost(t *testing.T) {
	one, two := silentServer(t), silentServer(t)
	d := &dialer{many: true}
	var links []*link
	for _, addr := range []string{one, one, two} {
		c, err := d.dial(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		links = append(links, c.(*link))
	}
	links[0].first = false
	links[0].Conn = failing{links[0].Conn, &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ETIMEDOUT)}}
	_, err := links[0].Read(make([]byte, 1))
	if timeout := net.Error(nil); !errors.Is(err, ErrSilent) || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("a connection that was given up: %v", err)
	}
	for i, closed := range []bool{true, true, false} {
		if err := links[i].SetDeadline(time.Now()); errors.Is(err, net.ErrClosed) != closed {
			t.Errorf("connection %d: %v", i, err)
		}
		if err := links[i].Close(); err != nil {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	if !d.silent(one) || d.silent(two) {
		t.Error("which machine is lost is not known")
	}
}

func TestWhatTheURLSaysOfSocketsHolds(t *testing.T) {
	addr := silentServer(t)
	for _, tt := range []struct {
		more             string
		user, alive, idl int
	}{
		{"", int(lost.Milliseconds()), 1, int(keepAliveIdle / time.Second)},
		{"?tcp_user_timeout=1234&keepalives_idle=7", 1234, 1, 7},
		{"?keepalives=0", int(lost.Milliseconds()), 0, 0},
	} {
		c := prepared(t, "postgres://x@"+addr+"/x"+tt.more)
		for name := range c.RuntimeParams {
			if strings.HasPrefix(name, "keepalives") {
				t.Errorf("%s goes to the server", name)
			}
		}
		conn, err := c.DialFunc(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := conn.(*link).Conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		get := func(level, option int) (n int) {
			if cerr := raw.Control(func(fd uintptr) { n, err = unix.GetsockoptInt(int(fd), level, option) }); err != nil || cerr != nil {
				t.Fatal(err, cerr)
			}
			return n
		}
		if n := get(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); n != tt.user {
			t.Errorf("%s: TCP_USER_TIMEOUT is %d", tt.more, n)
		}
		if n := get(unix.SOL_SOCKET, unix.SO_KEEPALIVE); n != tt.alive {
			t.Errorf("%s: SO_KEEPALIVE is %d", tt.more, n)
		}
		if n := get(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE); tt.alive > 0 && n != tt.idl {
			t.Errorf("%s: TCP_KEEPIDLE is %d", tt.more, n)
		}
		conn.Close()
	}
	c, err := pgx.ParseConfig("postgres://x@h/x?keepalives_idle=soon")
	if err != nil {
		t.Fatal(err)
	}
	if err := Prepare(c, ""); err == nil {
		t.Error("keepalives_idle=soon was taken")
	}
}

// A server that takes writes no more loses its connections, and gets none until it does again.
func TestAServerThatBecomesReadOnly(t *testing.T) {
	server := postgres.StartFor(t, postgres.Options{}, "SERVERS THAT TAKE NO WRITES ARE NOT TESTED")
	text := server.URL("public")
	config := Within(prepared(t, text), Silence)
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { conn.Close(context.WithoutCancel(t.Context())) }()
	write := func() error {
		_, err := conn.Exec(t.Context(), `INSERT INTO x VALUES (1)`)
		return err
	}
	if err := server.Run(t.Context(), `CREATE TABLE x (n INT)`); err != nil {
		t.Fatal(err)
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	if err := server.Set(t.Context(), "default_transaction_read_only", "on"); err != nil {
		t.Fatal(err)
	}
	for err = write(); err == nil; err = write() { // the server tells its processes soon
	}
	if !conn.IsClosed() {
		t.Errorf("the connection stays after %v", err)
	}
	if other, err := pgx.ConnectConfig(t.Context(), config); err == nil {
		t.Error("a server that takes no writes got a connection")
		other.Close(t.Context())
	}
	if reader, err := pgx.ConnectConfig(t.Context(), prepared(t, text+"&target_session_attrs=any")); err != nil {
		t.Errorf("one for reading: %v", err)
	} else {
		reader.Close(t.Context())
	}
	if err := server.Set(t.Context(), "default_transaction_read_only", "off"); err != nil {
		t.Fatal(err)
	}
	for tries := 0; ; tries++ {
		if conn, err = pgx.ConnectConfig(t.Context(), config); err == nil {
			break
		}
		if tries == 100 {
			t.Fatal(err)
		}
	}
	if err := write(); err != nil {
		t.Error(err)
	}
}

func TestPasswordsAreNotShown(t *testing.T) {
	for _, text := range []string{"postgres://u:secret@h/d", "postgres://u@h/d?password=secret", "postgres://u@h/d?sslpassword=secret", "postgres://u:secret@[/d"} {
		if shown := WithoutPassword(text); strings.Contains(shown, "secret") {
			t.Errorf("%s is shown as %s", text, shown)
		}
	}
}
