package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/dir"
	"github.com/mlist/mlist/test/tools/pages"
	"github.com/mlist/mlist/test/tools/sink"
)

// Fences of sh in the pages run here, block after block of a page, in an installation of its own in which mlist serves. Its
// directories are below one of the test, the files of samples where the reader is, and other programs than mlist may be
// stand-ins. Unless the page makes the list dev@lists.example.org, it is there, with a member. "sendmail ADDRESS" hands a message
// to mlist and waits until nothing is left to do. After a line "$ command" its output may follow: each line must be in what the
// command prints; … stands for anything.

// samples are the files that a reader of the pages has.
var samples = map[string]string{
	"members.txt": "ann@example.net\nBob <bob@example.com>\n# a comment\ncy@example.net\n",
	"people.csv":  "address,name\ndora@example.net,Dora\n",
	"members.csv": "address,name,mode\nann@example.net,Ann,regular\nbob@example.com,Bob,mime_digests\n",
	"trusted.txt": "partner@example.com\n^.*@example\\.org$\n",
	"banned.txt":  "eve@example.net\n",
	"post.eml": "From: Ann <ann@example.net>\nTo: dev@lists.example.org\nSubject: hello\nMessage-ID: <20261124120000.1@example.net>\n" +
		"Date: Tue, 24 Nov 2026 12:00:00 +0000\n\nHello, all.\n",
	"stranger.eml": "From: Eve <eve@example.org>\nTo: dev@lists.example.org\nSubject: may I?\nMessage-ID: <20261124120000.2@example.org>\n" +
		"Date: Tue, 24 Nov 2026 12:00:01 +0000\n\nLet me in.\n",
	"bounce.eml": "From: MAILER-DAEMON@mx.example.net\nTo: dev-bounces@lists.example.org\nSubject: Undelivered Mail\nMIME-Version: 1.0\n" +
		"Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nIt did not work.\n--b\nContent-Type: message/delivery-status\n\n" +
		"Reporting-MTA: dns; mx.example.net\n\nFinal-Recipient: rfc822; ann@example.net\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 no such user\n\n--b--\n",
	"dns.json": "{}",
	"old.mbox": "From ann@example.net Mon Nov 23 12:00:00 2026\nFrom: Ann <ann@example.net>\nSubject: long ago\nMessage-ID: <1@example.net>\nDate: Mon, 23 Nov 2026 12:00:00 +0000\n\nOnce.\n",
}

// buildCommand builds mlist as it is shipped: the pages have a hundred commands, each of which
// would start as slowly as under the race detector, which other tests run it under.
var buildCommand = sync.OnceValues(func() (dir string, err error) {
	if dir, err = filepath.Abs(filepath.Join("..", "..", "dist", "test", "bin")); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-ldflags", "-s -w", "-o", filepath.Join(dir, "mlist"), ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build mlist: %w: %s", err, out)
	}
	return dir, nil
})

