package sink

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, opts Options) *Server {
	t.Helper()
	s, err := Listen("127.0.0.1:0", opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestAMailIsKeptAsItCame(t *testing.T) {
	s := start(t, Options{Record: Memory, Bodies: true})
	text := "Message-ID: <1@x.test>\r\nSubject: hi\r\n\r\n.dots\r\n..more\r\n\r\nend\r\n"
	if err := smtp.SendMail(s.Addr().String(), nil, "a@x.test", []string{"b@x.test", "c@x.test"}, []byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	m := s.Transactions()
	if len(m) != 1 || m[0].Sender != "a@x.test" || len(m[0].Recipients) != 2 || m[0].MessageID != "1@x.test" || string(m[0].Body) != text || !m[0].Confirmed {
		t.Errorf("kept %+v", m)
	}
}

func TestAReplyInFlightIsNotConfirmed(t *testing.T) {
	s := start(t, Options{Record: Memory})
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "EHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\nSubject: x\r\n\r\n.\r\n")
	if err := s.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if s.Transactions()[0].Confirmed {
		t.Error("confirmed before any other command")
	}
	io.WriteString(c, "RSET\r\n")
	for deadline := time.Now().Add(5 * time.Second); !s.Transactions()[0].Confirmed; {
		if time.Now().After(deadline) {
			t.Fatal("not confirmed after RSET")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestFaultsComeAtTheirRate(t *testing.T) {
	s := start(t, Options{Refuse: []string{"no@x.test"}, Faults: Faults{Seed: 1, Rcpt4xx: 0.5}})
	c, err := smtp.Dial(s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail("a@x.test"); err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt("no@x.test"); err == nil || !strings.Contains(err.Error(), "550") {
		t.Errorf("refused recipient: %v", err)
	}
	failed := 0
	for i := range 200 {
		if c.Rcpt(fmt.Sprintf("b%d@x.test", i)) != nil {
			failed++
		}
	}
	if failed < 60 || failed > 140 || s.Stats().Faults != int64(failed) {
		t.Errorf("%d of 200 failed; the sink counted %d", failed, s.Stats().Faults)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	s := start(t, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if s.Wait(ctx, 1) == nil {
		t.Error("Wait succeeded without a delivery")
	}
}

// What File has written is what Memory keeps, odd addresses included.
func TestFileSaysWhatMemorySays(t *testing.T) {
	path := t.TempDir() + "/record"
	text := "MAIL FROM:<>\r\nRCPT TO:<\"a b%\"@x.test>\r\nRCPT TO:<->\r\nDATA\r\nSubject: x\r\nMessage-ID:\r\n <1@x.test>\r\n\r\n..\r\n.\r\n" +
		"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n.\r\n"
	var got [2][]Transaction
	for i, opts := range []Options{{Record: Memory}, {Record: File, Path: path}} {
		s := start(t, opts)
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		// One transaction, then an answer to NOOP confirms it; the other stays in flight.
		for j, part := range strings.SplitAfter(text, "\r\n.\r\n") {
			if part == "" {
				continue
			}
			io.WriteString(c, part)
			if err := s.Wait(t.Context(), int64(2+j)); err != nil {
				t.Fatal(err)
			}
		}
		if i == 0 {
			got[i] = s.Transactions()
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for tx, err := range Read(path) {
		if err != nil {
			t.Fatal(err)
		}
		got[1] = append(got[1], tx)
	}
	for _, list := range got {
		if len(list) != 2 || !list[0].Confirmed || list[1].Confirmed || list[0].MessageID != "1@x.test" || list[0].Sender != "" ||
			strings.Join(list[0].Recipients, "|") != `"a b%"@x.test|-` || list[1].Sender != "a@x.test" || list[0].Size != int64(len("Subject: x\r\nMessage-ID:\r\n <1@x.test>\r\n\r\n.\r\n")) ||
			list[0].Hash == list[1].Hash {
			t.Errorf("kept %+v", list)
		}
	}
	if got[0][0].Hash != got[1][0].Hash {
		t.Error("hashes differ")
	}
}

// However the octets are cut into packets, the message is the same.
func TestDotsInPieces(t *testing.T) {
	content := "x\r\n.\r\r\n..\r\n\r\n.x\r.\n.\r\n.."
	stuffed := strings.ReplaceAll("\r\n"+content, "\r\n.", "\r\n..")[2:] + "\r\n.\r\n"
	for size := 1; size < 12; size++ {
		s := start(t, Options{Record: Memory, Bodies: true})
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		for rest := "MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n" + stuffed; rest != ""; {
			n := min(size, len(rest))
			io.WriteString(c, rest[:n])
			rest = rest[n:]
		}
		if err := s.Wait(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if got := string(s.Transactions()[0].Body); got != content+"\r\n" || s.Transactions()[0].Size != int64(len(got)) {
			t.Errorf("in pieces of %d: %q, want %q", size, got, content+"\r\n")
		}
		c.Close()
		s.Close()
	}
}

// A connection that is cut before the final reply was given a mail that counts.
func TestDropBeforeEnd(t *testing.T) {
	s := start(t, Options{Record: Memory, Faults: Faults{DropBeforeEnd: 1}})
	err := smtp.SendMail(s.Addr().String(), nil, "a@x.test", []string{"b@x.test"}, []byte("Subject: x\r\n\r\n"))
	if got := s.Transactions(); err == nil || len(got) != 1 || got[0].Confirmed || s.Stats().Faults != 1 {
		t.Errorf("%v; kept %+v", err, got)
	}
}

func BenchmarkRecipients(b *testing.B) {
	for _, mode := range []Mode{Count, Memory} {
		b.Run([]string{"count", "memory"}[mode], func(b *testing.B) {
			s, err := Listen("127.0.0.1:0", Options{Record: mode})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			c, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			go io.Copy(io.Discard, c) // ends with c
			var tx strings.Builder
			tx.WriteString("MAIL FROM:<a@x.test>\r\n")
			for i := range 1000 {
				fmt.Fprintf(&tx, "RCPT TO:<member%d@net%d.test>\r\n", i, i%7)
			}
			tx.WriteString("DATA\r\nSubject: x\r\n\r\n" + strings.Repeat("text of a message\r\n", 200) + ".\r\n")
			for b.Loop() {
				if _, err := io.WriteString(c, tx.String()); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Wait(b.Context(), int64(b.N)*1000); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "recipients/s")
		})
	}
}
