package sender

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/outbound/internal/fakemta"
)

func config(addr string) Config {
	return Config{Network: "tcp", Address: addr, Hostname: "lists.test", Timeout: 5 * time.Second}
}

func dialed(t testing.TB, cfg Config) *Conn {
	t.Helper()
	c, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func message(recipients ...string) *Transaction {
	const content = "Subject: hello\r\n\r\n.dots\r\n"
	return &Transaction{From: "dev-bounces@lists.test", Recipients: recipients, Content: strings.NewReader(content), Size: int64(len(content))}
}

// outcomes is the result in short: A, D, R, C, U for each recipient, with ! where the
// reply was to the message.
func outcomes(r Result) string {
	var b strings.Builder
	for _, x := range r.Recipients {
		b.WriteString(strings.ToUpper(x.Outcome.String()[:1]))
		if x.Message {
			b.WriteByte('!')
		}
	}
	return b.String()
}

func TestEveryReply(t *testing.T) {
	rcpt := func(kv ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]+"@m.test"] = kv[i+1]
		}
		return m
	}
	long := strings.Repeat("x", 5000)
	tests := []struct {
		name   string
		script fakemta.Script
		want   string // outcomes of a, b and c
		kind   Kind   // of the error, if any
		usable bool   // for a second transaction, which must then succeed
		only   string // "pipelined" or "in turn" where the ways differ
	}{
		{"all are accepted", fakemta.Script{}, "AAA", 0, true, ""},
		{"MAIL gets 4xx", fakemta.Script{Mail: "452 4.3.1 disk full"}, "D!D!D!", 0, true, ""},
		{"MAIL gets 5xx", fakemta.Script{Mail: "550 5.7.1 no"}, "R!R!R!", 0, true, ""},
		{"MAIL gets 5xx without text", fakemta.Script{Mail: "550"}, "R!R!R!", 0, true, ""},
		{"MAIL asks for a login", fakemta.Script{Mail: "530 5.7.0 authentication required"}, "UUU", Unavailable, false, ""},
		{"MAIL gets 421", fakemta.Script{Mail: "421 4.3.2 going down"}, "UUU", Unavailable, false, ""},
		{"MAIL gets 354", fakemta.Script{Mail: "354 what"}, "UUU", Lost, false, ""},
		{"MAIL gets garbage", fakemta.Script{Mail: "hello there"}, "UUU", Lost, false, ""},
		{"MAIL gets an endless line", fakemta.Script{Mail: "250 " + long}, "UUU", Lost, false, ""},
		{"MAIL gets an endless reply", fakemta.Script{Mail: strings.Repeat("250-x\r\n", 1100) + "250 x"}, "UUU", Lost, false, ""},
		{"MAIL gets lines that disagree", fakemta.Script{Mail: "250-x\r\n550 x"}, "UUU", Lost, false, ""},
		{"the connection drops at MAIL", fakemta.Script{Mail: fakemta.Drop}, "UUU", Lost, false, ""},
		{"one RCPT gets 4xx", fakemta.Script{Rcpt: rcpt("b", "450 4.2.1 later")}, "ADA", 0, true, ""},
		{"one RCPT gets 5xx in two lines", fakemta.Script{Rcpt: rcpt("b", "550-5.1.1 no\r\n550 5.1.1 such user")}, "ARA", 0, true, ""},
		{"a full mailbox is no full transaction", fakemta.Script{Rcpt: rcpt("b", "452 4.2.2 over quota")}, "ADA", 0, true, ""},
		{"an old server's 552 is a full transaction", fakemta.Script{Rcpt: rcpt("b", "552 too many", "c", "552 too many")}, "ACC", 0, true, ""},
		{"552 for a size is a refusal", fakemta.Script{Rcpt: rcpt("b", "552 5.3.4 too big")}, "ARA", 0, true, ""},
		{"a full transaction carries the rest over", fakemta.Script{MaxRecipients: 2}, "AAC", 0, true, ""},
		{"452 at the first RCPT is a deferral", fakemta.Script{Rcpt: rcpt("a", "452 4.5.3 too many")}, "DAA", 0, true, ""},
		{"all RCPT get 5xx", fakemta.Script{Rcpt: rcpt("a", "550 no", "b", "551 no", "c", "553 no")}, "RRR", 0, true, ""},
		{"all RCPT get 4xx and 5xx", fakemta.Script{Rcpt: rcpt("a", "450 no", "b", "550 no", "c", "450 no")}, "DRD", 0, true, ""},
		{"all RCPT fail and DATA still gets 354", fakemta.Script{Rcpt: rcpt("a", "550 no", "b", "550 no", "c", "450 no"), Empty: "250 fine"}, "RRD", 0, true, ""},
		{"RCPT gets 421 after a refusal", fakemta.Script{Rcpt: rcpt("a", "550 5.1.1 no", "c", "421 4.7.0 enough")}, "RUU", Unavailable, false, ""},
		{"RCPT gets 421 after a deferral", fakemta.Script{Rcpt: rcpt("a", "450 4.2.1 no", "c", "421 4.7.0 enough")}, "DUU", Unavailable, false, ""},
		{"the connection drops at RCPT", fakemta.Script{Rcpt: rcpt("b", fakemta.Drop)}, "UUU", Lost, false, ""},
		{"RCPT gets more replies than asked", fakemta.Script{Rcpt: rcpt("b", "450 4.2.1 no\r\n250 extra\r\n250 extra")}, "UDU", Lost, false, "pipelined"},
		{"DATA gets 4xx", fakemta.Script{Data: "451 4.3.0 later"}, "D!D!D!", 0, true, ""},
		{"DATA gets 5xx", fakemta.Script{Data: "554 5.7.1 no"}, "R!R!R!", 0, true, ""},
		{"DATA gets 5xx after a RCPT did", fakemta.Script{Data: "554 5.7.1 no", Rcpt: rcpt("b", "450 4.2.1 no")}, "R!DR!", 0, true, ""},
		{"DATA gets 250", fakemta.Script{Data: "250 fine"}, "UUU", Lost, false, ""},
		{"DATA gets 421", fakemta.Script{Data: "421 4.3.2 bye"}, "UUU", Unavailable, false, ""},
		{"the connection drops at DATA", fakemta.Script{Data: fakemta.Drop}, "UUU", Lost, false, ""},
		{"DATA gets a reply too many", fakemta.Script{Data: "354 go\r\n250 extra"}, "UUU", Lost, false, ""},
		{"the dot gets a reply too many", fakemta.Script{Final: "250 ok\r\n250 extra"}, "AAA", 0, false, ""},
		{"the dot gets 4xx", fakemta.Script{Final: "451 4.3.0 later"}, "D!D!D!", 0, true, ""},
		{"the dot gets 5xx", fakemta.Script{Final: "554 5.6.0 no"}, "R!R!R!", 0, true, ""},
		{"the dot gets 4xx and a recipient was carried", fakemta.Script{Final: "451 later", MaxRecipients: 2}, "D!D!D!", 0, true, ""},
		{"the dot gets 421", fakemta.Script{Final: "421 4.3.2 bye"}, "UUU", Unavailable, false, ""},
		{"the dot gets 354", fakemta.Script{Final: "354 more"}, "UUU", Unknown, false, ""},
		{"the dot gets garbage", fakemta.Script{Final: "\x00\xff\x00\xff"}, "UUU", Unknown, false, ""},
		{"the connection drops after the dot", fakemta.Script{Final: fakemta.Drop}, "UUU", Unknown, false, ""},
		{"the connection drops after the dot and a refusal", fakemta.Script{Final: fakemta.Drop, Rcpt: rcpt("b", "550 no")}, "URU", Unknown, false, ""},
	}
	for _, tt := range tests {
		for _, way := range []string{"pipelined", "in turn"} {
			if tt.only != "" && tt.only != way {
				continue
			}
			t.Run(tt.name+", "+way, func(t *testing.T) {
				tt.script.NoPipelining = way == "in turn"
				s := fakemta.Start(t, "", tt.script)
				c := dialed(t, config(s.Addr))
				res, err := c.Send(t.Context(), message("a@m.test", "b@m.test", "c@m.test"))
				var e *Error
				errors.As(err, &e)
				switch {
				case tt.kind == 0 && err != nil, tt.kind != 0 && (e == nil || e.Kind != tt.kind):
					t.Fatalf("error %v, want kind %d", err, tt.kind)
				case outcomes(res) != tt.want:
					t.Fatalf("outcomes %s, want %s", outcomes(res), tt.want)
				case c.Usable() != tt.usable:
					t.Fatalf("usable %v, want %v", c.Usable(), tt.usable)
				}
				for _, m := range s.Messages() {
					if len(m.Recipients) > 0 && m.Content != "Subject: hello\r\n\r\n.dots\r\n" {
						t.Errorf("content %q", m.Content)
					}
				}
				if !tt.usable {
					return
				}
				s.Set(fakemta.Script{NoPipelining: way == "in turn"})
				if res, err := c.Send(t.Context(), message("d@m.test")); err != nil || outcomes(res) != "A" {
					t.Errorf("the next transaction: %s, %v", outcomes(res), err)
				}
			})
		}
	}
}

