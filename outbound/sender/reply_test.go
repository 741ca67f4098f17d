package sender

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// rawConn is the server's side of a scripted connection.
type rawConn struct {
	c  net.Conn
	br *bufio.Reader
}

func (w *rawConn) say(s string) { _, _ = w.c.Write([]byte(s)) }

func (w *rawConn) line() string {
	s, err := w.br.ReadString('\n')
	if err != nil {
		return "DATA" // ends every loop of a script
	}
	return s
}

func (w *rawConn) halfClose() { _ = w.c.(*net.TCPConn).CloseWrite() }

// serveRaw serves one connection and tells when it is over.
func serveRaw(t testing.TB, f func(*rawConn)) (addr string, done chan struct{}) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done = make(chan struct{})
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		f(&rawConn{c, bufio.NewReader(c)})
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String(), done
}

func TestReadReply(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"one line", "250 2.1.5 Ok\r\n", "250 2.1.5 Ok"},
		{"no text", "250\r\n", "250"},
		{"LF only", "550 5.1.1 no\n", "550 5.1.1 no"},
		{"several lines with the enhanced code on each", "550-5.1.1 no\r\n550-5.1.1 such\r\n550 5.1.1 user\r\n", "550 5.1.1 no such user"},
		{"an enhanced code of another class is text", "550 2.1.1 odd\r\n", "550 2.1.1 odd"},
		{"something like an enhanced code is text", "550 5.1.1234 odd\r\n", "550 5.1.1234 odd"},
		{"an address literal is text", "550 5.1.2.3 odd\r\n", "550 5.1.2.3 odd"},
		{"an enhanced code alone", "450 4.2.1\r\n", "450 4.2.1"},
		{"control characters", "550 a\x00b\x1bc\xffd\u0085e\r\n", "550 a?b?c?d?e"},
		{"a tab after the code", "250\tok\r\n", "250 ok"},
		{"nothing", "", ""},
		{"an empty line", "\r\n", ""},
		{"letters", "25x ok\r\n", ""},
		{"a code of four digits", "2500 ok\r\n", ""},
		{"a code that no reply has", "650 ok\r\n", ""},
		{"unfinished", "250 ok", ""},
		{"unfinished lines", "250-ok\r\n", ""},
		{"codes that differ", "250-ok\r\n251 ok\r\n", ""},
		{"a line of 5 KB", "250 " + strings.Repeat("x", 5000) + "\r\n", ""},
		{"a line without end", strings.Repeat("2", 100_000), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := readReply(bufio.NewReaderSize(strings.NewReader(tt.in), 4*maxReplyLine), true, nil)
			if tt.want == "" {
				if err == nil {
					t.Fatalf("%v, want an error", r)
				}
				return
			}
			if err != nil || r.String() != tt.want {
				t.Fatalf("%q, %v; want %q", r, err, tt.want)
			}
		})
	}
}

func FuzzReadReply(f *testing.F) {
	for _, s := range []string{"250 ok\r\n", "550-5.1.1 a\r\n550 5.1.1 b\r\n", "354\n", "421 4.3.2 \xff\x00\r\n", "250-", "4.7.1", "250-\r\n250 4.9999.9\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		src := bytes.NewReader(in)
		br := bufio.NewReaderSize(src, 4*maxReplyLine)
		for {
			r, err := readReply(br, true, func([]byte) {})
			if err != nil {
				return
			}
			switch {
			case r.Code < 100 || r.Code > 599:
				t.Fatalf("code %d", r.Code)
			case len(r.Text) > 3*maxReplyText || !utf8.ValidString(r.Text) || strings.ContainsAny(r.Text, "\r\n\x00\u0085\u2028"):
				t.Fatalf("text %q", r.Text)
			case r.Enhanced[0] != 0 && int(r.Enhanced[0]) != r.Code/100, r.Enhanced[1] > 999, r.Enhanced[2] > 999:
				t.Fatalf("enhanced %v of %d", r.Enhanced, r.Code)
			}
		}
	})
}

