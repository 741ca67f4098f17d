package lmtpd

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"
)

// A message in which the lines end in anything but CRLF is refused, the connection ends,
// and the second message hidden in it is never taken.
func TestSmuggling(t *testing.T) {
	for _, end := range []string{
		"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\r\n.\r\r\n", "\r\r\n.\r\n", "\r\n.\n\r\n",
		"\n\r\n.\r\n\n.\r\n", "\r\n\n.\r\n", "\n.\r", "\r.\n", "\r\n.\rx\r\n", "x\ny\r\n.\r\n", "x\ry\r\n.\r\n", "\r\n.\x00\n",
	} {
		for _, when := range []string{"in one write", "octet by octet"} {
			t.Run(fmt.Sprintf("%q %s", end, when), func(t *testing.T) {
				w := start(t, nil, nil)
				p := w.greet(t)
				p.send("MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\nRCPT TO:<ops@l.test>\r\nDATA\r\n")
				p.want("250", "250", "250", "354")
				text := "Subject: x\r\n\r\nouter" + end + "MAIL FROM:<eve@net.test>\r\nRCPT TO:<dev@l.test>\r\nDATA\r\ninner\r\n.\r\n"
				if when == "in one write" {
					p.send(text)
				} else {
					for i := range len(text) {
						if _, err := p.Write([]byte{text[i]}); err != nil {
							break // the connection may end before all is sent
						}
					}
				}
				p.want("554 5.6.0", "554 5.6.0", "EOF")
				p.Close()
				w.stopAndWait(t)
				if n := len(w.spool.all()); n != 0 {
					t.Errorf("%d entries: %+v", n, w.spool.all())
				}
			})
		}
	}
}

// The start of the message came in one packet with DATA, before the server said 354.
func TestSmugglingSentAhead(t *testing.T) {
	w := start(t, nil, nil)
	p := w.greet(t)
	p.send("MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\nDATA\r\nSubject: x\r\n\r\nouter\n.\r\nMAIL FROM:<eve@net.test>\r\nRCPT TO:<dev@l.test>\r\nDATA\r\ninner\r\n.\r\n")
	p.want("250", "250", "354", "554 5.6.0", "EOF")
	if n := len(w.spool.all()); n != 0 {
		t.Errorf("%d entries", n)
	}
}

func TestLongLines(t *testing.T) {
	big := func(c *Config) { c.MaxMessageSize = maxDataLine + 1<<10 }
	for n, want := range map[int]string{maxDataLine: "250", maxDataLine + 1: "554 5.6.0"} {
		w := start(t, big, nil)
		p := w.greet(t)
		p.send("MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\nDATA\r\nSubject: x\r\n\r\n" + strings.Repeat("x", n) + "\r\n.\r\n")
		p.want("250", "250", "354", want)
		w.stopAndWait(t)
	}
}

// A first line that is over the limit of commands, sent ahead with DATA, is none.
func TestLongLineSentAhead(t *testing.T) {
	w := start(t, func(c *Config) { c.MaxMessageSize = 1 << 20 }, nil)
	p := w.greet(t)
	p.send("MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\nDATA\r\n" + strings.Repeat("x", 100_000) + "\r\n.\r\n")
	p.want("250", "250", "354", "250")
}

