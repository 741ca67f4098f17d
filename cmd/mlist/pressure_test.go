package main

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// watched is an installation whose metrics can be read.
func watched(t *testing.T, more string) (dir, base string) {
	t.Helper()
	dir = installed(t, "")
	base = fmt.Sprintf("metrics.listen = \"unix:%s/metrics.sock\"\npipeline.plugin_dir = %q\n", dir, plugins(t)) + more
	configure(t, dir, base)
	return dir, base
}

// problem waits until `mlist status` tells of a problem in these words.
func problem(t *testing.T, dir, words string) {
	t.Helper()
	var out string
	for deadline := time.Now().Add(bound); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		out = try(t, dir, "status")
		for line := range strings.Lines(out) {
			if rest, ok := strings.CutPrefix(line, "PROBLEM: "); ok && strings.Contains(rest, words) {
				return
			}
		}
	}
	t.Fatalf("status tells of no problem with %q:\n%s", words, out)
}

// well waits until `mlist status` tells of none.
func well(t *testing.T, dir, words string) {
	t.Helper()
	for deadline := time.Now().Add(bound); strings.Contains(try(t, dir, "status"), words); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("status tells of %q still", words)
		}
	}
}

const aPost = "From: ann@net.test\r\nTo: dev@lists.test\r\nSubject: x\r\nMessage-ID: <%s@net.test>\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\n\r\nHello.\r\n."

// oneList makes a list with a member who posts.
func oneList(t *testing.T, dir string) {
	t.Helper()
	command(t, dir, "list", "create", "dev@lists.test")
	command(t, dir, "member", "add", "dev@lists.test", "ann@net.test")
}

// A disk that is nearly full: the MTA keeps the mail, and everybody is told why.
func TestADiskThatIsNearlyFullIsToldEverywhere(t *testing.T) {
	const mta = "outbound.mta = \"unix:/nowhere\"\n"
	dir, base := watched(t, mta)
	configure(t, dir, base+"spool.min_free = \"1000000GB\"\n")
	p := start(t, dir, "serve")
	p.says(t, "msg=ready", 1)
	oneList(t, dir)
	c := lmtp(t, dir, "LHLO mx.test", 250, "MAIL FROM:<ann@net.test>")
	if _, text, err := c.ReadResponse(452); err != nil || text != "4.3.1 no space to keep the message now, try again later" {
		t.Errorf("MAIL: %v %s", err, text)
	}
	p.says(t, `msg="the disk of the spool is nearly full: mail is answered with 452, and waits in the MTA, until there is room" free=`, 1)
	problem(t, dir, "less than spool.min_free (1000000GB): lmtpd answers 452")
	p.shows(t, "readyz", "less than spool.min_free")
	p.shows(t, "metrics", "mlist_spool_full 1", `mlist_lmtpd_replies_total{code="452",command="MAIL"} 1`)

	configure(t, dir, base+"spool.min_free = \"1KB\"\n")
	command(t, dir, "reload")
	// What is free is believed for a moment.
	for deadline := time.Now().Add(bound); ; time.Sleep(50 * time.Millisecond) {
		if err := c.PrintfLine("MAIL FROM:<ann@net.test>"); err != nil {
			t.Fatal(err)
		}
		code, text, err := c.ReadResponse(2)
		if err == nil {
			break
		}
		if code != 452 || time.Now().After(deadline) {
			t.Fatalf("MAIL with room: %d %s", code, text)
		}
	}
	p.says(t, `msg="the disk of the spool has room again: mail is taken"`, 1)
	well(t, dir, "min_free")
	p.shows(t, "metrics", "mlist_spool_full 0")
}

// A store that others have locked: mail is taken and waits in incoming, and everybody is
// told why.
func TestAStoreThatIsLockedIsToldEverywhere(t *testing.T) {
	t.Parallel() // it waits for as long as a write may
	dir, _ := watched(t, "outbound.mta = \"unix:/nowhere\"\npipeline.retry_max = \"1s\"\n")
	p := start(t, dir, "serve")
	p.says(t, "msg=ready", 1)
	oneList(t, dir)
	db, err := sql.Open("sqlite", filepath.Join(dir, "mlist.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	lmtp(t, dir, "LHLO mx.test", 250, "MAIL FROM:<ann@net.test>", 250, "RCPT TO:<dev@lists.test>", 250, "DATA", 354, fmt.Sprintf(aPost, "1"), 250)
	p.says(t, `msg="post deferred" entry=`, 1)
	p.says(t, "locked", 1)
	problem(t, dir, "pipeline: posts wait since ")
	problem(t, dir, "locked")
	p.shows(t, "readyz", "posts wait since ", "locked")
	p.shows(t, "metrics", "mlist_pipeline_store_errors_total 1")
	if _, err := db.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	p.says(t, `msg="post accepted"`, 1)
	well(t, dir, "posts wait since")
}

// An MTA that is gone and a plugin that is dead: mail is taken, and everybody is told what
// it waits for.
func TestAnMTAThatIsGoneIsToldEverywhere(t *testing.T) {
	dir, _ := watched(t, "outbound.mta = \"unix:/nowhere/mta\"\n")
	p := start(t, dir, "serve")
	p.says(t, "msg=ready", 1)
	oneList(t, dir)
	lmtp(t, dir, "LHLO mx.test", 250, "MAIL FROM:<ann@net.test>", 250, "RCPT TO:<dev@lists.test>", 250, "DATA", 354, fmt.Sprintf(aPost, "1"), 250)
	p.says(t, `level=WARN msg="outbound: the MTA is down, mail waits" mta=unix:/nowhere/mta`, 1)
	problem(t, dir, "the MTA at unix:/nowhere/mta is down since ")
	p.shows(t, "metrics", "mlist_mta_up 0")
	if status, text := p.read(t, "readyz"); status != 200 {
		t.Errorf("mail can be taken and prepared, and yet: %s", text)
	}
}