// naiveDots is what dotter must do, said in another way.
func naiveDots(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", " ")
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	s = strings.ReplaceAll("\n"+s, "\n.", "\n..")[1:]
	return strings.ReplaceAll(s, "\n", "\r\n") + ".\r\n"
}

func TestDotsAgreeWithTheNaiveWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOf(rapid.RuneFrom([]rune("\r\n. xé"))).Draw(t, "content")
		cuts := rapid.SliceOfN(rapid.IntRange(1, 5), 1, 6).Draw(t, "block sizes")
		var d dotter
		var out []byte
		for i, rest := 0, []byte(s); len(rest) > 0; i++ {
			n := min(cuts[i%len(cuts)], len(rest))
			before := len(out)
			out = d.append(out, rest[:n])
			if len(out)-before > 2*n+1 {
				t.Fatalf("%d octets for %d", len(out)-before, n)
			}
			rest = rest[n:]
		}
		if got := string(d.finish(out)); got != naiveDots(s) {
			t.Fatalf("%q\n got %q\nwant %q", s, got, naiveDots(s))
		}
	})
}

func TestReadingPositiveRepliesAllocatesNothing(t *testing.T) {
	in := bytes.NewReader([]byte(strings.Repeat("250 2.1.5 Ok\r\n", 100)))
	br := bufio.NewReaderSize(in, 4*maxReplyLine)
	n := testing.AllocsPerRun(50, func() {
		in.Seek(0, 0)
		br.Reset(in)
		for range 100 {
			if _, err := readReply(br, false, nil); err != nil {
				t.Fatal(err)
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations for 100 replies", n)
	}
}

// What acceptances leaves is for readReply, which must find it at the start of a reply.
func TestAcceptances(t *testing.T) {
	long := "250 " + strings.Repeat("x", maxReplyLine) + "\r\n"
	for _, tt := range []struct {
		text string
		most int
		want int
		left string
	}{
		{"", 5, 0, ""},
		{"250 2.1.5 Ok\r\n251 User not local\r\n250 x\n", 5, 3, ""},
		{"250 Ok\r\n250 Ok\r\n354 go on\r\n", 2, 2, "354 go on\r\n"},
		{"250 Ok\r\n354 go on\r\n", 2, 1, "354 go on\r\n"},
		{"250 Ok\r\n450 4.2.1 no\r\n250 Ok\r\n", 3, 1, "450 4.2.1 no\r\n250 Ok\r\n"},
		{"250-one\r\n250 two\r\n250 Ok\r\n", 3, 0, "250-one\r\n250 two\r\n250 Ok\r\n"},
		{"250 Ok\r\n250 O", 3, 1, "250 O"},
		{"250\r\n250 Ok\r\n", 3, 0, "250\r\n250 Ok\r\n"},
		{"2x0 Ok\r\n", 3, 0, "2x0 Ok\r\n"},
		{"\n250 Ok\r\n", 3, 0, "\n250 Ok\r\n"},
		{long, 3, 0, long},
	} {
		br := bufio.NewReaderSize(strings.NewReader(tt.text), 4*maxReplyLine)
		_, _ = br.Peek(len(tt.text))
		if got := acceptances(br, tt.most); got != tt.want {
			t.Errorf("%.40q: %d, want %d", tt.text, got, tt.want)
		}
		rest := make([]byte, br.Buffered())
		_, _ = br.Read(rest)
		if string(rest) != tt.left {
			t.Errorf("%.40q: left %.40q, want %.40q", tt.text, rest, tt.left)
		}
	}
}

func BenchmarkDots(b *testing.B) {
	for _, line := range []string{"a line of mail that is about as long as most are, sixty-eight\r\n", "\r", "\n", ".\r\n"} {
		b.Run(fmt.Sprintf("%.4q", line), func(b *testing.B) {
			src := bytes.Repeat([]byte(line), blockSize/len(line))
			dst := make([]byte, 0, 2*blockSize+16)
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				var d dotter
				dst = d.append(dst[:0], src)
			}
		})
	}
}
