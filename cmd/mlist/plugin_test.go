package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/wire"
)

// source is this checkout.
func source(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// shell runs a command in a directory and returns what it prints. Go may fetch what
// mlist's own modules need, as for building mlist.
func shell(t *testing.T, dir, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod", "GOSUMDB=off", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// inProcess runs mlist in this process.
func inProcess(t *testing.T, stdin string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	status = (&app{in: strings.NewReader(stdin), out: &out, err: &errs}).main(t.Context(), args)
	return out.String(), errs.String(), status
}

// build builds a program of this checkout into a directory where plugins may be.
func build(t *testing.T, dir string, pkgs ...string) {
	t.Helper()
	for _, pkg := range pkgs {
		path := filepath.Join(dir, filepath.Base(pkg))
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "github.com/mlist/mlist/"+pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", pkg, err, out)
		}
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatAHandlerAsksForIsToldInWords(t *testing.T) {
	have := askWords(&host.Post{
		State: []wire.StateEdit{{Kind: wire.StateSet, Key: "last", Value: []byte("x")}, {Kind: wire.StateAdd, Key: "n", Delta: 2},
			{Kind: wire.StateDelete, Key: "old"}},
		Submissions: []wire.Submission{{Submission: sdk.Submission{To: "ann@example.org", Message: []byte("x")}}, {Submission: sdk.Submission{Message: []byte("y")}},
			{Submission: sdk.Submission{Post: true, Message: []byte("z")}}, {Submission: sdk.Submission{Post: true, Approved: true, Message: []byte("z")}}},
		Counts: map[string]int64{"seen": 1},
	})
	want := []string{`set state last to "x"`, "add 2 to state n", "delete state old", "send 1 octet to ann@example.org",
		"send 1 octet to owners and moderators", "post 1 octet to the list", "post 1 octet to the list, approved", "count 1 more seen"}
	if !slices.Equal(have, want) {
		t.Errorf("%q", have)
	}
}

// inConfig makes a configuration the one that commands use.
func inConfig(t *testing.T, text string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mlist.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MLIST_CONFIG", path)
}

func TestANewHandlerBuildsAndPassesItsTestAndTheCheck(t *testing.T) {
	inConfig(t, "")
	dir := filepath.Join(t.TempDir(), "greet")
	out, errs, status := inProcess(t, "", "plugin", "new", "greet", "--dir", dir, "--mlist", source(t))
	if status != 0 || !strings.Contains(out, "make check") {
		t.Fatalf("status %d\n%s%s", status, out, errs)
	}
	program, err := os.ReadFile(filepath.Join(dir, "main.go"))
	if n := bytes.Count(program, []byte("\n")); err != nil || n >= 40 {
		t.Errorf("main.go has %d lines, %v", n, err)
	}
	if out, err := shell(t, dir, "gofmt", "-l", "."); err != nil || out != "" {
		t.Errorf("gofmt: %v %s", err, out)
	}
	for _, args := range [][]string{{"build", "-o", "greet", "."}, {"vet", "."}, {"test", "."}} {
		if out, err := shell(t, dir, "go", args...); err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, out)
		}
	}
	if make, err := exec.LookPath("make"); err == nil {
		if out, err := shell(t, dir, make, "build", "test"); err != nil {
			t.Errorf("make: %v\n%s", err, out)
		}
	}
	greet := filepath.Join(dir, "greet")
	if out, errs, status := inProcess(t, "", "plugin", "check", greet); status != 0 || !strings.Contains(out, "keeps the contract") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	out, errs, status = inProcess(t, "Subject: hello\n\nHello.\n", "plugin", "run", greet)
	if status != 0 || !strings.Contains(out, "append X-Checked: by greet\n") || !strings.HasSuffix(out, "\nSubject: hello\nX-Checked: by greet\n\nHello.\n") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
}

func TestANewHandlerOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Makefile"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, errs, status := inProcess(t, "", "plugin", "new", "greet", "--dir", dir)
	if status != exitError || !strings.Contains(errs, "Makefile is there already") {
		t.Errorf("status %d: %s", status, errs)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("%v %v", files, err)
	}
	for _, name := range []string{"", "Greet", "a b", "../x", "-x", "9"} {
		if _, errs, status := inProcess(t, "", "plugin", "new", "--dir", t.TempDir(), "--", name); status != exitUsage {
			t.Errorf("name %q: status %d: %s", name, status, errs)
		}
	}
	if _, errs, status := inProcess(t, "", "plugin", "new", "greet", "--dir", filepath.Join(dir, "new"), "--mlist", dir); status != exitError || !strings.Contains(errs, "no source of mlist") {
		t.Errorf("status %d: %s", status, errs)
	}
}