func TestSilenceEndsAtTheTimeout(t *testing.T) {
	tests := []struct {
		name   string
		script fakemta.Script
		kind   Kind
		want   string
	}{
		{"at MAIL", fakemta.Script{Mail: fakemta.Hang}, Lost, "UU"},
		{"at RCPT", fakemta.Script{Rcpt: map[string]string{"b@m.test": fakemta.Hang}}, Lost, "UU"},
		{"at DATA", fakemta.Script{Data: fakemta.Hang}, Lost, "UU"},
		{"after the dot", fakemta.Script{Final: fakemta.Hang}, Unknown, "UU"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := fakemta.Start(t, "", tt.script)
			cfg := config(s.Addr)
			cfg.Timeout = 100 * time.Millisecond
			c := dialed(t, cfg)
			start := time.Now()
			res, err := c.Send(t.Context(), message("a@m.test", "b@m.test"))
			var e *Error
			if !errors.As(err, &e) || e.Kind != tt.kind || outcomes(res) != tt.want || c.Usable() {
				t.Fatalf("%s, %v", outcomes(res), err)
			}
			if d := time.Since(start); d < 100*time.Millisecond { // at all: it hangs for ever
				t.Errorf("it took %v", d)
			}
		})
	}
}

func TestContextCutsTheConnection(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{Final: fakemta.Hang})
	c := dialed(t, config(s.Addr))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := c.Send(ctx, message("a@m.test"))
		done <- err
	}()
	s.Wait(t, "the message arrives", func() bool { return len(s.Messages()) == 1 })
	cancel()
	select {
	case err := <-done:
		var e *Error
		if !errors.As(err, &e) || e.Kind != Unknown || c.Usable() {
			t.Errorf("%v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Send did not notice that its context ended")
	}
}

