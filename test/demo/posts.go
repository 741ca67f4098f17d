package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/smtp"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/test/tools/sink"
)

func message(from, subject, id, text string) string {
	return fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%s>\r\nDate: %s\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s\r\n",
		from, listAddr, subject, id, time.Now().Format(time.RFC1123Z), text)
}

// ask shows how the mail server finds out which addresses exist: no map is generated,
// it asks mlist while the sender waits, and remembers.
func (d *demo) ask() error {
	title("3. A sender is told at once whether an address exists")
	c, err := smtp.Dial(d.mta.smtp)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer c.Close()
	if err := c.Mail(author); err != nil {
		return fmt.Errorf("MAIL: %w", err)
	}
	for _, to := range []string{listAddr, "nosuch@lists.test"} {
		start := time.Now()
		answer := "accepted"
		if err := c.Rcpt(to); err != nil {
			answer, _, _ = strings.Cut(err.Error(), "\n")
		}
		fmt.Printf("   RCPT TO:<%s>  %s (%s)\n", to, answer, ms(time.Since(start)))
	}
	return c.Quit()
}

// memberPosts follows a member's post all the way.
func (d *demo) memberPosts(ctx context.Context) error {
	title("4. A member posts")
	sent := time.Now()
	const id = "1@demo.test"
	if err := smtp.SendMail(d.mta.smtp, nil, author, []string{listAddr}, []byte(message("Ann <"+author+">", "Lunch?", id, "At noon, by the river."))); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	fmt.Printf("   %s  the mail server took it from %s\n", at(time.Since(sent)), author)
	copies, err := d.wait(ctx, id, len(members))
	if err != nil {
		return err
	}
	d.tellSteps(sent, copies)
	title("5. What each member received")
	for _, tx := range copies {
		for _, rcpt := range tx.Recipients {
			fmt.Printf("   %s (envelope sender %s)\n", rcpt, tx.Sender)
		}
	}
	fmt.Println()
	show(copies[0].Body)
	return nil
}

// wait waits until a message has reached so many recipients.
func (d *demo) wait(ctx context.Context, id string, recipients int) ([]sink.Transaction, error) {
	deadline := time.Now().Add(30 * time.Second)
	for {
		all := slices.DeleteFunc(d.boxes.Transactions(), func(tx sink.Transaction) bool { return tx.MessageID != id })
		n := 0
		for _, tx := range all {
			n += len(tx.Recipients)
		}
		if n >= recipients {
			return all, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("only %d of %d members got the message after 30 s; mlist's log:\n%s", n, recipients, d.mlist.Log())
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// steps are the log lines that mark a step, and what each means.
var steps = []struct{ msg, text string }{
	{"message kept", "lmtpd: synced to incoming, 250"},
	{"post accepted", "pipeline: through every stage, committed to outgoing"},
	{"outbound: chunk", "outbound: handed back to the mail server, which said 250"},
}

var (
	logTime  = regexp.MustCompile(`time=(\S+)`)
	logMsg   = regexp.MustCompile(`msg="([^"]*)"`)
	logStage = regexp.MustCompile(`stages="([^"]*)"`)
	logEntry = regexp.MustCompile(`entry=(\S+)`)
)

// tellSteps reads out of mlist's log when each step was done.
func (d *demo) tellSteps(sent time.Time, copies []sink.Transaction) {
	told := map[string]bool{}
	lines := bufio.NewScanner(strings.NewReader(d.mlist.Log()))
	for lines.Scan() {
		line := lines.Text()
		msg, when := logMsg.FindStringSubmatch(line), logTime.FindStringSubmatch(line)
		if msg == nil || when == nil || told[msg[1]] {
			continue
		}
		for _, s := range steps {
			t, err := time.Parse(time.RFC3339Nano, when[1])
			if s.msg != msg[1] || err != nil || t.Before(sent.Truncate(time.Millisecond)) {
				continue
			}
			told[s.msg] = true
			entry := ""
			if m := logEntry.FindStringSubmatch(line); m != nil {
				entry = " (entry " + m[1] + ")"
			}
			fmt.Printf("   %s  %s%s\n", at(t.Sub(sent)), s.text, entry)
			if m := logStage.FindStringSubmatch(line); m != nil {
				for stage := range strings.FieldsSeq(m[1]) {
					name, took, _ := strings.Cut(stage, "=")
					fmt.Printf("                    %-14s %8s\n", name, took)
				}
			}
		}
	}
	last := copies[0].At
	for _, tx := range copies {
		if tx.At.After(last) {
			last = tx.At
		}
	}
	fmt.Printf("   %s  the last member has it\n", at(last.Sub(sent)))
}

func at(d time.Duration) string { return fmt.Sprintf("%9s", ms(d)) }

// show prints a message without the trace fields.
func show(text []byte) {
	header, body, _ := bytes.Cut(text, []byte("\r\n\r\n"))
	skip := false
	for line := range strings.Lines(string(header)) {
		if line[0] != ' ' && line[0] != '\t' {
			skip = strings.HasPrefix(line, "Received:")
		}
		if !skip {
			fmt.Printf("     | %s\n", strings.TrimRight(line, "\r\n"))
		}
	}
	fmt.Println("     |")
	for line := range strings.Lines(string(body)) {
		fmt.Printf("     | %s\n", strings.TrimRight(line, "\r\n"))
	}
}

// strangerPosts shows moderation.
func (d *demo) strangerPosts(ctx context.Context) error {
	title("6. Somebody else posts: it waits for a moderator")
	const id = "2@demo.test"
	if err := smtp.SendMail(d.mta.smtp, nil, stranger, []string{listAddr}, []byte(message(stranger, "May I join?", id, "I heard of the river."))); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	entry, err := d.held(ctx)
	if err != nil {
		return err
	}
	if _, err := d.command(ctx, "", "held", "ls", listAddr); err != nil {
		return err
	}
	if _, err := d.command(ctx, "", "held", "accept", entry); err != nil {
		return err
	}
	copies, err := d.wait(ctx, id, len(members))
	if err != nil {
		return err
	}
	n := 0
	for _, tx := range copies {
		n += len(tx.Recipients)
	}
	fmt.Printf("   accepted, and delivered to %d members\n", n)
	return nil
}

// held waits for a held post and returns its id.
func (d *demo) held(ctx context.Context) (string, error) {
	deadline := time.Now().Add(20 * time.Second)
	for {
		text, err := d.mlist.Command(ctx, nil, "held", "ls", listAddr, "--json")
		if err != nil {
			return "", err
		}
		var entries []struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal([]byte(text), &entries); err != nil {
			return "", fmt.Errorf("held ls --json: %w: %s", err, text)
		}
		if len(entries) > 0 {
			return entries[0].ID, nil
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("nothing is held after 20 s; mlist's log:\n%s", d.mlist.Log())
		}
	}
}
