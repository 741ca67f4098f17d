package main

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
)

// notTyped are examples that need what this test has not, by how they begin, and the test that shows them.
var notTyped = map[string]string{
	"mlist serve":               "TestServeIsReadyTakesAPostAndStops",
	"mlist --config /tmp/try":   "TestServeIsReadyTakesAPostAndStops",
	"mlist lmtpd":               "TestSingleDaemonsAreReloadedEach",
	"mlist milter":              "TestSingleDaemonsAreReloadedEach",
	"mlist pipeline":            "TestSingleDaemonsAreReloadedEach",
	"mlist outbound":            "TestSingleDaemonsAreReloadedEach",
	"mlist segment":             "TestTwoHostsServeOneDatabase",
	"mlist store migrate":       "TestASiteMovesUnderLoad",
	"mlist postfix":             "TestTheCommandsOfThePagesWirePostfix",
	"mlist plugin new":          "TestANewHandlerBuildsAndPassesItsTestAndTheCheck",
	"mlist plugin check":        "TestANewHandlerBuildsAndPassesItsTestAndTheCheck",
	"mlist plugin run ./shout":  "TestANewHandlerBuildsAndPassesItsTestAndTheCheck",
	"systemctl stop mlist":      "TestCommandBlocksOfThePagesRun",
	"mlist style show corporat": "TestCommands",
}

// before is what has been done when somebody gives a command as in an example, where that is not what all examples speak of.
var before = map[string]string{
	"mlist list create dev@":              "mlist list delete dev@lists.example.org --now --yes",
	"mlist list restore":                  "mlist list delete dev@lists.example.org --yes",
	"mlist ban remove --site":             "mlist ban add --site @spam.example",
	"mlist ban remove --list":             "mlist ban add --list dev@lists.example.org eve@example.net",
	"mlist config --defaults --output":    "rm /etc/mlist/mlist.toml",
	"mlist dkim keygen lists.example.org": "rm -r /etc/mlist/dkim",
	"mlist man":                           "mkdir /tmp/man",
	"mlist backup /var/backups/mlist.tar": "rm /var/backups/mlist.tar",
	"mlist restore --keep-config":         "rm -r /var/lib/mlist/mlist.db* /var/spool/mlist /var/lib/mlist/archive",
}

// found are exit statuses other than 0 that tell of what a command found out.
var found = map[string]int{
	"mlist member sync staff@lists.example.org staff.csv --dry-run":       3, // something would change
	"mlist member remove dev@lists.example.org --file gone.txt --dry-run": 3,
	"mlist held show aaaqeayeaudaocaj --message | mlist try":              10, // it would be held
}

// reads are commands after which all is as before.
var reads = regexp.MustCompile(`^mlist (\w+ )?(ls|show|log|check|verify|parse|settings|export|plan|trace|why|try|status|top|doctor|version|addresses|invitations)\b`)

// fits is what a map says of a line, by how it begins.
func fits[T any](m map[string]T, line string) (begin string, v T) {
	for begin, v := range m {
		if strings.HasPrefix(line, begin) {
			return begin, v
		}
	}
	return "", v
}

