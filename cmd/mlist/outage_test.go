package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mta "github.com/d--j/go-milter"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mlist/mlist/test/postgres"
	"github.com/mlist/mlist/test/tools/sink"
)

// outage is mlist on a database that comes and goes.
type outage struct {
	*sharing
	h     *sharer
	posts int // that were taken
}

// client is one who hands a message in over LMTP.
type client struct {
	t    *testing.T
	text *textproto.Conn
}

// connect is ready to name a recipient.
func (o *outage) connect() *client {
	o.t.Helper()
	conn, err := net.Dial("unix", filepath.Join(o.h.dir, "lmtp.sock"))
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(2 * bound)) // whatever becomes of the database
	c := &client{o.t, textproto.NewConn(conn)}
	if _, _, err := c.text.ReadResponse(220); err != nil {
		o.t.Fatal(err)
	}
	for _, line := range []string{"LHLO mx.test", "MAIL FROM:<ann@net.test>"} {
		if code := c.says(line); code != 250 {
			o.t.Fatalf("%s: %d", line, code)
		}
	}
	return c
}

// says sends a line and returns the code that answers it.
func (c *client) says(line string) int {
	c.t.Helper()
	if err := c.text.PrintfLine("%s", line); err != nil {
		c.t.Fatal(err)
	}
	code, _, err := c.text.ReadResponse(0)
	if refusal := (*textproto.Error)(nil); err != nil && !errors.As(err, &refusal) {
		c.t.Fatalf("%s: %v", line, err)
	}
	return code
}

func (c *client) rcpt() int {
	c.t.Helper()
	return c.says("RCPT TO:<dev@lists.test>")
}

func (c *client) data(n int) int {
	c.t.Helper()
	if code := c.says("DATA"); code != 354 {
		c.t.Fatalf("DATA: %d", code)
	}
	return c.says(fmt.Sprintf("From: ann@net.test\r\nTo: dev@lists.test\r\nSubject: x\r\nMessage-ID: <outage%d@net.test>\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\n\r\nHello.\r\n.", n))
}

// post hands a message in, and returns the first code that is not as it should be, or 250.
func (o *outage) post() int {
	o.t.Helper()
	c := o.connect()
	code := c.rcpt()
	if code == 250 {
		if code = c.data(o.posts); code == 250 {
			o.posts++
		}
	}
	return code
}

// asks has the milter judge a recipient: "continue", or its reply.
func (o *outage) asks() string {
	o.t.Helper()
	macros := mta.NewMacroBag()
	macros.Set(mta.MacroQueueId, "4XYZ")
	s, err := mta.NewClient("unix", filepath.Join(o.h.dir, "milter.sock")).Session(macros)
	if err != nil {
		o.t.Fatal(err)
	}
	defer s.Close()
	var a *mta.Action
	for _, step := range []func() (*mta.Action, error){
		func() (*mta.Action, error) { return s.Conn("client.test", mta.FamilyInet, 4321, "192.0.2.1") },
		func() (*mta.Action, error) { return s.Helo("client.test") },
		func() (*mta.Action, error) { return s.Mail("ann@net.test", "") },
		func() (*mta.Action, error) { return s.Rcpt("dev@lists.test", "") },
	} {
		if a, err = step(); err != nil {
			o.t.Fatal(err)
		}
	}
	if a.Type == mta.ActionContinue {
		return "continue"
	}
	return a.SMTPReply
}

// The database is lost, hangs, takes no writes, or has no connections left. Mail is refused
// with a 4xx meanwhile, in bounded time, and what was under way waits; when it is back all goes
// on by itself.
func TestADatabaseThatComesAndGoes(t *testing.T) {
	t.Parallel() // it mostly waits
	o := &outage{sharing: newSharing(t, postgres.Options{Durable: true, Settings: map[string]string{"max_connections": "50"}})}
	o.hosts["a"] = &sharer{mta: newSink(t, sink.Faults{}), dir: installed(t, "")}
	o.segments(o.hosts["a"], "a", "auto")
	file := filepath.Join(o.hosts["a"].dir, "mlist.toml")
	text, err := os.ReadFile(file)
	if err == nil {
		text = bytes.Replace(text, []byte("milter.listen = []"), fmt.Appendf(nil, "milter.listen = [%q]", "unix:"+filepath.Join(o.hosts["a"].dir, "milter.sock")), 1)
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	o.h = o.start("a", "serve")
	command(t, o.h.dir, "list", "create", "dev@lists.test")
	command(t, o.h.dir, "member", "add", "dev@lists.test", "ann@net.test", "bob@net.test")

	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var hogs []*pgx.Conn
	for _, trouble := range []struct {
		what        string
		begin, end  func()
		lookUpsWork bool
	}{
		{"is killed", func() { check(o.server.Kill()) }, func() { check(o.server.Restart(t.Context())) }, false},
		{"hangs", func() { check(o.server.Hang(true)) }, func() { check(o.server.Hang(false)) }, false},
		{"takes no writes", func() { check(o.server.Set(t.Context(), "default_transaction_read_only", "on")) },
			func() { check(o.server.Set(t.Context(), "default_transaction_read_only", "off")) }, true},
		{"has no connections left", func() { hogs = takeAll(t, o.server) }, func() {
			for _, c := range hogs {
				c.Close(t.Context())
			}
		}, false},
	} {
		o.until("posts are taken before the database "+trouble.what, func() bool { return o.post() == 250 })
		o.until("they reach members", func() bool {
			waiting, err := o.spool.Waiting(t.Context())
			// What was settled in the moment before a server is killed is sent again: it does not
			// wait for its disk.
			return err == nil && len(waiting) == 0 && o.got()["bob@net.test"] >= o.posts
		})
		begun := o.connect() // a transaction in which the recipient was taken before
		if code := begun.rcpt(); code != 250 {
			t.Fatalf("RCPT: %d", code)
		}
		trouble.begin()
		if code := begun.data(1000 + o.posts); code < 400 || code > 499 {
			t.Errorf("a database that %s: DATA is answered with %d", trouble.what, code)
		}
		if code := o.post(); code < 400 || code > 499 {
			t.Errorf("a database that %s: a post is answered with %d", trouble.what, code)
		}
		if says := o.asks(); !strings.HasPrefix(says, "451 ") && (says != "continue" || !trouble.lookUpsWork) {
			t.Errorf("a database that %s: the milter says %q", trouble.what, says)
		}
		trouble.end()
	}
	o.until("posts are taken after all", func() bool { return o.post() == 250 })
	o.until("the milter judges", func() bool { return o.asks() == "continue" })
	o.until("all have reached members", func() bool { return o.got()["bob@net.test"] >= o.posts })
	if n := strings.Count(o.h.text(), "msg=ready"); n != 1 {
		t.Errorf("mlist was started %d times", n)
	}
}

// takeAll takes all connections that a server has, those of mlist first.
func takeAll(t *testing.T, server *postgres.Server) (hogs []*pgx.Conn) {
	t.Helper()
	config, err := pgx.ParseConfig(server.URL("public"))
	if err != nil {
		t.Fatal(err)
	}
	for {
		c, err := pgx.ConnectConfig(t.Context(), config)
		if refusal := (*pgconn.PgError)(nil); errors.As(err, &refusal) && refusal.Code == "53300" {
			var left int
			const end = `SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = 'mlist'`
			if err := hogs[0].QueryRow(t.Context(), end).Scan(&left); err != nil {
				t.Fatal(err)
			}
			if left == 0 {
				return hogs
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		hogs = append(hogs, c)
		t.Cleanup(func() { c.Close(context.WithoutCancel(t.Context())) })
	}
}