// standIns are programs that pages name and that a machine under test need not have, or must not run: other list managers,
// who print their members, and what changes the machine. Each is a script; $SITE is the installation's directory.
var standIns = map[string]string{
	"mailman":      `case "$*" in lists) echo dev@lists.example.org ;; *regular*) echo ann@example.net ;; *mime*) echo bob@example.com ;; *owner*) echo you@example.org ;; *) echo cy@example.net ;; esac`,
	"mlmmj-list":   `case "$*" in *-d*) echo bob@example.com ;; *-n*) echo cy@example.net ;; *) echo ann@example.net ;; esac`,
	"list_members": `case "$*" in *-d*) echo bob@example.com ;; *-n*) echo cy@example.net ;; *) echo ann@example.net ;; esac`,
	"ezmlm-list":   `echo ann@example.net`,
	"list_lists":   `echo dev`,
	"config_list":  `echo 'real_name = "Dev"' > "$2"`,
	"sympa.pl":     `case "$*" in --dump=*@*) ;; *) exit 64 ;; esac`,
	"ldapsearch":   `echo ann@example.net`,
	"less":         `exec cat "$@"`,
	"ssh":          `shift; exec sh -euc "$*"`,
	"zstd":         `if [ "${1:-}" = -dc ]; then exec cat "$2"; else exec cat; fi`,
	"jq":           `exec cat`,
	"useradd":      `for user; do :; done; test "$user" = mlist`,
	"usermod":      `test "$*" = "--append --groups mlist postfix"`,
	"sudo":         `exec "$@"`,
	"apt":          `for package; do :; done; case $package in ./*.deb) ;; *) exit 64 ;; esac`,
	"install":      `set -- "$@" end; while [ "$1" != end ]; do case $1 in -o | -g) shift 2 ;; *) set -- "$@" "$1"; shift ;; esac; done; shift; exec /usr/bin/install "$@"`,
	// mlist.service is "mlist serve" in $SITE; of other units there must be such a file.
	"systemctl": `what=$1; shift
for unit; do case $unit in mlist) unit=mlist.service ;; esac; case $unit in --now) ;; daemon-reload) ;; *) test -e "$SOURCE/packaging/systemd/$(echo "$unit" | sed 's/@[^.]*/@/')" || { echo "no unit $unit"; exit 4; } ;; esac; done
case " $what $*" in
*" stop "*mlist.service*) kill "$(cat "$SITE/pid")"; while kill -0 "$(cat "$SITE/pid")" 2>/dev/null; do sleep 0.02; done ;;
*" start "*mlist.service*) mlist serve >"$SITE/again.log" 2>&1 </dev/null & echo $! >"$SITE/pid"; until grep -q msg=ready "$SITE/again.log"; do sleep 0.02; done ;;
*" reload "*) exec mlist reload ;;
esac`,
}

// tour is a reader who types what a page says, block after block.
type tour struct {
	dir  string // the installation: /etc/mlist, /var/lib/mlist, /var/spool/mlist, /usr/lib/mlist/plugins
	work string // where the reader is at the beginning, with the samples: /tmp, /var/backups
	at   string // where the reader is now
	env  []string

	mlist, plugins string // what was built: dist/mlist, dist/plugins
}