func TestANewHandlerWithoutACheckoutSaysWhatToDo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "greet")
	out, errs, status := inProcess(t, "", "plugin", "new", "greet", "--dir", dir)
	if status != 0 || !strings.Contains(out, "go.mod must say where its source is") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil || !strings.Contains(string(mod), "\n// replace github.com/mlist/mlist => ../mlist\n") {
		t.Errorf("%s %v", mod, err)
	}
}

func TestPluginsAreListedWithTheirProblems(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	build(t, dir, "plugins/standard", "sdk/example/shout")
	text := "pipeline.plugin_dir = \"" + dir + "\"\n"
	inConfig(t, text)
	out, errs, status := inProcess(t, "", "plugin", "ls")
	if !strings.Contains(out, "\n    needs    ") || !strings.Contains(out, "keep") || !strings.Contains(out, "\n    at SMTP  loop, ") {
		t.Errorf("what they need, and judge at SMTP time, is not told:\n%s", out)
	}
	if status != 0 || !strings.Contains(out, "shout (not in use)") || !strings.Contains(out, "standard") || strings.Contains(out, "problem") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}

	if err := os.WriteFile(filepath.Join(dir, "unsafe"), []byte("#!/bin/sh\ntouch "+dir+"/was-started\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "unsafe"), 0o777); err != nil {
		t.Fatal(err)
	}
	inConfig(t, "[pipeline]\nplugin_dir = \""+dir+"\"\nstages = [\"shout\", \"nonesuch\"]\n[plugin.shout]\nmots = 3\n")
	out, errs, status = inProcess(t, "", "plugin", "ls", "--json")
	var have struct {
		Plugins  []pluginJSON
		Problems []string
	}
	if err := json.Unmarshal([]byte(out), &have); err != nil || status != exitError || len(have.Plugins) != 3 {
		t.Fatalf("status %d, %v\n%s%s", status, err, out, errs)
	}
	if p := have.Plugins[0]; p.Name != "shout" || p.Version != "1.0" || strings.Join(p.InUse, " ") != "shout" || !strings.Contains(strings.Join(p.Problems, " "), "mots: unknown key") {
		t.Errorf("%+v", p)
	}
	if p := have.Plugins[2]; p.Name != "" || !strings.Contains(strings.Join(p.Problems, " "), "others can write it") {
		t.Errorf("%+v", p)
	}
	if len(have.Problems) != 1 || !strings.Contains(have.Problems[0], "nonesuch") {
		t.Errorf("%q", have.Problems)
	}
	if _, err := os.Stat(filepath.Join(dir, "was-started")); err == nil {
		t.Error("a program that anybody can write was started")
	}

	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if out, errs, status := inProcess(t, "", "plugin", "ls"); status != exitError || strings.Contains(out, "shout 1.0") {
		t.Errorf("in a directory that anybody can write: status %d\n%s%s", status, out, errs)
	}
}