func TestWhatIsSent(t *testing.T) {
	all := []string{"SMTPUTF8"}
	tests := []struct {
		name string
		ext  []string
		t    Transaction
		mail string // after MAIL FROM:
		want string
	}{
		{"the size is declared", nil, Transaction{Recipients: []string{"a@m.test"}}, "<s@l.test> SIZE=6", "A"},
		{"8-bit content is declared", nil, Transaction{Recipients: []string{"a@m.test"}, Body8BitMIME: true}, "<s@l.test> SIZE=6 BODY=8BITMIME", "A"},
		{"SMTPUTF8 is asked for", all, Transaction{Recipients: []string{"a@m.test"}, SMTPUTF8: true}, "<s@l.test> SIZE=6 BODY=8BITMIME SMTPUTF8", "A"},
		{"SMTPUTF8 is not asked for where it is not offered", nil, Transaction{Recipients: []string{"a@m.test"}, SMTPUTF8: true}, "<s@l.test> SIZE=6", "A"},
		{"an international address needs it", all, Transaction{Recipients: []string{"ö@m.test"}}, "<s@l.test> SIZE=6 BODY=8BITMIME SMTPUTF8", "A"},
		{"an international address is refused without it", nil, Transaction{Recipients: []string{"ö@m.test", "a@m.test"}, SMTPUTF8: true}, "<s@l.test> SIZE=6", "RA"},
		{"addresses that would end the command never leave", nil, Transaction{Recipients: []string{
			"a@m.test", "x@m.test>\r\nRCPT TO:<evil@m.test", "y\n@m.test", "\x00@m.test", "z>@m.test", "", "q\u0085@m.test",
			"b\xff@m.test", strings.Repeat("l", 400) + "@m.test"}}, "<s@l.test> SIZE=6", "ARRRRRRRR"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := fakemta.Start(t, "", fakemta.Script{Extensions: tt.ext})
			c := dialed(t, config(s.Addr))
			tt.t.From, tt.t.Content, tt.t.Size = "s@l.test", strings.NewReader("a: b\r\n"), 6
			res, err := c.Send(t.Context(), &tt.t)
			if err != nil || outcomes(res) != tt.want {
				t.Fatalf("%s, %v; want %s", outcomes(res), err, tt.want)
			}
			m := s.Messages()
			if len(m) != 1 || m[0].From != tt.mail || len(m[0].Recipients) != res.Accepted {
				t.Errorf("%+v, want MAIL FROM:%s", m, tt.mail)
			}
			for _, l := range s.Lines() {
				if strings.Contains(l, "evil") {
					t.Errorf("line %q", l)
				}
			}
		})
	}
}

func TestASenderThatCannotBeSentSendsNothing(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{})
	c := dialed(t, config(s.Addr))
	for _, from := range []string{"a\r\nDATA", "a>b@l.test", "ö@l.test"} {
		tr := message("a@m.test")
		tr.From = from
		res, err := c.Send(t.Context(), tr)
		if err != nil || outcomes(res) != "R!" {
			t.Errorf("%q: %s, %v", from, outcomes(res), err)
		}
	}
	if l := s.Lines(); len(l) != 1 {
		t.Errorf("lines %q, want EHLO only", l)
	}
}

