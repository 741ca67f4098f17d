package lmtpd

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const hello = "From: ann@net.test\r\nSubject: hi\r\n\r\nhello\r\n"

// exchange is what is sent, and the replies (the start of their last lines) to it.
type exchange struct {
	send string
	want []string
}

func x(send string, want ...string) exchange { return exchange{send, want} }

func TestDialogue(t *testing.T) {
	mail := x("MAIL FROM:<ann@net.test>\r\n", "250 2.0.0")
	rcpt := x("RCPT TO:<dev@l.test>\r\n", "250 2.0.0")
	data := x("DATA\r\n", "354")
	quit := x("QUIT\r\n", "221", "EOF")
	sized := func(n int) string {
		return hello + strings.Repeat("x", n-len(hello)-2) + "\r\n"
	}
	tests := []struct {
		name    string
		steps   []exchange
		entries int
	}{
		{"a post is kept", []exchange{mail, rcpt, data, x(hello+".\r\n", "250 2.0.0 <dev@l.test> kept as entry"), quit}, 1},
		{"the whole of it may come in one write, QUIT included", []exchange{
			x("MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\nRCPT TO:<no@l.test>\r\nDATA\r\n"+hello+".\r\nQUIT\r\n", "250", "250", "550 5.1.1", "354", "250", "221", "EOF")}, 1},
		{"two posts on one connection", []exchange{mail, rcpt, data, x(hello+".\r\n", "250"), mail, rcpt, data, x(hello+".\r\n", "250"), quit}, 2},
		{"an unknown list", []exchange{mail, x("RCPT TO:<nobody@l.test>\r\n", "550 5.1.1 <nobody@l.test>"), data502()}, 0},
		{"a frozen list takes no posts, but other mail", []exchange{mail, x("RCPT TO:<old@l.test>\r\n", "550 5.7.1 old@l.test takes no posts at present. Bis Montag, Gr??e."),
			x("RCPT TO:<old-owner@l.test>\r\n", "250"), x("RCPT TO:<old-leave@l.test>\r\n", "250"), rcpt, data, x(hello+".\r\n", "250", "250", "250")}, 3},
		{"an unknown domain", []exchange{mail, x("RCPT TO:<dev@elsewhere.test>\r\n", "550 5.1.1")}, 0},
		{"postmaster is not ours", []exchange{mail, x("RCPT TO:<postmaster>\r\n", "501"), x("RCPT TO:<postmaster@l.test>\r\n", "550 5.1.1")}, 0},
		{"two spellings of one list are one entry and two replies", []exchange{
			mail, rcpt, x("RCPT TO:<DEV@L.TEST>\r\n", "250"), x("RCPT TO:<dev@l.test>\r\n", "250"), data,
			x(hello+".\r\n", "250 2.0.0 <dev@l.test>", "250 2.0.0 <DEV@L.TEST>", "250 2.0.0 <dev@l.test>")}, 1},
		{"two lists are two entries", []exchange{mail, rcpt, x("RCPT TO:<ops@l.test>\r\n", "250"), data, x(hello+".\r\n", "250", "250")}, 2},
		{"a list and its owner are two entries", []exchange{mail, rcpt, x("RCPT TO:<dev-owner@l.test>\r\n", "250"), data, x(hello+".\r\n", "250", "250")}, 2},
		{"join and subscribe are the same", []exchange{mail, x("RCPT TO:<dev-join@l.test>\r\n", "250"), x("RCPT TO:<dev-subscribe@l.test>\r\n", "250"), data, x(hello+".\r\n", "250", "250")}, 1},
		{"RCPT without MAIL", []exchange{x("RCPT TO:<dev@l.test>\r\n", "502 5.5.1")}, 0},
		{"DATA without RCPT", []exchange{mail, data502()}, 0},
		{"MAIL inside a transaction", []exchange{mail, rcpt, x("MAIL FROM:<eve@net.test>\r\n", "503 5.5.1"), data, x(hello+".\r\n", "250")}, 1},
		{"RSET ends the transaction", []exchange{mail, rcpt, x("RSET\r\n", "250"), data502(), x("RCPT TO:<dev@l.test>\r\n", "502")}, 0},
		{"LHLO ends the transaction", []exchange{mail, rcpt, x("LHLO again.test\r\n", "250"), data502()}, 0},
		{"EHLO is no LMTP", []exchange{x("EHLO mx.test\r\n", "500 5.5.1")}, 0},
		{"bad recipients", []exchange{mail,
			x("RCPT TO:<dev>\r\n", "501 5"), x("RCPT TO:<dev@@l.test>\r\n", "550 5.1.1"), x("RCPT TO:<dev@l..test>\r\n", "501 5.1.3"),
			x("RCPT TO:<d\x00ev@l.test>\r\n", "501 5.1.3"), x("RCPT TO:<\"d\x01ev\"@l.test>\r\n", "501 5.1.3"), x("RCPT TO:<dev\x7f@l.test>\r\n", "501 5.1.3"),
			x("RCPT TO:<dev\u0085@l.test>\r\n", "501 5.1.3"), x("RCPT TO:<dev\u2028@l.test>\r\n", "501 5.1.3"), x("RCPT TO:<dev\xff@l.test>\r\n", "501 5.1.3"),
			x("RCPT TO:<"+strings.Repeat("a", 300)+"@l.test>\r\n", "501 5.1.3"),
			x("RCPT TO:<../dev@l.test>\r\n", "550 5.1.1"), x("RCPT TO:<dev/../dev@l.test>\r\n", "550 5.1.1"), x("RCPT TO:<\"dev@l.test\"@l.test>\r\n", "550 5.1.1")}, 0},
		{"bad senders", []exchange{x("MAIL FROM:<a\x00@net.test>\r\n", "501 5.1.7"), x("MAIL FROM:<ann>\r\n", "501"), x("MAIL FROM:<ann@>\r\n", "501"), mail}, 0},
		{"the null sender", []exchange{x("MAIL FROM:<>\r\n", "250"), rcpt, data, x(hello+".\r\n", "250")}, 1},
		{"too many recipients", []exchange{mail, rcpt, rcpt, rcpt, rcpt, rcpt, x("RCPT TO:<dev@l.test>\r\n", "452 4.5.3"), data, x(hello+".\r\n", "250", "250", "250", "250", "250")}, 1},
		{"SIZE at the limit", []exchange{x("MAIL FROM:<ann@net.test> SIZE=1000\r\n", "250")}, 0},
		{"SIZE over the limit", []exchange{x("MAIL FROM:<ann@net.test> SIZE=1001\r\n", "552 5.3.4")}, 0},
		{"a message at the limit", []exchange{mail, rcpt, data, x(sized(1000)+".\r\n", "250"), quit}, 1},
		{"a message over the limit, for each recipient, and the connection goes on", []exchange{
			mail, rcpt, rcpt, data, x(sized(1001)+".\r\n", "552 5.3.4", "552 5.3.4"), mail, rcpt, data, x(hello+".\r\n", "250")}, 1},
		{"a message far over the limit", []exchange{mail, rcpt, data, x(strings.Repeat(sized(1000), 1000)+".\r\n", "552 5.3.4"), quit}, 0},
		{"dots are unstuffed", []exchange{mail, rcpt, data, x(hello+"..\r\n..x\r\n.\r\n", "250")}, 1},
		{"an empty message", []exchange{mail, rcpt, data, x(".\r\n", "250")}, 1},
		{"no header", []exchange{mail, rcpt, data, x("just text\r\n.\r\n", "250")}, 1},
		{"a header at the limit", []exchange{mail, rcpt, data, x("Subject: "+strings.Repeat("x", 300-11)+"\r\n\r\n.\r\n", "250")}, 1},
		{"a header over the limit", []exchange{mail, rcpt, data, x("Subject: "+strings.Repeat("x", 300-10)+"\r\n\r\n.\r\n", "554 5.6.0"), quit}, 0},
		{"a header over the limit below an mbox line", []exchange{mail, rcpt, data, x("From ann\r\nSubject: "+strings.Repeat("x", 300-10)+"\r\n\r\n.\r\n", "554 5.6.0"), quit}, 0},
		{"a header over the limit without an end", []exchange{mail, rcpt, data, x("Subject: "+strings.Repeat("x", 300-10)+"\r\n.\r\n", "554 5.6.0"), quit}, 0},
		{"much text without a header is not a header over the limit", []exchange{mail, rcpt, data, x(strings.Repeat("text\r\n", 100)+".\r\n", "250"), quit}, 1},
		{"BDAT is not offered", []exchange{mail, rcpt, x("BDAT 4 LAST\r\nab\r\n", "502 5.5.1"), x("NOOP\r\n", "250"), quit}, 0},
		{"DSN parameters are not offered", []exchange{x("MAIL FROM:<ann@net.test> RET=HDRS\r\n", "504"), mail, x("RCPT TO:<dev@l.test> NOTIFY=NEVER\r\n", "504")}, 0},
		{"BINARYMIME is not offered", []exchange{x("MAIL FROM:<ann@net.test> BODY=BINARYMIME\r\n", "504")}, 0},
		{"four unknown commands are too many", []exchange{x("A BAD\r\n", "501"), x("WHAT\r\n", "500"), x("WHAT\r\n", "500"), x("WHAT\r\n", "500", "500 5.5.1 Too many errors", "EOF")}, 0},
		{"a bare LF in a command", []exchange{x("NOOP\nMAIL FROM:<a@b.test>\r\n", "500 5.5.2", "EOF")}, 0},
		{"a bare CR in a command", []exchange{x("NOOP\rNOOP\r\n", "500 5.5.2", "EOF")}, 0},
		{"an overlong command", []exchange{x(strings.Repeat("x", maxCommandLine+2), "500 5.5.2", "EOF")}, 0},
		{"STARTTLS and AUTH are not offered", []exchange{x("STARTTLS\r\n", "502"), x("AUTH PLAIN AGEAYg==\r\n", "5")}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, nil, nil)
			p := w.greet(t)
			for _, s := range tt.steps {
				p.send(s.send)
				p.want(s.want...)
			}
			p.Close()
			w.stopAndWait(t)
			if got := len(w.spool.all()); got != tt.entries {
				t.Errorf("%d entries, want %d: %+v", got, tt.entries, w.spool.all())
			}
		})
	}
}