func newTour(t *testing.T, dir string) *tour {
	t.Helper()
	r := &tour{dir: dir, work: filepath.Join(dir, "work"), plugins: plugins(t)}
	var err error
	if r.mlist, err = exec.LookPath("mlist"); err != nil {
		t.Fatal(err)
	}
	r.at = r.work
	programs := filepath.Join(dir, "programs")
	for _, d := range []string{r.work, programs, filepath.Join(dir, "plugins"), filepath.Join(dir, "bin"), filepath.Join(dir, "system"), filepath.Join(r.work, "src")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write := func(path, text string, mode os.FileMode) {
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range samples {
		write(filepath.Join(r.work, name), text, 0o600)
	}
	for name, script := range standIns {
		write(filepath.Join(programs, name), "#!/bin/sh\nset -eu\n"+script+"\n", 0o700)
	}
	if err := os.Symlink(source(t), filepath.Join(r.work, "src", "mlist")); err != nil {
		t.Fatal(err)
	}
	r.env = append(os.Environ(), "MLIST_CONFIG="+filepath.Join(dir, "mlist.toml"), "TZ=UTC", "HOME="+r.work, "EDITOR=true", "SITE="+dir, "SOURCE="+source(t),
		"PATH="+programs+string(os.PathListSeparator)+os.Getenv("PATH"), "PLUGINS="+filepath.Join(dir, "plugins"), "GOSUMDB=off", "GOWORK=off",
		"MLIST_DNS_FILE="+filepath.Join(r.work, "dns.json"))
	if out, err := exec.Command("go", "env", "GOMODCACHE", "GOCACHE").Output(); err == nil { // which HOME would move
		caches := strings.Fields(string(out))
		r.env = append(r.env, "GOMODCACHE="+caches[0], "GOCACHE="+caches[1])
	}
	return r
}

// instead is what the reader types instead of what a page can only have an example of, in a line that fits: a command within it
// makes an entry, or a token.
var instead = []struct {
	line, example *regexp.Regexp
	becomes       string
}{
	{regexp.MustCompile(`mlist held`), regexp.MustCompile(`aaaqeayeaudaocaj`), `$$(entry held)`},
	{regexp.MustCompile(`mlist trace`), regexp.MustCompile(`aaaqeayeaudaocaj`), `$$(basename "$$(find "$$SITE/archive" -name '*.gz' | head -1)" .eml.gz)`},
	{regexp.MustCompile(`mlist post`), regexp.MustCompile(`aaaqeayeaudaocaj`), `$$(entry outgoing)`},
	{regexp.MustCompile(``), regexp.MustCompile(`aaaqeayeaudaocaj`), `$$(entry failed)`},
	{regexp.MustCompile(``), regexp.MustCompile(`--token (TOKEN|"\$TOKEN")`), `--token $$(token)`},
	{regexp.MustCompile(`mlist archive`), regexp.MustCompile(`\b4711\b`), `1`},
	{regexp.MustCompile(`mlist archive`), regexp.MustCompile(`\b4712\b`), `2`},
	{regexp.MustCompile(`mlist archive`), regexp.MustCompile(`JJIGKPKB6CVDX6B2CUG4IHAJRIQIOUTP`), `$$(mlist archive show dev@lists.example.org 1 --json | grep -o '"hash": *"[^"]*' | grep -o '[A-Z0-9]*$$')`},
	{regexp.MustCompile(`mlist approval`), regexp.MustCompile(`5e0dfc2a81`), `$$(mlist approval new dev@lists.example.org --json | grep -o '"id": *"[^"]*' | grep -o '[a-z0-9]*$$')`},
	{regexp.MustCompile(``), regexp.MustCompile(`\bmlist top\b`), `mlist top --once`}, // which would go on until q
	{regexp.MustCompile(``), regexp.MustCompile(`\bmlist (status|doctor)\b`), `findings $1`},
}

// findings runs a command that ends with 1 where something is wrong with the machine, as may be here.
const findings = `findings() { mlist "$@" 2>.errors || { test $? = 1 && ! grep -q ^mlist: .errors; }; }
`

// types runs what stands in a block as one script, or command by command where output follows.
func (r *tour) types(t *testing.T, b pages.Fence) {
	t.Helper()
	if !strings.HasPrefix(b.Text, "$ ") {
		r.run(t, b.String(), b.Text)
		return
	}
	for _, step := range strings.Split("\n"+b.Text, "\n$ ")[1:] {
		script, expected, _ := strings.Cut(step, "\n")
		out := r.run(t, b.String(), script)
		for _, line := range strings.Split(strings.TrimSpace(expected), "\n") {
			pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.Join(strings.Fields(r.here(line)), " ")), "…", ".*")
			if !regexp.MustCompile(pattern).MatchString(strings.Join(strings.Fields(out), " ")) {
				t.Errorf("%s: %s: the page says %q, and it printed\n%s", b, script, line, out)
			}
		}
	}
}

// here is a text of a page with the paths of this installation.
func (r *tour) here(text string) string {
	return strings.NewReplacer(" dist/mlist ", " "+r.mlist+" ", " dist/plugins/", " "+r.plugins+"/", "/usr/bin/", filepath.Join(r.dir, "bin")+"/",
		"/etc/systemd/system", filepath.Join(r.dir, "system"), "/etc/tmpfiles.d", filepath.Join(r.dir, "system"), "/etc/bash_completion.d", filepath.Join(r.dir, "system"),
		"/run/mlist", filepath.Join(r.dir, "run"), "/etc/mlist", r.dir, "/var/lib/mlist", r.dir, "/var/spool/mlist", filepath.Join(r.dir, "spool"), "/var/backups", r.work, "/tmp", r.work,
		"/usr/lib/mlist/plugins", filepath.Join(r.dir, "plugins"), "/usr/lib/mailman/bin/", "", "/var/lib/mailman/archives/private/dev.mbox/dev.mbox", "old.mbox").Replace(text)
}

// ofSource are files of a checkout, which is where the reader is then.
var ofSource = regexp.MustCompile(`(?m)(^|\s)(\./sdk|dist|packaging)/`)