type shortReader struct{ data string }

func (r shortReader) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(r.data)) {
		return 0, errors.New("disk on fire")
	}
	return copy(p, r.data[off:]), nil
}

func TestContentThatCannotBeReadIsNotSentByHalves(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{})
	c := dialed(t, config(s.Addr))
	tr := message("a@m.test")
	tr.Content, tr.Size = shortReader{strings.Repeat("x", blockSize)}, blockSize*2
	res, err := c.Send(t.Context(), tr)
	var e *Error
	if !errors.As(err, &e) || e.Kind != Content || outcomes(res) != "U" || c.Usable() {
		t.Fatalf("%s, %v", outcomes(res), err)
	}
	_ = c.Close()
	s.Wait(t, "the connection ends", func() bool { _, open := s.Conns(); return open == 0 })
	if m := s.Messages(); len(m) != 0 {
		t.Errorf("the MTA took %+v", m)
	}
}

// A server that writes replies before it reads on must not lock up with a client that
// writes everything before it reads.
func TestManyRecipientsDoNotLockUp(t *testing.T) {
	var rcpts []string
	refuse := map[string]string{}
	for i := range 20_000 {
		a := fmt.Sprintf("a-rather-long-local-part-%06d@members.example.test", i)
		rcpts = append(rcpts, a)
		if i%2 == 1 {
			refuse[a] = "550-5.1.1 " + strings.Repeat("no such user ", 30) + "\r\n550 5.1.1 none"
		}
	}
	s := fakemta.Start(t, "", fakemta.Script{Rcpt: refuse})
	c := dialed(t, config(s.Addr))
	res, err := c.Send(t.Context(), message(rcpts...))
	if err != nil || res.Accepted != 10_000 {
		t.Fatalf("%d accepted, %v", res.Accepted, err)
	}
	r := res.Recipients[1].Reply
	if r.Code != 550 || r.Enhanced != (Enhanced{5, 1, 1}) || !strings.HasPrefix(r.Text, "no such user no") || !strings.HasSuffix(r.Text, " none") {
		t.Errorf("reply %v", r)
	}
}

func TestReplyToContentIsHeardBeforeTheHangUp(t *testing.T) {
	ln, done := serveRaw(t, func(w *rawConn) {
		w.say("220 x\r\n")
		w.line()
		w.say("250-x\r\n250 PIPELINING\r\n")
		for !strings.HasPrefix(w.line(), "DATA") {
		}
		w.say("250 ok\r\n250 ok\r\n354 go\r\n")
		w.line()
		w.say("552 5.3.4 too big\r\n")
		w.halfClose()
	})
	c := dialed(t, config(ln))
	tr := message("a@m.test")
	big := bytes.Repeat([]byte("0123456789abcde\r\n"), 4<<20/17)
	tr.Content, tr.Size = bytes.NewReader(big), int64(len(big))
	res, err := c.Send(t.Context(), tr)
	<-done
	// Either way nothing was accepted; a reset may overtake the reply.
	var e *Error
	switch {
	case err == nil && outcomes(res) == "R!" && res.Final.Code == 552:
	case errors.As(err, &e) && e.Kind == Lost && outcomes(res) == "U":
	default:
		t.Errorf("%s, %v", outcomes(res), err)
	}
}

func TestParseMTA(t *testing.T) {
	tests := []struct{ in, network, address, err string }{
		{"smtp://127.0.0.1:10025", "tcp", "127.0.0.1:10025", ""},
		{"smtp://mx.test", "tcp", "mx.test:25", ""},
		{"smtps://mx.test/", "tcp", "mx.test:465", ""},
		{"smtp://[::1]:26", "tcp", "[::1]:26", ""},
		{"unix:/run/smtp.sock", "unix", "/run/smtp.sock", ""},
		{"unix:smtp.sock", "", "", "absolute"},
		{"127.0.0.1:25", "", "", "mta"},
		{"http://mx.test", "", "", "want smtp"},
		{"smtp://", "", "", "nothing else"},
		{"smtp://mx.test/x", "", "", "nothing else"},
		{"smtp://u:geheim@mx.test", "", "", "password_file"},
		{"", "", "", "want smtp"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			c, err := ParseMTA(tt.in)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "geheim") {
					t.Fatalf("%+v, %v; want an error with %q", c, err, tt.err)
				}
				return
			}
			if err != nil || c.Network != tt.network || c.Address != tt.address {
				t.Fatalf("%+v, %v", c, err)
			}
		})
	}
}

func TestQuitIsSaid(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{})
	c := dialed(t, config(s.Addr))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	s.Wait(t, "QUIT arrives", func() bool { return slices.Contains(s.Lines(), "QUIT") })
}