func data502() exchange { return x("DATA\r\n", "502 5.5.1") }

func TestCapabilities(t *testing.T) {
	w := start(t, nil, nil)
	p := w.dial(t)
	p.want("220 lists.test LMTP")
	p.send("LHLO mx.test\r\n")
	var got []string
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.TrimRight(line[4:], "\r\n"))
		if line[3] == ' ' {
			break
		}
	}
	want := "Hello mx.test|PIPELINING|8BITMIME|ENHANCEDSTATUSCODES|SMTPUTF8|SIZE 1000"
	if strings.Join(got, "|") != want {
		t.Errorf("offered %q, want %q", got, want)
	}
}

func TestEntries(t *testing.T) {
	tests := []struct {
		name, mail, rcpt, body string
		queue                  spool.Queue
		role, detail, flags    string
		sender, given          string
	}{
		{"a post", "<Ann@Net.TEST>", "<Dev@l.test>", hello, spool.Incoming, "post", "", "", "Ann@net.test", "Dev@l.test"},
		{"mail to the owner", "<ann@net.test>", "<dev-owner@l.test>", hello, spool.Incoming, "owner", "", "", "ann@net.test", "dev-owner@l.test"},
		{"a confirmation", "<ann@net.test>", "<dev-confirm+abc@l.test>", hello, spool.Incoming, "confirm", "abc", "", "ann@net.test", "dev-confirm+abc@l.test"},
		{"a bounce", "<>", "<dev-bounces@l.test>", hello, spool.Bounces, "bounces", "", "", "", "dev-bounces@l.test"},
		{"a VERP bounce", "<>", "<dev-bounces+ann=net.test@l.test>", hello, spool.Bounces, "bounces", "ann=net.test", "", "", "dev-bounces+ann=net.test@l.test"},
		{"8-bit text", "<ann@net.test> BODY=8BITMIME", "<dev@l.test>", "Subject: x\r\n\r\n\xfc\r\n", spool.Incoming, "post", "", "8bitmime", "ann@net.test", "dev@l.test"},
		{"SMTPUTF8", "<用户@例え.jp> SMTPUTF8", "<dev@l.test>", hello, spool.Incoming, "post", "", "smtputf8", "用户@例え.jp", "dev@l.test"},
		{"a quoted sender", `<"a b@c"@net.test>`, "<dev@l.test>", hello, spool.Incoming, "post", "", "", `"a b@c"@net.test`, "dev@l.test"},
		{"a malformed header", "<ann@net.test>", "<dev@l.test>", "Subject: x\r\nno field\r\n\r\ntext\r\n", spool.Incoming, "post", "", "malformed", "ann@net.test", "dev@l.test"},
		{"no header at all", "<ann@net.test>", "<dev@l.test>", "text\r\n", spool.Incoming, "post", "", "malformed", "ann@net.test", "dev@l.test"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, nil, nil)
			p := w.greet(t)
			p.send("MAIL FROM:" + tt.mail + "\r\nRCPT TO:" + tt.rcpt + "\r\nDATA\r\n" + tt.body + ".\r\n")
			p.want("250", "250", "354", "250")
			e := w.spool.all()[0]
			if e.queue != tt.queue || e.env.Role != tt.role || e.env.Detail != tt.detail || e.env.List != "dev@l.test" ||
				e.env.Sender != tt.sender || e.env.Recipient != tt.given || strings.Join(e.env.Flags, ",") != tt.flags || e.body != tt.body {
				t.Errorf("entry %+v", e)
			}
			if e.env.Key != segment.KeyOf("dev@l.test") || e.env.Received.IsZero() || !strings.HasPrefix(e.env.Peer, "mx.test [127.0.0.1:") {
				t.Errorf("entry %+v", e)
			}
			if log := w.log.String(); !strings.Contains(log, "entry=entryaaaaaaaaaaa") || !strings.Contains(log, "list=dev@l.test") {
				t.Errorf("log %q", log)
			}
		})
	}
}

