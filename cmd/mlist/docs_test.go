package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/test/tools/pages"
)

// A command of mlist's in a fence of sh or console, within a sentence, or in an example of --help must be one
// that there is, with flags that it has. docsrun_test.go runs fences of sh, docs/pages_test.go tells of the
// other languages.

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

// runsElsewhere are the fences of console, which need what TestCommandBlocksOfThePagesRun has not, by page and first line: the files
// of the tests in which those commands run.
var runsElsewhere = map[string][]string{
	"README.md: make packages":                     {"packaging/test", "packaging/packages.mk"},
	"README.md: make demo":                         {".ci/run"},
	"install.md: make packages":                    {"packaging/test", "packaging/packages.mk"},
	"install.md: mlist postfix setup --domain":     {"test/stories/setup/pages_test.go"},
	"install.md: mlist postfix check":              {"test/stories/setup/pages_test.go"},
	"install.md: mlist postfix setup --undo":       {"packaging/story"},
	"migrate.md: mlist postfix setup --domain":     {"test/stories/setup/pages_test.go"},
	"postfix.md: mlist postfix setup --domain":     {"test/stories/setup/pages_test.go"},
	"handlers.md: mlist plugin new shout":          {"cmd/mlist/plugin_test.go"},
	"handlers.md: sudo make install":               {"cmd/mlist/plugin_test.go"},
	"handlers.md: mlist plugin ls":                 {"cmd/mlist/plugin_test.go"},
	"handlers.md: make -C sdk/example/python":      {"cmd/mlist/plugin_test.go"},
	"segments.md: mlist segment ls":                {"cmd/mlist/segment_test.go"},
	"store.md: createuser mlist":                   {"internal/store/sqlstore/postgres_test.go"},
	"store.md: mlist store migrate --to 'postgres": {"cmd/mlist/storemove_test.go"},
	"store.md: mlist store migrate --to sqlite":    {"cmd/mlist/storemove_test.go"},
	"watching.md: $ mlist status":                  {"cmd/mlist/docsrun_test.go"},
	"watching.md: $ journalctl":                    {"cmd/mlist/logging_test.go"},
	"bench.md: testmail()":                         {"test/tools/cmd/testmail/main_test.go"},
}

// No block of commands is run by nobody.
func TestWhatDoesNotRunHereRunsElsewhere(t *testing.T) {
	left := maps.Clone(runsElsewhere)
	eachPage(t, func(name string, fences []pages.Fence, _ string) {
		for _, f := range fences {
			if f.Lang != "console" {
				continue
			}
			found := false
			for begin := range runsElsewhere {
				if strings.HasPrefix(name+": "+f.Text, begin) {
					found = true
					delete(left, begin)
				}
			}
			if !found {
				t.Errorf("%s: a fence of console that no test runs: make it sh, or say in runsElsewhere where it runs", f)
			}
		}
	})
	for begin := range left {
		t.Errorf("no page has the fence of console %q", begin)
	}
	for begin, files := range runsElsewhere {
		for _, file := range files {
			if _, err := os.Stat(filepath.Join(source(t), file)); err != nil {
				t.Errorf("%s: %v", begin, err)
			}
		}
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
