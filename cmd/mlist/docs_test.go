package main

import (
	"bufio"
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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/test/tools/pages"
	"github.com/mlist/mlist/test/tools/sink"
)

// Fences of sh in the pages run here, block after block of a page, in an installation of its own
// in which mlist serves. /etc/mlist, /var/lib/mlist, /var/spool/mlist and /var/backups are in a
// directory of the test, the files of samples in the working directory. Unless the page makes the
// list dev@lists.example.org, it is there, with a member. "sendmail ADDRESS" hands a message to
// mlist and waits until nothing is left to do. After a line "$ command" its output may follow: each
// line must be in what the command prints; … stands for anything.
//
// A command of mlist's in a fence of console, or within a sentence, must be one that there is, with
// flags that it has. docs/pages_test.go tells of the other languages.

// eachPage reads every page.
func eachPage(t *testing.T, do func(name string, fences []pages.Fence, rest string)) {
	t.Helper()
	all, err := pages.All("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range all {
		fences, rest, err := pages.Read(page)
		if err != nil {
			t.Error(err)
		}
		do(filepath.Base(page), fences, strings.Join(rest, "\n"))
	}
}

var inSentence = regexp.MustCompile("`(mlist [^`]*)`")

func TestCommandsInThePagesAreThere(t *testing.T) {
	eachPage(t, func(name string, fences []pages.Fence, rest string) {
		for _, f := range fences {
			runs := f.Lang == "sh" || f.Lang == "console"
			for _, line := range commandsIn(f.Text) {
				switch err := checkCommand(line); {
				case runs && err != nil:
					t.Errorf("%s: %s: %v", f, line, err)
				case !runs && err == nil:
					t.Errorf("%s: a command in a fence of %s: want sh or console: %s", f, f.Lang, line)
				}
			}
		}
		// A span of code may go over the end of a line.
		for _, m := range inSentence.FindAllStringSubmatch(rest, -1) {
			if strings.ContainsAny(m[1], "|…") {
				continue // several at once: `mlist queue|trace`
			}
			if err := checkCommand(strings.Join(strings.Fields(m[1]), " ")); err != nil {
				t.Errorf("%s: `%s`: %v", name, m[1], err)
			}
		}
	})
}

var (
	continued  = regexp.MustCompile(`\\\n\s*`)
	separators = regexp.MustCompile(`&&|\|\||[|;]|\$\(|\bthen\b|\bdo\b`)
)

