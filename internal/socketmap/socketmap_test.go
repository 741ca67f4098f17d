package socketmap

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/store"
)

// lists is a store that has these lists, or none that answers.
type lists map[string]bool

func (l lists) Resolve(ctx context.Context, a address.Address) (store.Target, error) {
	if l == nil {
		return store.Target{}, errors.New("the disk is gone")
	}
	for _, c := range address.Candidates(a) {
		if l[c.List.String()] {
			return store.Target{List: c.List, Role: c.Role}, nil
		}
	}
	return store.Target{}, store.ErrNotFound
}

// running starts a daemon, and returns how to connect to it.
func running(t *testing.T, r store.Resolver, most int) (dial func() net.Conn, stop func()) {
	t.Helper()
	d := New(Config{Listen: []string{"tcp:127.0.0.1:0"}, MaxConnections: most}, r, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	select {
	case <-d.Ready():
	case err := <-ended:
		t.Fatal(err)
	}
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		ended <- nil
	}
	t.Cleanup(stop)
	return func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", d.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(time.Minute))
		t.Cleanup(func() { c.Close() })
		return c
	}, stop
}

func TestAnAddressIsAListsOrNot(t *testing.T) {
	dial, _ := running(t, lists{"dev@lists.test": true}, 2)
	c := dial()
	in := bufio.NewReader(c)
	for _, tt := range []struct{ ask, want string }{
		{"recipients dev@lists.test", "OK list"},
		{"recipients dev-bounces+ann=net.test@lists.test", "OK list"},
		{"recipients dev-subscribe@lists.test", "OK list"},
		{"recipients nobody@lists.test", "NOTFOUND "},
		{"recipients @lists.test", "NOTFOUND "},
		{"recipients lists.test", "NOTFOUND "},
		{"recipients \xff\x00@lists.test", "NOTFOUND "},
		{"recipients ", "NOTFOUND "},
		{"transport dev@lists.test", "PERM there is one map here: recipients"},
		{"recipients", "PERM there is one map here: recipients"},
		{"", "PERM there is one map here: recipients"},
	} {
		if err := write(c, tt.ask); err != nil {
			t.Fatal(err)
		}
		if got, err := read(in); err != nil || got != tt.want {
			t.Errorf("%q: %q, %v; want %q", tt.ask, got, err, tt.want)
		}
	}
}

func TestAStoreThatFailsIsNoUnknownList(t *testing.T) {
	dial, _ := running(t, lists(nil), 2)
	c := dial()
	if err := write(c, "recipients dev@lists.test"); err != nil {
		t.Fatal(err)
	}
	if got, err := read(bufio.NewReader(c)); err != nil || !strings.HasPrefix(got, "TEMP ") {
		t.Errorf("%q, %v", got, err)
	}
}

func TestOneConnectionTooManyIsClosedAndTheOthersGoOn(t *testing.T) {
	dial, _ := running(t, lists{}, 1)
	first := dial()
	in := bufio.NewReader(first)
	asks := func() {
		t.Helper()
		if err := write(first, "recipients dev@lists.test"); err != nil {
			t.Fatal(err)
		}
		if got, err := read(in); err != nil || got != "NOTFOUND " {
			t.Fatalf("%q, %v", got, err)
		}
	}
	asks() // it is admitted now
	second := dial()
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("a second connection is served")
	}
	asks()
}

func TestStoppingEndsConnections(t *testing.T) {
	dial, stop := running(t, lists{}, 4)
	c := dial()
	stop()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("an idle connection outlives the daemon")
	}
}

func TestAPeerThatSpeaksSomethingElseIsCutOff(t *testing.T) {
	dial, _ := running(t, lists{}, 16)
	for _, say := range []string{"GET / HTTP/1.0\r\n\r\n", "99999999999999999999:", "2000:", "3:abcd", ":", "-1:", "05:hello,"} {
		c := dial()
		if _, err := io.WriteString(c, say); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); len(b) > 0 {
			t.Errorf("%q is answered: %q, %v", say, b, err)
		}
	}
}

func TestNetstrings(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		fails    error
	}{
		{"5:hello,", "hello", nil},
		{"0:,", "", nil},
		{"", "", io.EOF},
		{"5", "", io.ErrUnexpectedEOF},
		{"5:hel", "", io.ErrUnexpectedEOF},
		{"5:hello", "", io.ErrUnexpectedEOF},
		{"5:hello;", "", errProtocol},
		{"00:,", "", errProtocol},
		{"1025:", "", errProtocol},
		{"x", "", errProtocol},
	} {
		got, err := read(bufio.NewReader(strings.NewReader(tt.in)))
		if got != tt.want || !errors.Is(err, tt.fails) {
			t.Errorf("%q: %q, %v; want %q, %v", tt.in, got, err, tt.want, tt.fails)
		}
	}
}

// What a peer sends is answered, request by request, or ends the connection; what is read
// and written again is the same.
func FuzzRead(f *testing.F) {
	for _, s := range []string{"25:recipients dev@lists.test,", "0:,0:,", "5:hello", "1024:", "10:recipients,3:a b,", "01:a,", "9999999999999999999999:"} {
		f.Add([]byte(s))
	}
	d := New(Config{}, lists{"dev@lists.test": true}, slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		for {
			s, err := read(r)
			if err != nil {
				return
			}
			if again, err := read(bufio.NewReader(strings.NewReader(fmt.Sprintf("%d:%s,", len(s), s)))); err != nil || again != s {
				t.Fatalf("%q comes back as %q, %v", s, again, err)
			}
			word, _, ok := strings.Cut(d.answer(s), " ")
			if !ok || word != "OK" && word != "NOTFOUND" && word != "PERM" {
				t.Fatalf("%q is answered %q", s, d.answer(s))
			}
		}
	})
}