// examples are the lines of all examples of --help, each once.
func examples() (out []string) {
	seen := map[string]bool{}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			if line = strings.TrimSpace(line); line != "" && !seen[line] {
				seen[line] = true
				out = append(out, line)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk((&app{}).command())
	return out
}

// Each example of --help runs, in an installation that has what examples speak of: a list with members, posts in its archive,
// one that is held, a request, a ban, an invitation.
func TestAnExampleOfHelpRuns(t *testing.T) {
	mta := touring(t)
	dir := site(t, mta, "")
	r := newTour(t, dir)
	serve := start(t, dir, "serve")
	serve.says(t, "msg=ready", 1)
	r.run(t, "what examples speak of", `
mlist list create dev@lists.example.org --owner you@example.org subscription_policy=moderate max_days_for_invitations=30 "topics=bugs: bug
releases: release" topics_enabled=true
mlist list create staff@lists.example.org
mlist member add dev@lists.example.org ann@example.net bob@example.com cy@example.net dora@example.com
mlist member add dev@lists.example.org --role moderator cy@example.net
mlist member add staff@lists.example.org ann@example.net
mlist member invite dev@lists.example.org ivo@example.net
mlist list alias add dev@lists.example.org devel@lists.example.org
mlist member set dev@lists.example.org dora@example.com --mode mime_digests
mlist member link ann@example.net ann@example.org
mlist domain add lists.example.org ann@example.org --role owner
mlist domain add lists.example.org ann@example.org --role moderator
mlist list export > lists.toml; cp lists.toml dev.toml
mlist backup /var/backups/mlist.tar
cp members.csv staff.csv; cp members.txt gone.txt; echo ann@example.net > quiet.txt; cp post.eml message; gzip -c old.mbox > dev.mbox.gz; cp mlist.tar mlist.tar.zst
sendmail dev@lists.example.org < post.eml
sed 's/20261124120000.1/20261124120000.3/' post.eml | sendmail dev@lists.example.org
for who in eve zoe; do
	printf 'From: %s\nTo: dev-join@lists.example.org\nSubject: x\nMessage-ID: <%s>\n\n' $who@example.net $who@example.net | sendmail -f $who@example.net dev-join@lists.example.org
done
mlist dkim keygen lists.example.org
mlist request ls dev@lists.example.org
`)
	serve.signal(t, syscall.SIGTERM)
	if code := serve.ends(t); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	ids := map[string]string{}
	for family, queue := range map[string]string{"held": "held", "failed": "failed", "post": "outgoing"} {
		ids[family] = strings.TrimSpace(r.run(t, queue, "entry "+queue))
	}
	saved := dir + ".saved"
	copyTree := func(from, to string) {
		if out, err := exec.Command("sh", "-euc", `rm -rf "$2"; cp -a "$1" "$2"`, "sh", from, to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	copyTree(dir, saved)
	defer os.RemoveAll(saved)
	left, ran, asSaved := maps.Clone(notTyped), 0, true
	for _, line := range examples() {
		if begin, _ := fits(notTyped, line); begin != "" {
			delete(left, begin)
			continue
		}
		if !asSaved {
			copyTree(saved, dir)
		}
		ran++
		_, prepared := fits(before, line)
		asSaved = prepared == "" && reads.MatchString(line) && !strings.ContainsAny(line, "&>")
		typed := line
		if family := strings.Fields(line)[1]; family != "trace" { // which tells of the post that went out
			typed = strings.ReplaceAll(line, "aaaqeayeaudaocaj", cmp.Or(ids[family], ids["failed"]))
		}
		switch _, status := fits(found, line); {
		case status != 0:
			typed += fmt.Sprintf(" || test $? = %d", status)
		case strings.HasPrefix(line, "mlist archive remove") || strings.HasPrefix(line, "mlist post recall"):
			typed += " --yes" // there is no terminal to ask at
		}
		t.Run(line, func(t *testing.T) {
			if strings.Contains(line, "reload") {
				p := start(t, dir, "serve")
				p.says(t, "msg=ready", 1)
				defer p.ends(t)
				defer p.signal(t, syscall.SIGTERM)
			}
			r.at = r.work
			r.run(t, line, prepared+"\n"+typed)
		})
	}
	for begin := range left {
		t.Errorf("no example begins with %q", begin)
	}
	if ran < 150 {
		t.Errorf("ran %d examples", ran)
	}
}

// Who names a test that shows an example names one that there is.
func TestExamplesThatAreNotTypedAreShown(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("../../test/stories/setup/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range append(files, more...) {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for begin, test := range notTyped {
		if !strings.Contains(all.String(), "func "+test+"(") {
			t.Errorf("%s: no test %s", begin, test)
		}
	}
}