func (r *tour) run(t *testing.T, where, text string) string {
	t.Helper()
	lines := strings.Split(text, "\n")
	for i := range lines {
		for _, p := range instead {
			if p.line.MatchString(lines[i]) {
				lines[i] = p.example.ReplaceAllString(lines[i], p.becomes)
			}
		}
	}
	script := r.here(strings.Join(lines, "\n"))
	cwd := filepath.Join(r.dir, "cwd")
	cmd := exec.Command("sh", "-euc", findings+script+"\npwd > "+cwd)
	cmd.Dir, cmd.Env = r.at, r.env
	if ofSource.MatchString(text) {
		cmd.Dir = source(t)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s\n%s", where, err, text, out)
	}
	if at, err := os.ReadFile(cwd); err == nil {
		r.at = strings.TrimSpace(string(at))
	}
	r.publish(t, string(out))
	return string(out)
}

// record is what keygen prints for DNS, and key what it prints for the configuration.
var (
	record = regexp.MustCompile(`(?s)(\S+)\. IN TXT \((.*?)\)`)
	key    = regexp.MustCompile(`(?m)^\[\[plugin\.sign\.keys\]\]\n(?:\w+ = .*\n)+`)
)

// publish does with the output of keygen what that says: its record goes to DNS, its lines to the end of the configuration.
func (r *tour) publish(t *testing.T, out string) {
	t.Helper()
	m, lines := record.FindStringSubmatch(out), key.FindString(out)
	if m == nil || lines == "" {
		return
	}
	text := strings.Join(regexp.MustCompile(`"([^"]*)"`).FindAllString(m[2], -1), "")
	dns, err := json.Marshal(map[string][]string{m[1]: {strings.ReplaceAll(text, `"`, "")}})
	if err == nil {
		err = os.WriteFile(filepath.Join(r.work, "dns.json"), dns, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(r.dir, "mlist.toml")
	before, err := os.ReadFile(config)
	if err == nil {
		err = os.WriteFile(config, append(before, "\n"+lines...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// touring puts the command on the PATH of what is typed, and returns an MTA.
func touring(t *testing.T) *sink.Server {
	t.Helper()
	bin, err := buildCommand()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	mta, err := sink.Listen("127.0.0.1:0", sink.Options{Record: sink.Memory})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mta.Close() })
	return mta
}

func TestCommandBlocksOfThePagesRun(t *testing.T) {
	mta := touring(t)
	eachPage(t, func(name string, fences []pages.Fence, _ string) {
		fences = slices.DeleteFunc(fences, func(f pages.Fence) bool { return f.Lang != "sh" })
		if len(fences) == 0 {
			return
		}
		t.Run(name, func(t *testing.T) {
			dir := site(t, mta, "site_name = \"\"\n")
			r := newTour(t, dir)
			serve := start(t, dir, "serve")
			serve.says(t, "msg=ready", 1)
			t.Cleanup(r.stopped(t, serve))
			if !slices.ContainsFunc(fences, func(f pages.Fence) bool { return strings.Contains(f.Text, "list create dev@lists.example.org") }) {
				command(t, dir, "list", "create", "dev@lists.example.org", "--owner", "you@example.org")
				command(t, dir, "member", "add", "dev@lists.example.org", "ann@example.net")
			}
			for _, f := range fences {
				r.types(t, f)
			}
		})
	})
}

// What the page on watching shows of mlist status has the lines, and the columns, that it prints; only figures differ.
func TestThePageShowsStatusAsItIs(t *testing.T) {
	mta, err := sink.Listen("127.0.0.1:0", sink.Options{Record: sink.Memory})
	if err != nil {
		t.Fatal(err)
	}
	defer mta.Close()
	dir := site(t, mta, "")
	start(t, dir, "serve").says(t, "msg=ready", 1)
	out, _ := exec.Command("mlist", "--config", filepath.Join(dir, "mlist.toml"), "status").Output() // 1 where the disk is nearly full
	// shape is the heads of columns, and the first word of each other line.
	shape := func(text string) (words []string) {
		for line := range strings.Lines(text) {
			fields := strings.Fields(line)
			if len(fields) == 0 || fields[0] == "$" || fields[0] == "PROBLEM:" {
				continue
			}
			if fields[0] == strings.ToUpper(fields[0]) && len(fields) > 2 && fields[1] == strings.ToUpper(fields[1]) {
				words = append(words, strings.Join(fields, " "))
			} else {
				words = append(words, strings.TrimLeft(fields[0], "0123456789"))
			}
		}
		return words
	}
	eachPage(t, func(_ string, fences []pages.Fence, _ string) {
		for _, f := range fences {
			if shown, ok := strings.CutPrefix(f.Text, "$ mlist status\n"); ok {
				if page, is := shape(shown), shape(string(out)); !slices.Equal(page, is) {
					t.Errorf("%s:\n%q\nand mlist prints\n%q", f, page, is)
				}
			}
		}
	})
}

// stopped notes which process is mlist.service, and returns what ends one that the reader has started in its place.
func (r *tour) stopped(t *testing.T, serve *process) func() {
	t.Helper()
	file := filepath.Join(r.dir, "pid")
	if err := os.WriteFile(file, []byte(strconv.Itoa(serve.Process.Pid)), 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		text, err := os.ReadFile(file)
		if pid, cerr := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && cerr == nil && pid != serve.Process.Pid {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// says makes of a function a program.
func says(do func(args []string) error) func() {
	return func() {
		if err := do(os.Args[1:]); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
			os.Exit(1)
		}
	}
}

// entry puts a message into a queue, held, failed or outgoing, and prints its id.
func entry(args []string) error {
	cfg, err := config.Load(os.Getenv("MLIST_CONFIG"))
	if err != nil {
		return err
	}
	sp, err := dir.Open(strings.TrimPrefix(cfg.Spool.URL, "dir:"), dir.Options{})
	if err != nil {
		return err
	}
	defer sp.Close()
	id, to := spool.MakeID(uint64(time.Now().UnixMicro()), uint32(os.Getpid())), "dev@lists.example.org"
	if args[0] == string(spool.Outgoing) {
		err = prepare(sp, id, to, samples["post.eml"], []string{"ann@example.net"})
	} else {
		err = put(sp, spool.Queue(args[0]), id, to, samples["stranger.eml"])
	}
	fmt.Println(id)
	return err
}

// token prints one with which ann@example.net leaves dev@lists.example.org by one click.
func token([]string) error {
	cfg, err := config.Load(os.Getenv("MLIST_CONFIG"))
	if err != nil {
		return err
	}
	text, err := oneClickToken(context.Background(), cfg.Store.URL, address.Address{Local: "dev", Domain: "lists.example.org"}, "ann@example.net")
	fmt.Println(text)
	return err
}

// sendmail stands in for an MTA's: it hands a message to the mlist of MLIST_CONFIG by LMTP, and
// waits until nothing of it is on its way.
func sendmail(args []string) error {
	from := "ann@example.net"
	if len(args) > 1 && args[0] == "-f" {
		from, args = args[1], args[2:]
	}
	dir := filepath.Dir(os.Getenv("MLIST_CONFIG"))
	conn, err := net.Dial("unix", filepath.Join(dir, "lmtp.sock"))
	if err != nil {
		return err
	}
	defer conn.Close()
	c := textproto.NewConn(conn)
	if _, _, err := c.ReadResponse(220); err != nil {
		return err
	}
	lines := []string{"LHLO mx.example.org", "MAIL FROM:<" + from + ">"}
	for _, to := range args {
		lines = append(lines, "RCPT TO:<"+to+">")
	}
	for _, line := range lines {
		if err := c.PrintfLine("%s", line); err != nil {
			return err
		}
		if _, _, err := c.ReadResponse(250); err != nil {
			return err
		}
	}
	if err := c.PrintfLine("DATA"); err != nil {
		return err
	}
	if _, _, err := c.ReadResponse(354); err != nil {
		return err
	}
	w := c.DotWriter()
	if _, err := io.Copy(w, bufio.NewReader(os.Stdin)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if _, _, err := c.ReadResponse(250); err != nil {
		return err
	}
	for end := time.Now().Add(bound); ; time.Sleep(10 * time.Millisecond) {
		busy := 0
		for _, q := range []string{"incoming", "bounces", "outgoing"} {
			names, err := os.ReadDir(filepath.Join(dir, "spool", q))
			if err != nil {
				return err
			}
			busy += len(slices.DeleteFunc(names, func(e os.DirEntry) bool { return strings.HasSuffix(e.Name(), ".done") }))
		}
		if busy == 0 {
			return nil
		}
		if time.Now().After(end) {
			return errors.New("mail is still on its way")
		}
	}
}
