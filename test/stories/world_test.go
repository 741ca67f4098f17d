// Package stories holds what users of mlist do, played on a real Postfix: mail goes in by
// SMTP, through the transport map to LMTP, through the handlers, back through the
// hand-back port, and out to a sink that stands for the members' servers.
package stories

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/smtp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/test/harness"
	"github.com/mlist/mlist/test/tools/sink"
)

// The parts that all stories share; each story has a list of its own.
var (
	mlist   *harness.Mlist
	postfix *harness.Postfix
	out     *sink.Server
	records map[string][]string // DNS
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx := context.Background()
	stop, err := setUp(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "stories:", err)
		return 1
	}
	code := m.Run()
	if code != 0 {
		fmt.Fprintf(os.Stderr, "mlist's log:\n%s\nPostfix's log:\n%s\n", mlist.Log(), postfix.Log())
	}
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stories:", err)
		code = 1
	}
	return code
}

func setUp(ctx context.Context) (stop func() error, err error) {
	if err := harness.FindPostfix(); err != nil {
		return nil, err
	}
	dist, err := harness.Build(ctx)
	if err != nil {
		return nil, err
	}
	dir, remove, err := harness.TempDir("stories")
	if err != nil {
		return nil, err
	}
	if out, err = sink.Listen("127.0.0.1:0", sink.Options{Record: sink.Memory, Bodies: true, Refuse: []string{"gone@net.test"}}); err != nil {
		return nil, err
	}
	postfix, err = harness.StartPostfix(ctx, filepath.Join(dir, "postfix"), harness.PostfixOptions{
		Domain: "lists.test", LMTP: filepath.Join(dir, "mlist", "run", "lmtp.sock"), Relay: out.Addr().String(),
	})
	if err != nil {
		return nil, err
	}
	var keys string
	if records, keys, err = auth(dir); err != nil {
		return nil, err
	}
	opts := harness.Options{MTA: postfix.HandBack, DNS: records, Set: map[string]string{
		"plugin.sign.keys": keys, "metrics.listen": fmt.Sprintf("%q", "unix:"+metricsSocket(filepath.Join(dir, "mlist"))),
	}}
	if mlist, err = harness.Install(filepath.Join(dir, "mlist"), dist, opts); err != nil {
		return nil, err
	}
	if err := mlist.Start(ctx); err != nil {
		return nil, err
	}
	return func() error {
		defer remove()
		err := mlist.Stop()
		if perr := postfix.Stop(); err == nil {
			err = perr
		}
		out.Close()
		return err
	}, nil
}

// command runs an administrator's command.
func command(t *testing.T, args ...string) string {
	t.Helper()
	text, err := mlist.Command(t.Context(), nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// newList makes a list named after the story, with members.
func newList(t *testing.T, settings []string, members ...string) string {
	t.Helper()
	local := strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
	name := local[:min(len(local), 50)] + "@lists.test" // a list's name may not be longer
	command(t, append([]string{"list", "create", name}, settings...)...)
	if len(members) > 0 {
		text, err := mlist.Command(t.Context(), strings.NewReader(strings.Join(members, "\n")+"\n"), "member", "add", name, "--file", "-")
		if err != nil {
			t.Fatal(text, err)
		}
	}
	return name
}

// message is a simple message with a Message-ID made of the story's name.
func message(t *testing.T, from, list, subject string) string {
	return fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%s@net.test>\r\n"+
		"Date: Tue, 24 Nov 2026 12:00:00 +0000\r\n\r\nHello.\r\n", from, list, subject, id(t))
}

func id(t *testing.T) string { return strings.ToLower(strings.ReplaceAll(t.Name(), "/", ".")) }

// send sends a message through Postfix.
func send(t *testing.T, from, to, text string) {
	t.Helper()
	if err := smtp.SendMail(postfix.SMTP, nil, from, []string{to}, []byte(text)); err != nil {
		t.Fatalf("send to %s: %v", to, err)
	}
}

// deliveries are the transactions of the sink whose message has this Message-ID.
func deliveries(messageID string) []sink.Transaction {
	return slices.DeleteFunc(out.Transactions(), func(tx sink.Transaction) bool { return tx.MessageID != messageID })
}

// delivered waits until the message of this story has reached so many recipients, and
// returns them sorted, with one copy of the message.
func delivered(t *testing.T, messageID string, recipients int) ([]string, []byte) {
	t.Helper()
	var all []string
	var text []byte
	eventually(t, fmt.Sprintf("%d deliveries of %s", recipients, messageID), func() bool {
		all = nil
		for _, tx := range deliveries(messageID) {
			all = append(all, tx.Recipients...)
			text = tx.Body
		}
		return len(all) >= recipients
	})
	slices.Sort(all)
	return all, text
}

// received waits for a mail to one recipient that contains all of the texts.
func received(t *testing.T, recipient string, texts ...string) []byte {
	t.Helper()
	var found []byte
	eventually(t, fmt.Sprintf("a mail to %s with %q", recipient, texts), func() bool {
		for _, tx := range out.Transactions() {
			if !slices.Contains(tx.Recipients, recipient) {
				continue
			}
			if !slices.ContainsFunc(texts, func(s string) bool { return !bytes.Contains(tx.Body, []byte(s)) }) {
				found = tx.Body
				return true
			}
		}
		return false
	})
	return found
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// held is what `mlist held ls --json` says of a list.
func held(t *testing.T, list string) []map[string]any {
	t.Helper()
	var entries []map[string]any
	text := command(t, "held", "ls", list, "--json")
	if err := json.Unmarshal([]byte(text), &entries); err != nil {
		t.Fatalf("held ls --json: %v: %s", err, text)
	}
	return entries
}
