package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/control"
	"github.com/mlist/mlist/internal/metrics"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/test/tools/sink"
)

// certified makes a certificate for 127.0.0.1, and its PEM form.
func certified(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "mx.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// tlsBefore takes TLS connections with a certificate, and hands what they say to addr.
func tlsBefore(t *testing.T, addr string, c tls.Certificate) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", addr)
			if err != nil {
				in.Close()
				continue
			}
			all.Go(func() { _, _ = io.Copy(out, in); out.Close() })
			all.Go(func() { _, _ = io.Copy(in, out); in.Close() })
		}
	})
	return l.Addr().String()
}

// Everything that the configuration names is taken on at SIGHUP; of what is bad, nothing is,
// and the log says what it was.
func TestEachPartIsReloadedWholeOrNotAtAll(t *testing.T) {
	mta, err := sink.Listen("127.0.0.1:0", sink.Options{Record: sink.Memory, Bodies: true})
	if err != nil {
		t.Fatal(err)
	}
	defer mta.Close()
	mine, minePEM := certified(t)
	_, otherPEM := certified(t)
	dir := installed(t, "")
	roots, password := filepath.Join(dir, "roots.pem"), filepath.Join(dir, "password")
	file := func(path string, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file(roots, otherPEM)
	set := map[string]string{
		"outbound.mta": fmt.Sprintf("%q", "smtps://"+tlsBefore(t, mta.Addr().String(), mine)), "outbound.tls_ca_file": fmt.Sprintf("%q", roots),
		"pipeline.plugin_dir": fmt.Sprintf("%q", plugins(t)), "styles.discussion.subject_prefix": `"[first] "`, "log.level": `"info"`,
	}
	write := func() {
		t.Helper()
		var text strings.Builder
		for _, key := range sortedKeys(set) {
			fmt.Fprintf(&text, "%s = %s\n", key, set[key])
		}
		configure(t, dir, text.String())
	}
	write()
	p := start(t, dir, "serve")
	p.says(t, "msg=ready", 1)
	oneList(t, dir)
	taken, refusals := 0, 0
	good := func(key, value string) {
		t.Helper()
		set[key] = value
		write()
		p.signal(t, syscall.SIGHUP)
		taken++
		p.says(t, `msg="configuration taken on"`, taken)
	}
	bad := func(key, value, says string) {
		t.Helper()
		before, was := set[key]
		set[key] = value
		write()
		p.signal(t, syscall.SIGHUP)
		refusals++
		p.says(t, "the old one stays in effect", refusals)
		lines := strings.Split(p.text(), "\n")
		for i := len(lines) - 1; ; i-- {
			if strings.Contains(lines[i], "the old one stays in effect") {
				if !strings.Contains(lines[i], says) {
					t.Errorf("%s = %s: the log lacks %q: %s", key, value, says, lines[i])
				}
				break
			}
		}
		if set[key] = before; !was {
			delete(set, key)
		}
		write() // commands read it, too
	}
	posts := 0
	post := func(subject string) string {
		t.Helper()
		posts++
		lmtp(t, dir, "LHLO mx.test", 250, "MAIL FROM:<ann@net.test>", 250, "RCPT TO:<dev@lists.test>", 250, "DATA", 354,
			fmt.Sprintf("From: ann@net.test\r\nTo: dev@lists.test\r\nSubject: %s\r\nMessage-ID: <%d@net.test>\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\n\r\nHello.\r\n.", subject, posts), 250).Close()
		return fmt.Sprintf("%d@net.test", posts)
	}
	// arrives waits for a post at the MTA, and checks its subject.
	arrives := func(id, subject string) {
		t.Helper()
		for deadline := time.Now().Add(bound); ; time.Sleep(20 * time.Millisecond) {
			for _, tx := range mta.Transactions() {
				if tx.MessageID != id {
					continue
				}
				if !bytes.Contains(tx.Body, []byte("\r\nSubject: "+subject+"\r\n")) {
					t.Errorf("%s arrives without subject %q:\n%s", id, subject, tx.Body)
				}
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s does not arrive", id)
			}
		}
	}

	// Certificates: those in the file when it is read. The name of the file stays the same.
	first := post("x")
	p.says(t, "certificate signed by unknown authority", 1)
	file(roots, []byte("no certificate\n"))
	bad("lmtpd.idle_timeout", `"4m"`, "outbound.tls_ca_file: "+roots+": no certificate in it")
	file(roots, minePEM)
	good("lmtpd.idle_timeout", `"4m"`)
	arrives(first, "[first] x")

	// Styles.
	bad("styles.discussion.subject_prefix", "7", "styles.discussion.subject_prefix")
	arrives(post("y"), "[first] y")
	good("styles.discussion.subject_prefix", `"[second] "`)
	arrives(post("z"), "[second] z")

	// A password's file.
	set["outbound.username"] = `"mlist"`
	bad("outbound.password_file", fmt.Sprintf("%q", password), "outbound.password_file: open "+password)
	delete(set, "outbound.username")

	// The log's level.
	if strings.Contains(p.text(), "level=DEBUG") {
		t.Error("the log is more talkative than it was told to be")
	}
	bad("log.level", `"loud"`, "log.level")
	good("log.level", `"debug"`)
	arrives(post("debug"), "[second] debug")
	p.says(t, "level=DEBUG msg=\"outbound: chunk\"", 1)
	good("log.level", `"info"`)

	// Segments.
	owned := func() string {
		t.Helper()
		var st statusJSON
		if err := json.Unmarshal([]byte(statusOf(t, dir)), &st); err != nil {
			t.Fatal(err)
		}
		for _, o := range st.Owners {
			if o.Queue == "outgoing" {
				return o.Segments
			}
		}
		return ""
	}
	owns := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(bound); owned() != want; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("outbound owns %q, want %q", owned(), want)
			}
		}
	}
	bad("outbound.segments", `"0000-zzzz"`, "outbound.segments")
	owns("0000-ffff")
	good("outbound.segments", `"0000-7fff"`)
	owns("0000-7fff")
	problem(t, dir, "nobody serves 8000-ffff of outgoing")
	good("outbound.segments", `"0000-ffff"`)
	owns("0000-ffff")

	// A file that has gone, or is empty, as a full disk leaves it, does not stand for the defaults.
	path := filepath.Join(dir, "mlist.toml")
	for says, change := range map[string]func() error{
		"mlist.toml is empty, and was not": func() error { return os.Truncate(path, 0) },
		"no such file":                     func() error { return os.Remove(path) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		p.signal(t, syscall.SIGHUP)
		refusals++
		p.says(t, "the old one stays in effect", refusals)
		p.says(t, says, 1)
		write()
	}

	// What only a restart changes is named to who asks for it.
	set["pipeline.workers"], set["trace.keep"] = "3", `"2d"`
	write()
	taken++
	for _, args := range [][]string{{"reload"}, {"status"}} {
		if out := command(t, dir, args...); !strings.Contains(out, "; pipeline.workers, trace stay as they were until a restart") {
			t.Errorf("%s: %s", args, out)
		}
	}
	delete(set, "pipeline.workers")
	delete(set, "trace.keep")

	// Plugins: others are started, with what they are told now.
	bad("pipeline.plugin_dir", fmt.Sprintf("%q", t.TempDir()), "plugins: ")
	bad("plugin.sign.nonsense", "1", "nonsense")
	arrives(post("end"), "[second] end")
	if n := strings.Count(p.text(), `msg="plugin lost"`); n > 0 {
		t.Errorf("%d plugins were lost", n)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.ends(t); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// Without a file the defaults hold; but a file that was there and is gone at a reload is a
// mistake, also where nobody has named it.
func TestADefaultFileThatHasGoneIsNotTheDefaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mlist.toml")
	s := &server{path: path, load: func() (*config.Config, error) { return config.Default(), nil }}
	if _, err := s.loadAgain(); err != nil {
		t.Errorf("there never was a file: %v", err)
	}
	if err := os.WriteFile(path, []byte("# the defaults\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.loadAgain(); err != nil {
		t.Errorf("there is a file now: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := s.loadAgain(); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("it is gone: %v", err)
	}
}

// A status fits on a terminal of 80 columns.
func TestStatusFitsOnAScreen(t *testing.T) {
	st := &statusJSON{
		Processes: []processJSON{{Version: "1.0.10", PID: 1234567, Daemons: []string{"lmtpd", "milter", "pipeline", "outbound"}, Started: time.Now().Add(-time.Hour)}},
		Totals:    metrics.Totals{Taken: 8_011_313, Refused: 1_204, Prepared: 7_982_011, Held: 29_311, Delivered: 412_803_331, Deferred: 1_204_411, Bounced: 130_118},
		Plugins:   []control.Plugin{{Name: "standard", PID: 1234567, Calls: 8_011_313, P50: 0.8, P99: 4.2}},
		MTAs:      []control.MTA{{Address: "smtp://127.0.0.1:10025", Up: true, Limit: 8}},
		Disks:     []diskJSON{{Of: []string{"spool", "store", "archive", "trace"}, Path: "/var/spool/mlist", Free: 1 << 35, Total: 1 << 38}},
	}
	for _, q := range spool.Queues {
		st.Queues = append(st.Queues, queueJSON{Queue: q, Entries: 123_456, Recipients: 12_345_678, Deferred: 123_456})
	}
	for _, q := range []spool.Queue{spool.Bounces, spool.Incoming} {
		st.Owners = append(st.Owners, ownerJSON{Queue: q, Segments: "0000-ffff", Name: "pipeline on lists.example.org", PID: 1234567})
	}
	st.Owners = append(st.Owners, ownerJSON{Queue: spool.Outgoing, Segments: "0000-ffff", Name: "outbound on lists.example.org", PID: 1234567})
	var b bytes.Buffer
	st.print(&b, time.Now())
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	for _, line := range lines {
		if len(line) > 80 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	if len(lines) > 21 { // and two problems, and the prompt
		t.Errorf("%d lines:\n%s", len(lines), b.String())
	}
}

// What cannot be found out is a problem, one line, and the rest is shown.
func TestStatusTellsWhatItCannotFindOut(t *testing.T) {
	dir := installed(t, "")
	p := start(t, dir, "lmtpd")
	p.says(t, "msg=ready", 1)
	l, err := net.Listen("unix", filepath.Join(dir, "control-pipeline.sock"))
	if err != nil {
		t.Fatal(err)
	}
	var hangs sync.WaitGroup
	t.Cleanup(func() { l.Close(); hangs.Wait() })
	hangs.Go(func() { // one that answers nothing
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	})
	if err := os.Rename(filepath.Join(dir, "spool"), filepath.Join(dir, "spool.away")); err != nil {
		t.Fatal(err)
	}
	out := refused(t, dir, "status")
	for _, want := range []string{"runs lmtpd; up", "\nPROBLEM: a running mlist does not answer: ", "\nPROBLEM: the queues cannot be read: there is no spool at ", "\nPROBLEM: spool: "} {
		if !strings.Contains(out, want) {
			t.Errorf("status lacks %q:\n%s", want, out)
		}
	}
	st := &statusJSON{}
	for range 2 {
		st.problem("no way to %s:\n\tat %d\n\tat %d\n", "it", 1, 2)
	}
	if len(st.Problems) != 1 || st.Problems[0] != "no way to it: at 1; at 2" {
		t.Errorf("%q", st.Problems)
	}
}

// Segments that a reload would take from another daemon are waited for, and status tells whose they are.
func TestStatusTellsWhoseSegmentsAReloadWants(t *testing.T) {
	dir := installed(t, "")
	configure(t, dir, "outbound.segments = \"0000-7fff\"\n")
	start(t, dir, "outbound").says(t, "msg=ready", 1)
	start(t, dir, "outbound", "--segments", "8000-ffff").says(t, "msg=ready", 1)
	configure(t, dir, "outbound.segments = \"0000-8fff\"\n")
	command(t, dir, "reload")
	problem(t, dir, "outbound: waits for its segments: own outgoing 0000-8fff: 8000-8fff belongs to outbound on ")
	configure(t, dir, "outbound.segments = \"0000-7fff\"\n")
	command(t, dir, "reload")
	well(t, dir, "waits for its segments")
}
