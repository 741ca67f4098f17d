package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
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
