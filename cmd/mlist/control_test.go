package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// refused runs a command that must end with status 1, and returns what it says.
func refused(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("mlist", append([]string{"--config", filepath.Join(dir, "mlist.toml")}, args...)...)
	out, _ := cmd.CombinedOutput() // the status tells
	if code := cmd.ProcessState.ExitCode(); code != exitError {
		t.Errorf("mlist %s: exit status %d: %s", strings.Join(args, " "), code, out)
	}
	return string(out)
}

func TestTheCommandReloadsARunningMlistAndListsItsPlugins(t *testing.T) {
	dir := installed(t, "")
	base := fmt.Sprintf("pipeline.plugin_dir = %q\noutbound.mta = \"unix:/nowhere\"\n", plugins(t))
	if out := refused(t, dir, "reload"); !strings.Contains(out, "not running") {
		t.Errorf("before the start: %s", out)
	}
	if out := command(t, dir, "plugin", "ls"); !strings.Contains(out, "mlist is not running") {
		t.Errorf("before the start: %s", out)
	}
	p := start(t, dir, "serve")
	p.says(t, "msg=ready", 1)
	command(t, dir, "list", "create", "dev@lists.test")
	command(t, dir, "member", "add", "dev@lists.test", "ann@net.test")
	lmtp(t, dir, "LHLO mx.test", 250, "MAIL FROM:<ann@net.test>", 250, "RCPT TO:<dev@lists.test>", 250, "DATA", 354,
		"From: ann@net.test\r\nTo: dev@lists.test\r\nSubject: x\r\n\r\nHello.\r\n.", 250)
	p.says(t, `msg="post accepted"`, 1)

	if out := command(t, dir, "reload"); !strings.Contains(out, "lmtpd, milter, pipeline, outbound (pid ") || !strings.Contains(out, "configuration taken on") {
		t.Errorf("reload: %s", out)
	}
	p.says(t, `msg="configuration taken on"`, 1)
	var have struct {
		Plugins []pluginJSON
		Running []processJSON
	}
	if err := json.Unmarshal([]byte(command(t, dir, "plugin", "ls", "--json")), &have); err != nil {
		t.Fatal(err)
	}
	if len(have.Plugins) != 1 || have.Plugins[0].Running == nil || len(have.Running) != 1 {
		t.Fatalf("plugin ls: %+v", have)
	}
	if r := have.Plugins[0].Running; !r.Healthy || r.PID == 0 || r.Calls != 1 || r.Errors != 0 || r.P50 <= 0 || r.P99 < r.P50 {
		t.Errorf("the plugin, whose figures outlive the reload: %+v", r)
	}
	if r := have.Running[0]; r.PID != p.Process.Pid || r.Posts != 1 || r.Calls != 1 {
		t.Errorf("the process: %+v", r)
	}
	if out := command(t, dir, "plugin", "ls"); !strings.Contains(out, "healthy, restarts 0, calls 1, errors 0, p50 ") || !strings.Contains(out, "(1.00 a post)") {
		t.Errorf("plugin ls: %s", out)
	}

	configure(t, dir, "nonsense = 1\n")
	if out := refused(t, dir, "reload"); !strings.Contains(out, "nonsense: no such key") {
		t.Errorf("a file that is bad: %s", out)
	}
	// What only the running mlist finds out.
	configure(t, dir, fmt.Sprintf("pipeline.plugin_dir = %q\n", t.TempDir()))
	if out := refused(t, dir, "reload"); !strings.Contains(out, "the old configuration stays in effect: plugins: ") {
		t.Errorf("no plugins: %s", out)
	}
	var results []reloadJSON
	cmd := exec.Command("mlist", "--config", filepath.Join(dir, "mlist.toml"), "--json", "reload")
	if out, err := cmd.Output(); err == nil || json.Unmarshal(out, &results) != nil || len(results) != 1 || results[0].Reloaded || results[0].Error == "" {
		t.Errorf("no plugins, as JSON: %v %s", err, out)
	}
	configure(t, dir, base)
	command(t, dir, "reload")
	p.signal(t, syscall.SIGTERM)
	if code := p.ends(t); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// A reload takes on templates, and none of them where one is bad.
func TestAReloadTakesOnTemplatesWholeOrNotAtAll(t *testing.T) {
	dir := installed(t, "")
	site := filepath.Join(dir, "templates", "site")
	if err := os.MkdirAll(site, 0o755); err != nil {
		t.Fatal(err)
	}
	file := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(site, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file("results.txt", "Subject: first\n\n%(report)s\n")
	p := start(t, dir, "serve")
	p.says(t, "msg=ready", 1)
	command(t, dir, "list", "create", "dev@lists.test")
	asks := func(n int, want string) {
		t.Helper()
		lmtp(t, dir, "LHLO mx.test", 250, "MAIL FROM:<ann@net.test>", 250, "RCPT TO:<dev-request@lists.test>", 250, "DATA", 354,
			fmt.Sprintf("From: ann@net.test\r\nSubject: echo %d\r\n\r\n.", n), 250)
		for deadline := time.Now().Add(bound); !inSpool(t, dir, want+"\r\n", fmt.Sprintf("> echo %d\r\n%d", n, n)); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("nobody writes %q", want)
			}
		}
	}
	asks(1, "Subject: first")

	file("results.txt", "Subject: second\n\n%(report)s\n")
	file("footer.txt", "%(lst)s\n")
	if out := refused(t, dir, "reload"); !strings.Contains(out, "the old configuration stays in effect: ") || !strings.Contains(out, "site/footer.txt:1: no placeholder %(lst)s here") {
		t.Errorf("reload: %s", out)
	}
	asks(2, "Subject: first")

	file("footer.txt", "%(list_name)s\n")
	command(t, dir, "reload")
	asks(3, "Subject: second")
	p.signal(t, syscall.SIGTERM)
	if code := p.ends(t); code != 0 {
		t.Errorf("exit status %d", code)
	}

	file("footer.txt", "\xff\n")
	if out := refused(t, dir, "serve"); !strings.Contains(out, "site/footer.txt:1: octet 0xff is not UTF-8") || !strings.Contains(out, "mlist template check") {
		t.Errorf("start: %s", out)
	}
}

// inSpool tells whether a file of the spool's outgoing mail holds all of these.
func inSpool(t *testing.T, dir string, texts ...string) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(filepath.Join(dir, "spool", "outgoing"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil // it may be gone again
		}
		content, err := os.ReadFile(path)
		if err == nil && !slices.ContainsFunc(texts, func(s string) bool { return !strings.Contains(string(content), s) }) {
			found = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestSingleDaemonsAreReloadedEach(t *testing.T) {
	dir := installed(t, "")
	in, out := start(t, dir, "lmtpd"), start(t, dir, "outbound")
	in.says(t, "msg=ready", 1)
	out.says(t, "msg=ready", 1)
	if said := command(t, dir, "reload"); !strings.Contains(said, "lmtpd (pid ") || !strings.Contains(said, "outbound (pid ") {
		t.Errorf("reload: %s", said)
	}
}

func TestMlistRunsWithoutAPlaceForItsControlSocket(t *testing.T) {
	dir := installed(t, "")
	text := strings.Replace(configIn(dir, ""), filepath.Join(dir, "control.sock"), filepath.Join(dir, "none", "control.sock"), 1)
	if err := os.WriteFile(filepath.Join(dir, "mlist.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, dir, "lmtpd")
	p.says(t, "msg=ready", 1)
	p.says(t, "level=WARN msg=\"`mlist reload`", 1)
}
