package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/test/tools/sink"
)

// Whatever the log says of a message, it says of which entry and which list.
func TestEveryLineAboutAMessageNamesEntryAndList(t *testing.T) {
	mta, err := sink.Listen("127.0.0.1:0", sink.Options{Refuse: []string{"gone@net.test"}})
	if err != nil {
		t.Fatal(err)
	}
	defer mta.Close()
	dir := installed(t, "")
	configure(t, dir, fmt.Sprintf("outbound.mta = \"smtp://%s\"\npipeline.plugin_dir = %q\nlog.level = \"debug\"\nlog.format = \"json\"\n", mta.Addr(), plugins(t)))
	p := start(t, dir, "serve")
	p.says(t, `"msg":"ready"`, 1)
	command(t, dir, "list", "create", "dev@lists.test", "--owner", "olga@net.test")
	command(t, dir, "member", "add", "dev@lists.test", "ann@net.test", "bob@net.test", "gone@net.test")
	post := func(from, to, id, subject string) {
		t.Helper()
		lmtp(t, dir, "LHLO mx.test", 250, "MAIL FROM:<"+from+">", 250, "RCPT TO:<"+to+">", 250, "DATA", 354,
			fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%s@net.test>\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\n\r\nHello.\r\n.", from, to, subject, id), 250).Close()
	}
	post("ann@net.test", "dev@lists.test", "1", "accepted")
	p.says(t, `"msg":"bounce filed"`, 1)
	p.says(t, `"msg":"outbound: post"`, 1)
	post("ann@net.test", "dev@lists.test", "1", "accepted") // a copy
	p.says(t, `"msg":"duplicate dropped"`, 1)
	post("eve@else.test", "dev@lists.test", "2", "held")
	p.says(t, `"msg":"post held"`, 1)
	post("ann@net.test", "dev-owner@lists.test", "3", "for the owners")
	p.says(t, `"msg":"mail forwarded"`, 1)
	post("ann@net.test", "dev-request@lists.test", "4", "help")
	p.says(t, `"msg":"outbound: post"`, 3)

	// What is about no message.
	others := []string{"ready", "plugin started", "outbound: the MTA is down, mail waits", "outbound: the MTA is up again", "outbound: the MTA is still down",
		"outbound: the MTA defers all of a transaction: fewer at once for a while"}
	about := map[string]int{}
	for line := range strings.Lines(p.text()) {
		var have struct{ Msg, Entry, List, Plugin string }
		if err := json.Unmarshal([]byte(line), &have); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if slices.Contains(others, have.Msg) {
			continue
		}
		about[have.Msg]++
		if len(have.Entry) != 16 || have.List != "dev@lists.test" {
			t.Errorf("without entry or list: %s", line)
		}
	}
	for _, want := range []string{"message kept", "post accepted", "outbound: chunk", "outbound: post", "bounce filed", "post held", "mail forwarded", "duplicate dropped"} {
		if about[want] == 0 {
			t.Errorf("the log does not say %q; it says %v", want, about)
		}
	}
}

// The trace is kept for as long, and as large, as the configuration says.
func TestTheTraceIsKeptAsConfigured(t *testing.T) {
	dir := installed(t, "")
	traces := filepath.Join(dir, "trace")
	configure(t, dir, fmt.Sprintf("trace.dir = %q\ntrace.keep = \"2d\"\ntrace.max_size = \"64KB\"\nlmtpd.max_message_size = \"300KB\"\n", traces))
	if err := os.Mkdir(traces, 0o700); err != nil {
		t.Fatal(err)
	}
	day := func(ago int) string {
		return filepath.Join(traces, time.Now().UTC().AddDate(0, 0, -ago).Format("2006-01-02")+".jsonl")
	}
	for ago, size := range map[int]int{9: 10, 2: 70 << 10, 1: 1 << 10} { // too old, too large with the others, and neither
		if err := os.WriteFile(day(ago), bytes.Repeat([]byte("{}\n"), size/3), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := start(t, dir, "lmtpd")
	p.says(t, "msg=ready", 1)
	oneList(t, dir)
	lmtp(t, dir, "LHLO mx.test", 250, "MAIL FROM:<ann@net.test>", 250, "RCPT TO:<dev@lists.test>", 250, "DATA", 354, fmt.Sprintf(aPost, "1"), 250)
	for ago, kept := range map[int]bool{9: false, 2: false, 1: true, 0: true} {
		if _, err := os.Stat(day(ago)); (err == nil) != kept {
			t.Errorf("the trace of %d days ago: %v, want it kept: %v", ago, err, kept)
		}
	}
}