// commandsIn are the mlist commands of a block, without what is before or behind them.
func commandsIn(text string) (out []string) {
	dialogue := strings.HasPrefix(text, "$ ") // the other lines are what was printed
	for _, line := range strings.Split(continued.ReplaceAllString(text, ""), "\n") {
		line, typed := strings.CutPrefix(strings.TrimSpace(line), "$ ")
		if dialogue && !typed {
			continue
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		for _, part := range separators.Split(quoted.ReplaceAllStringFunc(line, func(q string) string {
			return separators.ReplaceAllString(q, "_") // what is in quotes is no command
		}), -1) {
			part = strings.TrimSpace(part)
			part = strings.TrimPrefix(part, "sudo ")
			if strings.HasPrefix(part, "mlist ") {
				out = append(out, part)
			}
		}
	}
	return out
}

var quoted = regexp.MustCompile(`"[^"]*"|'[^']*'`)

// checkCommand finds out whether there is such a command, and whether it has these flags.
func checkCommand(line string) error {
	var words []string
	for _, w := range regexp.MustCompile(`(?:"[^"]*"|'[^']*'|[^\s"'])+`).FindAllString(line, -1)[1:] {
		if strings.HasPrefix(w, "#") || strings.HasPrefix(w, ">") || strings.HasPrefix(w, "<") || w == "&" {
			break // a comment, or where its output goes
		}
		words = append(words, strings.Trim(w, `"'`))
	}
	root := (&app{}).command()
	root.InitDefaultHelpFlag()
	root.InitDefaultCompletionCmd()
	cmd, args, err := root.Find(words)
	if err != nil {
		return err
	}
	if len(args) > 0 && cmd.HasSubCommands() && !strings.HasPrefix(args[0], "-") && isWord(args[0]) && cmd.RunE != nil {
		if err := cmd.ValidateArgs(args); err != nil || cmd.Args == nil {
			return fmt.Errorf("%s has no command %s", cmd.CommandPath(), args[0])
		}
	}
	cmd.InitDefaultHelpFlag()
	for _, a := range args {
		name, isFlag := strings.CutPrefix(a, "--")
		if !isFlag || name == "" {
			continue
		}
		name, _, _ = strings.Cut(name, "=")
		if cmd.Flag(name) == nil && cmd.InheritedFlags().Lookup(name) == nil {
			return fmt.Errorf("%s has no flag --%s", cmd.CommandPath(), name)
		}
	}
	return nil
}

func isWord(s string) bool { return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") == "" }

// Every command says in its help how it is used, by examples that there are.
func TestEveryCommandHasAnExample(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Name() != "help" && c.Name() != "completion" {
			if c.Example == "" || c.Short == "" {
				t.Errorf("%s has no example, or does not say what it is for", c.CommandPath())
			}
			for _, line := range commandsIn(c.Example) {
				if err := checkCommand(line); err != nil {
					t.Errorf("%s: its example %q: %v", c.CommandPath(), line, err)
				}
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk((&app{}).command())
}

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

func TestCommandBlocksOfThePagesRun(t *testing.T) {
	bin, err := buildCommand()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	mta, err := sink.Listen("127.0.0.1:0", sink.Options{Record: sink.Memory})
	if err != nil {
		t.Fatal(err)
	}
	defer mta.Close()
	eachPage(t, func(name string, fences []pages.Fence, _ string) {
		fences = slices.DeleteFunc(fences, func(f pages.Fence) bool { return f.Lang != "sh" })
		if len(fences) == 0 {
			return
		}
		t.Run(name, func(t *testing.T) {
			dir := site(t, mta, "site_name = \"\"\n")
			work := filepath.Join(dir, "work")
			if err := os.Mkdir(work, 0o700); err != nil {
				t.Fatal(err)
			}
			for name, text := range samples {
				if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			start(t, dir, "serve").says(t, "msg=ready", 1)
			if !slices.ContainsFunc(fences, func(f pages.Fence) bool { return strings.Contains(f.Text, "list create dev@lists.example.org") }) {
				command(t, dir, "list", "create", "dev@lists.example.org", "--owner", "you@example.org")
				command(t, dir, "member", "add", "dev@lists.example.org", "ann@example.net")
			}
			for _, f := range fences {
				runBlock(t, dir, work, f)
			}
		})
	})
}

// runBlock runs what stands in a block as one script, or command by command where output follows.
func runBlock(t *testing.T, dir, work string, b pages.Fence) {
	t.Helper()
	if !strings.HasPrefix(b.Text, "$ ") {
		runScript(t, dir, work, b, b.Text)
		return
	}
	for _, step := range strings.Split("\n"+b.Text, "\n$ ")[1:] {
		script, expected, _ := strings.Cut(step, "\n")
		out := runScript(t, dir, work, b, script)
		for _, line := range strings.Split(strings.TrimSpace(expected), "\n") {
			pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.Join(strings.Fields(line), " ")), "…", ".*")
			if !regexp.MustCompile(pattern).MatchString(strings.Join(strings.Fields(out), " ")) {
				t.Errorf("%s: %s: the page says %q, and it printed\n%s", b, script, line, out)
			}
		}
	}
}

func runScript(t *testing.T, dir, work string, b pages.Fence, script string) string {
	t.Helper()
	here := strings.NewReplacer("/etc/mlist", dir, "/var/lib/mlist", dir, "/var/spool/mlist", filepath.Join(dir, "spool"), "/var/backups", work)
	cmd := exec.Command("sh", "-euc", here.Replace(script))
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "MLIST_CONFIG="+filepath.Join(dir, "mlist.toml"), "TZ=UTC", "HOME="+work, "EDITOR=true")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s\n%s", b, err, script, out)
	}
	return string(out)
}

// sendmail stands in for an MTA's: it hands a message to the mlist of MLIST_CONFIG by LMTP, and
// waits until nothing of it is on its way.
func sendmail() int {
	if err := hand(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sendmail:", err)
		return 1
	}
	return 0
}

func hand(args []string) error {
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
