package main

import (
	"bytes"
	"fmt"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/dir"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/test/corpus"
)

// The promise of `mlist message check`, on every message there is: the octets that go in come out.
func TestMessageCheckLosesNoOctet(t *testing.T) {
	for m := range corpus.All() {
		var out, told bytes.Buffer
		a := &app{in: bytes.NewReader(m.Text), out: &out, err: &told}
		if status := a.main(t.Context(), []string{"message", "check"}); status != 0 || !bytes.Equal(out.Bytes(), m.Text) {
			t.Errorf("%s: status %d, %d octets of %d: %.500s", m.Name, status, out.Len(), len(m.Text), told.String())
		}
	}
}

// Mail of all kinds through all of mlist: what lmtpd takes, the pipeline decides about at
// the first try; what it does not take, it refuses for good and says why.
func TestTheCorpusThroughServe(t *testing.T) {
	dns := filepath.Join(t.TempDir(), "dns.json")
	if err := os.WriteFile(dns, []byte(`{"_dmarc.example.org": ["v=DMARC1; p=reject"]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MLIST_DNS_FILE", dns)
	at := installed(t, "")
	p := start(t, at, "serve")
	p.says(t, "msg=ready", 1)
	command(t, at, "list", "create", "dev@lists.test")
	command(t, at, "list", "set", "dev@lists.test", "default_nonmember_action=accept", "require_explicit_destination=false", "max_message_size=0",
		"max_num_recipients=0", "filter_content=true", "convert_html_to_plaintext=true", "filter_extensions=exe")
	command(t, at, "list", "create", "plain@lists.test")
	command(t, at, "list", "set", "plain@lists.test", "default_nonmember_action=accept", "require_explicit_destination=false", "max_message_size=0",
		"max_num_recipients=0", "subject_prefix=", "footer=", "include_sender_header=false", "dmarc_mitigate_action=no_mitigation")
	for _, l := range []string{"dev@lists.test", "plain@lists.test"} {
		command(t, at, "member", "add", l, "ann@net.test", "bob@net.test")
	}
	kept, sent := 0, map[string]bool{}
	c := lmtp(t, at, "LHLO mx.test", 250)
	for m := range corpus.All() {
		text := bytes.ReplaceAll(bytes.ReplaceAll(m.Text, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
		if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
			text = append(text, "\r\n"...) // SMTP has whole lines alone
		}
		refused := bareCR(text) || longestLine(text) > 16<<20
		code, reply := deliver(t, c, text)
		switch {
		case refused && code == 554 && strings.HasPrefix(reply, "5.6.0 ") && strings.Contains(reply, "the message has a"):
			c.Close()
			c = lmtp(t, at, "LHLO mx.test", 250)
		case !refused && code == 250:
			kept += 2
			whole, err := message.Open(bytes.NewReader(text), int64(len(text)))
			if err != nil {
				t.Fatal(err)
			}
			sent[string(text[whole.BodyAt:])] = true
		default:
			t.Fatalf("%s: %d %s", m.Name, code, reply)
		}
	}
	p.decided(t, kept)
	if log := p.text(); strings.Contains(log, `msg="post deferred"`) || strings.Contains(log, `msg="post failed"`) {
		t.Error("there were posts that could not be decided about")
	}
	if out := command(t, at, "queue", "ls", "failed", "--json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("failed: %s", out)
	}
	p.signal(t, syscall.SIGTERM)
	p.ends(t)
	intact := intactBodies(t, filepath.Join(at, "spool"), sent)
	t.Logf("%d posts, %d accepted; %d bodies as they came", kept, strings.Count(p.text(), `msg="post accepted"`), intact)
	if intact < kept/2*8/10 {
		t.Errorf("only %d posts went through the transparent list", intact)
	}
}

// intactBodies counts what the transparent list sends, each with a body that has come so.
func intactBodies(t *testing.T, path string, sent map[string]bool) int {
	t.Helper()
	s, err := dir.Open(path, dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := 0
	goingOut(t, s, func(c *spool.Chunk, text []byte) {
		m, err := message.Open(bytes.NewReader(text), int64(len(text)))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(m.Header.Values("X-BeenThere"), "plain@lists.test") {
			return
		}
		n++
		if body := text[m.BodyAt:]; !sent[string(body)] {
			t.Errorf("%s has a body that nobody has sent: %.500q", c.ID(), body)
		}
	})
	return n
}

func bareCR(text []byte) bool {
	return bytes.Contains(bytes.ReplaceAll(text, []byte("\r\n"), nil), []byte("\r"))
}

func longestLine(text []byte) int {
	longest := 0
	for line := range bytes.Lines(text) {
		longest = max(longest, len(line)-2)
	}
	return longest
}

// deliver hands a message over, and returns the reply.
func deliver(t *testing.T, c *textproto.Conn, text []byte) (int, string) {
	t.Helper()
	for _, step := range []struct {
		line string
		code int
	}{{"MAIL FROM:<ann@example.org>", 250}, {"RCPT TO:<dev@lists.test>", 250}, {"RCPT TO:<plain@lists.test>", 250}, {"DATA", 354}} {
		if err := c.PrintfLine("%s", step.line); err != nil {
			t.Fatal(err)
		}
		if _, reply, err := c.ReadResponse(step.code); err != nil {
			t.Fatalf("%s: %v %s", step.line, err, reply)
		}
	}
	stuffed := bytes.ReplaceAll(append([]byte("\r\n"), text...), []byte("\r\n."), []byte("\r\n.."))[2:]
	// A refusal may come, and the connection end, before all is written.
	_, _ = c.W.Write(append(stuffed, ".\r\n"...))
	_ = c.W.Flush()
	code, reply, err := c.ReadResponse(0)
	if code == 0 {
		t.Fatal(err)
	}
	if again, _, err := c.ReadResponse(0); again != code { // for the other list
		t.Fatalf("%d, and then %d, %v", code, again, err)
	}
	return code, reply
}

// decided waits until the pipeline has done with so many posts, one way or another.
func (p *process) decided(t *testing.T, posts int) {
	t.Helper()
	end := time.After(4 * bound)
	for {
		n, log := 0, p.text()
		for _, what := range []string{"post accepted", "post held", "post rejected", "post discarded", "post failed", "post deferred"} {
			n += strings.Count(log, fmt.Sprintf("msg=%q", what))
		}
		if n += strings.Count(log, `msg="duplicate dropped"`); n >= posts {
			return
		}
		select {
		case <-p.more:
		case <-end:
			t.Fatalf("only %d of %d posts were decided about", n, posts)
		}
	}
}