func TestAStageIsRunOnAMessage(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	build(t, dir, "plugins/standard", "sdk/example/shout")
	inConfig(t, "[pipeline]\nplugin_dir = \""+dir+"\"\n[plugin.shout]\nmost = 50\n")
	const post = "From: ann@example.org\r\nSubject: hello\r\n\r\nHello.\r\n"
	for name, c := range map[string]struct {
		stdin  string
		args   []string
		status int
		want   []string
	}{
		"the only stage needs no name, and has its configuration": {"Subject: HALF up\n\nx\n", []string{"shout"}, 0,
			[]string{"verdict     hold (shouting): 66%"}},
		"a list's setting": {post, []string{"standard", "--stage", "subject", "--list-setting", "subject_prefix=[Dev] "}, 0,
			[]string{"verdict     accept", "replace Subject: [Dev] hello", "\nSubject: [Dev] hello\n\nHello.\n"}},
		"several stages, one after the other": {post, []string{"standard", "--stage", "subject", "--stage", "footer", "--stage", "recipients", "--list-setting", "footer=bye"}, 0,
			[]string{"body        at ", "insert \"", "bye", "recipients  select role member mode regular status enabled"}},
		"a member may post": {post, []string{"standard", "--stage", "posting", "--member", "ann@example.org", "--json"}, 0,
			[]string{`"verdict": "accept"`}},
		"who is none may not": {post, []string{"standard", "--stage", "posting", "--json"}, 0, []string{`"code": "nonmember"`}},
		"by the path":         {post, []string{filepath.Join(dir, "shout")}, 0, []string{"append X-Volume: 0"}},
		"which stage?":        {post, []string{"standard"}, exitUsage, []string{"want --stage: standard has loop, authenticate, posting"}},
		"no such stage":       {post, []string{"shout", "--stage", "whisper"}, exitError, []string{"no plugin offers stage whisper"}},
		"no such plugin":      {post, []string{"whisper"}, exitError, []string{"no plugin whisper in", "./whisper"}},
		"no such setting":     {post, []string{"shout", "--list-setting", "fotter=x"}, exitUsage, []string{"fotter"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, status := inProcess(t, c.stdin, append([]string{"plugin", "run"}, c.args...)...)
			for _, w := range c.want {
				if !strings.Contains(out+errs, w) {
					t.Errorf("nothing says %q", w)
				}
			}
			if status != c.status || t.Failed() {
				t.Errorf("status %d, want %d\n%s%s", status, c.status, out, errs)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "out")
	if out, errs, status := inProcess(t, post, "plugin", "run", "shout", "--output", path); status != 0 {
		t.Fatalf("status %d\n%s%s", status, out, errs)
	}
	const want = "From: ann@example.org\r\nSubject: hello\r\nX-Volume: 0\r\n\r\nHello.\r\n"
	if have, err := os.ReadFile(path); err != nil || string(have) != want {
		t.Errorf("%q, %v", have, err)
	}
}

func TestACheckTellsWhatIsBroken(t *testing.T) {
	inConfig(t, "")
	path := filepath.Join(t.TempDir(), "chatty")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho good morning\nsleep 5\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	out, errs, status := inProcess(t, "", "plugin", "check", path)
	if status != exitError || !strings.Contains(out, "handshake      BROKEN") || !strings.Contains(out, `it is "good morning"`) {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	out, errs, status = inProcess(t, "", "plugin", "check", path, "--json")
	if status != exitError || !strings.Contains(out, `"ok": false`) || !strings.Contains(out, `"breaks": true`) {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	if _, errs, status := inProcess(t, "", "plugin", "check", path+"-missing"); status != exitError || !strings.Contains(errs, "no such file") {
		t.Errorf("status %d: %s", status, errs)
	}
}

func TestAProgramThatMlistRefusesIsNeitherCheckedNorRun(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	started := filepath.Join(dir, ".started")
	program := func(in, name string, mode os.FileMode) string {
		path := filepath.Join(in, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\ntouch "+started+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	open, pinned := program(dir, "open", 0o777), program(dir, "pinned", 0o755)
	outside := program(t.TempDir(), "pinned", 0o755)
	const zeros = "0000000000000000000000000000000000000000000000000000000000000000"
	inConfig(t, "[pipeline]\nplugin_dir = \""+dir+"\"\nplugin_sha256 = { pinned = \""+zeros+"\" }\n")
	for path, want := range map[string]string{open: "others can write it", pinned: "plugin_sha256 pins it to 000"} {
		out, errs, status := inProcess(t, "", "plugin", "check", path)
		if status != exitError || !strings.Contains(out, "file           BROKEN") || !strings.Contains(out, want) {
			t.Errorf("check %s: status %d\n%s%s", path, status, out, errs)
		}
		for _, arg := range []string{path, filepath.Base(path)} {
			if _, errs, status := inProcess(t, "Subject: x\n\n", "plugin", "run", arg); status != exitError || !strings.Contains(errs, want) {
				t.Errorf("run %s: status %d\n%s", arg, status, errs)
			}
		}
	}
	if out, _, status := inProcess(t, "", "plugin", "ls"); status != exitError || !strings.Contains(out, "others can write it") || !strings.Contains(out, "pins it to 000") {
		t.Errorf("ls: status %d\n%s", status, out)
	}
	if _, err := os.Stat(started); err == nil {
		t.Error("one of them was started")
	}
	// One that is still to be installed is checked, and its author told.
	if out, _, _ := inProcess(t, "", "plugin", "check", outside); !strings.Contains(out, "file           ok\n    advice: In the plugin directory mlist would refuse it: its SHA-256 is ") {
		t.Errorf("%s", out)
	}
	if _, err := os.Stat(started); err != nil {
		t.Errorf("it was not started: %v", err)
	}
}

func TestAConsultationIsShown(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	build(t, dir, "plugins/standard")
	inConfig(t, "[pipeline]\nplugin_dir = \""+dir+"\"\n")
	const looping = "From: ann@example.org\r\nX-BeenThere: dev@lists.example.org\r\n\r\nHello.\r\n"
	out, errs, status := inProcess(t, looping, "plugin", "run", "standard", "--smtp", "--stage", "archive", "--stage", "loop")
	if status != 0 || !strings.Contains(out, "verdict     discard (loop)") || strings.Contains(out, "stage       archive") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	out, errs, status = inProcess(t, looping, "plugin", "run", "standard", "--smtp", "--stage", "archive")
	if status != exitError || !strings.Contains(errs, "no stage of it judges at SMTP time") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
}

func TestTheHandlersThatComeWithMlistKeepTheContract(t *testing.T) {
	inConfig(t, "")
	dir := t.TempDir()
	build(t, dir, "plugins/standard", "sdk/example/shout")
	for _, name := range []string{"standard", "shout"} {
		if out, errs, status := inProcess(t, "", "plugin", "check", filepath.Join(dir, name), "--json"); status != 0 || !strings.Contains(out, `"findings": []`) {
			t.Errorf("%s: status %d\n%s%s", name, status, out, errs)
		}
	}
}

func TestAHandlerInPythonKeepsTheContractAndWorks(t *testing.T) {
	root := source(t)
	if out, err := shell(t, root, filepath.Join(root, "test", "install-python-grpc")); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := shell(t, root, "/usr/bin/python3", "-c", "import grpc, google.protobuf"); err != nil {
		t.Skipf("THE HANDLER IN PYTHON WAS NOT TRIED: install python3-grpcio and python3-protobuf\n%s", out)
	}
	if _, err := exec.LookPath("protoc"); err != nil {
		t.Skip("THE HANDLER IN PYTHON WAS NOT TRIED: install protobuf-compiler")
	}
	dir := t.TempDir()
	text, err := os.ReadFile(filepath.Join(root, "sdk", "example", "python", "greeter.py"))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("\n")); n >= 120 {
		t.Errorf("it has %d lines", n)
	}
	greeter := filepath.Join(dir, "greeter")
	if err := os.WriteFile(greeter, text, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := shell(t, root, "protoc", "--python_out="+dir, "--proto_path=sdk/proto", "plugin.proto"); err != nil {
		t.Fatalf("protoc: %v\n%s", err, out)
	}
	inConfig(t, "[plugin.greeter]\ngreeting = \"Hello from here.\"\n")
	if out, errs, status := inProcess(t, "", "plugin", "check", greeter, "--json"); status != 0 || !strings.Contains(out, `"findings": []`) {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	out, errs, status := inProcess(t, "From: ann@example.org\nSubject: hello\n\nHello.\n", "plugin", "run", greeter)
	if status != 0 || !strings.HasSuffix(out, "\nSubject: hello\nX-Greeting: Hello from here.\n\nHello.\n\n-- \nHello from here.\n") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	out, errs, status = inProcess(t, "From: ann@example.org\n\nHello.\n", "plugin", "run", greeter)
	if status != 0 || !strings.Contains(out, "verdict     hold (no-subject): The post has no subject.\n") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
}