// Every failure is a 4xx and leaves nothing, and the connection goes on.
func TestFaults(t *testing.T) {
	secret := errors.New("sync /secret/path: input/output error")
	full := fmt.Errorf("put: %w", syscall.ENOSPC)
	always := func(err error) func(int) error { return func(int) error { return err } }
	tests := []struct {
		name    string
		spool   *memory
		want    []string
		entries int
	}{
		{"no draft", &memory{create: secret}, []string{"451 4.3.0", "451 4.3.0"}, 0},
		{"no space for a draft", &memory{create: full}, []string{"452 4.3.1", "452 4.3.1"}, 0},
		{"the first write fails", &memory{write: secret}, []string{"451 4.3.0", "451 4.3.0"}, 0},
		{"no space at a later write", &memory{write: full, writeAt: 33 << 10}, []string{"452 4.3.1", "452 4.3.1"}, 0},
		{"no quota", &memory{write: syscall.EDQUOT}, []string{"452 4.3.1", "452 4.3.1"}, 0},
		{"every put fails", &memory{put: always(secret)}, []string{"451 4.3.0", "451 4.3.0"}, 0},
		{"no space at put", &memory{put: always(full)}, []string{"452 4.3.1", "452 4.3.1"}, 0},
		{"the first put fails", &memory{put: func(n int) error {
			if n == 0 {
				return secret
			}
			return nil
		}}, []string{"451 4.3.0", "250 2.0.0"}, 1},
		{"the second put fails", &memory{put: func(n int) error {
			if n == 1 {
				return secret
			}
			return nil
		}}, []string{"250 2.0.0", "451 4.3.0"}, 1},
		{"a panic in the spool", &memory{put: func(int) error { panic("broken") }}, []string{"421", "421", "EOF"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, func(c *Config) { c.MaxMessageSize = 1 << 20 }, tt.spool)
			p := w.greet(t)
			p.send("MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\nRCPT TO:<ops@l.test>\r\nDATA\r\n")
			p.want("250", "250", "250", "354")
			p.send(hello + strings.Repeat("text\r\n", 10_000) + ".\r\n")
			for _, want := range tt.want {
				got, _ := p.reply()
				if want != "EOF" && !strings.HasPrefix(got, want) || strings.Contains(got, "secret") {
					t.Errorf("reply %q, want %q", got, want)
				}
			}
			if tt.want[len(tt.want)-1] != "EOF" {
				p.send("NOOP\r\n")
				p.want("250")
			}
			w.stopAndWait(t)
			if got := len(w.spool.all()); got != tt.entries {
				t.Errorf("%d entries, want %d", got, tt.entries)
			}
		})
	}
}

func TestStoreDown(t *testing.T) {
	w := start(t, nil, nil)
	w.lists.err = errors.New("database /secret/path is locked")
	p := w.greet(t)
	p.send("MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\n")
	p.want("250")
	got, _ := p.reply()
	if !strings.HasPrefix(got, "451 4.3.0") || strings.Contains(got, "secret") {
		t.Errorf("reply %q", got)
	}
	w.lists.mu.Lock()
	w.lists.err = nil
	asked := w.lists.asked
	w.lists.mu.Unlock()
	p.send("RCPT TO:<dev@l.test>\r\n")
	p.want("250")
	if w.lists.asked != asked+1 {
		t.Errorf("%d look-ups for one RCPT", w.lists.asked-asked)
	}
}