func TestIdle(t *testing.T) {
	quick := func(c *Config) { c.IdleTimeout = 50 * time.Millisecond }
	t.Run("a silent peer is told and left", func(t *testing.T) {
		w := start(t, quick, nil)
		p := w.greet(t)
		p.want("421 4.4.2", "EOF")
	})
	t.Run("one that stops in the middle of a message gets a 4xx for it", func(t *testing.T) {
		w := start(t, quick, nil)
		p := w.greet(t)
		p.send("MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\nDATA\r\nSubject: x\r\n\r\nhalf")
		p.want("250", "250", "354", "451 4.4.2", "EOF")
		w.stopAndWait(t)
		if n := len(w.spool.all()); n != 0 {
			t.Errorf("%d entries", n)
		}
	})
	t.Run("one that dribbles a command is left", func(t *testing.T) {
		w := start(t, quick, nil)
		p := w.greet(t)
		for {
			if _, err := p.Write([]byte("x")); err != nil {
				break
			}
			if err := p.SetReadDeadline(time.Now().Add(5 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if line, err := p.reply(); err == nil {
				if !strings.HasPrefix(line, "421 4.4.2") {
					t.Errorf("reply %q", line)
				}
				break
			}
		}
	})
	t.Run("one that is slow but sends goes on, within the bound of the whole message", func(t *testing.T) {
		w := start(t, func(c *Config) { c.IdleTimeout, c.DataTimeout = time.Second, 1500*time.Millisecond }, nil)
		p := w.greet(t)
		p.send("MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\nDATA\r\n")
		p.want("250", "250", "354")
		begun := time.Now()
		for {
			if _, err := p.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if err := p.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if line, err := p.reply(); err == nil {
				if !strings.HasPrefix(line, "451 4.4.2") || time.Since(begun) < 1490*time.Millisecond {
					t.Errorf("reply %q after %v", line, time.Since(begun))
				}
				break
			}
		}
	})
}

func TestPeerGoneInData(t *testing.T) {
	w := start(t, nil, nil)
	p := w.greet(t)
	p.send("MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\nDATA\r\nSubject: x\r\n\r\ntext\r\n.")
	p.want("250", "250", "354")
	p.Close()
	wait(t, "the connection to be forgotten", func() bool { return w.conns.Len() == 0 })
	if n := len(w.spool.all()); n != 0 || w.spool.open() != 0 {
		t.Errorf("%d entries, %d drafts", n, w.spool.open())
	}
}

func TestTooManyConnections(t *testing.T) {
	w := start(t, func(c *Config) { c.MaxConnections = 2 }, nil)
	a, _ := w.greet(t), w.greet(t)
	w.dial(t).want("421 4.3.2", "EOF")
	a.send("QUIT\r\n")
	a.want("221", "EOF")
	wait(t, "a place", func() bool { return w.conns.Len() == 1 })
	w.greet(t)
}

func TestTooManyErrors(t *testing.T) {
	w := start(t, nil, nil)
	p := w.greet(t)
	p.send("MAIL FROM:<ann@net.test>\r\n")
	p.want("250")
	limit := testConfig().MaxRecipients + tolerance
	for i := range limit + 2 {
		if _, err := io.WriteString(p, "RCPT TO:<nobody@l.test>\r\n"); err != nil {
			break
		}
		line, err := p.reply()
		if err != nil || strings.HasPrefix(line, "421 4.7.0") {
			if i < limit {
				t.Errorf("left after %d errors", i)
			}
			return
		}
	}
	t.Errorf("more than %d errors in a row were borne", limit)
}

// Whatever random octets a peer sends, the daemon answers on, and takes no message
// whose dialogue was not complete.
func FuzzSession(f *testing.F) {
	f.Add([]byte("MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\n"), uint8(0))
	f.Add([]byte("MAIL FROM:<>\r\nRCPT TO:<dev-bounces@l.test>\r\nBDAT 2 LAST\r\nxx"), uint8(0))
	f.Add([]byte("MAIL FROM:<> SIZE=99999999999 BODY=8BITMIME\r\nAUTH PLAIN\r\n*\r\nSTARTTLS\r\n"), uint8(0))
	f.Add([]byte("x\n.\n"), uint8(1))
	f.Add([]byte(":\r\n\r\n..\r\n"), uint8(1))
	w := start(f, nil, nil)
	address := w.Addrs()[0].String()
	f.Fuzz(func(t *testing.T, in []byte, where uint8) {
		before := len(w.spool.all())
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		prefix := [...]string{"LHLO x\r\n", "LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<dev@l.test>\r\nDATA\r\n", ""}[where%3]
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(c, prefix)
		_, _ = c.Write(in)
		_ = c.(*net.TCPConn).CloseWrite()
		out, _ := io.ReadAll(c)
		if strings.Contains(string(out), "421 4.0.0") {
			t.Fatalf("a panic: %q", out)
		}
		taken := len(w.spool.all()) - before
		if dots := strings.Count("\r\n"+prefix+string(in), "\r\n.\r\n"); taken > dots {
			t.Fatalf("%d messages taken of %q", taken, in)
		}
	})
}

// Many peers at once, each sending good messages in random pieces.
func TestConcurrentPieces(t *testing.T) {
	w := start(t, nil, nil)
	const peers, posts = 8, 20
	ended := make(chan error, peers)
	for n := range peers {
		p := w.greet(t)
		go func() {
			rnd := rand.New(rand.NewPCG(1, uint64(n)))
			for range posts {
				text := "MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\nDATA\r\n" + hello + ".\r\n"
				for text != "" {
					k := min(1+rnd.IntN(20), len(text))
					if _, err := io.WriteString(p, text[:k]); err != nil {
						ended <- err
						return
					}
					text = text[k:]
				}
				for _, want := range []string{"250", "250", "354", "250"} {
					if got, err := p.reply(); err != nil || !strings.HasPrefix(got, want) {
						ended <- fmt.Errorf("reply %q, %v", got, err)
						return
					}
				}
			}
			ended <- nil
		}()
	}
	for range peers {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if n := len(w.spool.all()); n != peers*posts {
		t.Errorf("%d entries, want %d", n, peers*posts)
	}
}
