package docs

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/plugins/archive"
	"github.com/mlist/mlist/plugins/authenticate"
	"github.com/mlist/mlist/plugins/autorespond"
	"github.com/mlist/mlist/plugins/checks"
	"github.com/mlist/mlist/plugins/decorate"
	"github.com/mlist/mlist/plugins/digest"
	"github.com/mlist/mlist/plugins/dmarc"
	"github.com/mlist/mlist/plugins/headers"
	"github.com/mlist/mlist/plugins/mime"
	"github.com/mlist/mlist/plugins/recipients"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/proto"
)

//go:generate go test -count=1 -run TestReferencesAreThoseOfTheCode . -update

var update = flag.Bool("update", false, "write the references again: make generate")

// The references of the configuration and of lists' settings are made of the tags that
// reading and checking follow. What is said around them stands here.
func TestReferencesAreThoseOfTheCode(t *testing.T) {
	for file, want := range map[string]string{"configuration.md": configuration(t), "settings.md": settings(t)} {
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		have, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(have) != want {
			t.Errorf("docs/%s is not what the code says: make generate", file)
		}
	}
}

const configurationHead = `# The configuration file

*Made from the code by ` + "`make generate`" + `. The manual page mlist.toml(5) has the same.*

mlist reads one TOML file, ` + "`/etc/mlist/mlist.toml`" + `; ` + "`--config FILE`" + ` or the environment's ` + "`MLIST_CONFIG`" + ` name another. Every key has a default
that works on one machine, so a file may be empty. An unknown key, a wrong type or an impossible value is an error that names the
file, the line and the key, and all errors are told at once:

` + "```sh\nmlist config check\nmlist config | head -3\n```" + `

A running mlist reads the file again on ` + "`mlist reload`" + ` (or ` + "`systemctl reload mlist`" + `, or SIGHUP), without losing a connection. If anything is
wrong with it, nothing changes, and the log and the command say what is wrong. Some keys take a restart, such as ` + "`store.url`, `spool.url`,\n`archive.url`" + ` and all of ` + "`[trace]`" + `: the log names each that has changed, and mlist goes on with what it had.

Sizes are written ` + "`256KB`, `40MB` or `1GB`" + ` (of 1024), durations ` + "`30s`, `5m`, `2h` or `5d`" + `. Settings of lists are not here: [settings.md](settings.md).
`

const pluginHead = `
## [plugin.NAME]

Each handler has a table of its own, named after its stage, which it checks itself when it starts. These are of the handlers that come
with mlist; ` + "`mlist plugin ls`" + ` shows what runs, and another handler tells of its keys in the same way.
`

func configuration(t *testing.T) string {
	var b strings.Builder
	b.WriteString(configurationHead)
	for _, s := range config.Reference() {
		switch s.Name {
		case "":
			b.WriteString("\n## At the top\n")
		case "plugin":
			b.WriteString(pluginHead)
			plugins(t, &b)
			continue
		default:
			fmt.Fprintf(&b, "\n## [%s]\n\n%s.\n", s.Name, sentence(s.Help))
		}
		if len(s.Keys) == 0 {
			continue
		}
		b.WriteString("\n| key | default | what it is |\n|---|---|---|\n")
		for _, k := range s.Keys {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k.Name, code(k.Default), cell(k.Help))
		}
	}
	return b.String()
}

// stages are those of the handlers that come with mlist.
func stages() []sdk.Stage {
	return slices.Concat(checks.Stages(), mime.Stages(), headers.Stages(), archive.Stages(), digest.Stages(), decorate.Stages(), recipients.Stages(), autorespond.Stages(),
		[]sdk.Stage{authenticate.Authenticate(nil), dmarc.Stage(nil), authenticate.Sign()})
}

func plugins(t *testing.T, b *strings.Builder) {
	t.Helper()
	s, err := sdk.NewServer("standard", "1", stages()...)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Describe(t.Context(), &proto.DescribeRequest{Capabilities: sdk.Capabilities})
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range d.GetStages() {
		if len(st.GetConfig()) == 0 {
			continue
		}
		fmt.Fprintf(b, "\n### [plugin.%s]\n\nThe stage `%s` %s.\n\n| key | default | what it is |\n|---|---|---|\n", st.GetName(), st.GetName(), st.GetHelp())
		for _, k := range st.GetConfig() {
			def := k.GetDefault()
			if list := []any(nil); json.Unmarshal([]byte(def), &list) == nil && len(list) == 0 {
				def = ""
			}
			fmt.Fprintf(b, "| `%s` | %s | %s |\n", k.GetName(), code(strings.ReplaceAll(strings.Trim(def, `"`), `","`, `", "`)), cell(k.GetHelp()))
		}
	}
}

const settingsHead = `# Settings of lists

*Made from the code by ` + "`make generate`" + `. The manual page mlist-settings(5) has the same.*

Each list has these settings. Names and defaults are Mailman's where the meaning is the same ([mailman.md](mailman.md) has the rest).
A list keeps only what it sets itself; all else comes from its style ([lists.md](lists.md)), and what that does not set, from here.

` + "```sh\n" + `mlist list create dev@lists.example.org
mlist list set dev@lists.example.org subject_prefix= max_message_size=100
mlist list show dev@lists.example.org --all
mlist list set dev@lists.example.org subject_prefix-
` + "```" + `

A setting of several lines is one value with line ends in it: ` + "`mlist list set LIST accept_these_nonmembers=\"$(cat trusted.txt)\"`" + `. A pattern starts with
` + "`^`" + ` and is a regular expression (RE2), looked for whatever the case. Many lists at once are set as a file: ` + "`mlist list export`, `plan` and `apply`" + `.
`

// groups are the settings in the order of the code; each begins with the setting named.
var groups = []struct{ first, title string }{
	{"display_name", "What the list is"},
	{"default_member_action", "Who may post"},
	{"require_explicit_destination", "Posts that are looked at"},
	{"subject_prefix", "What is changed in posts"},
	{"archive_policy", "Archive"},
	{"filter_content", "Attachments and HTML"},
	{"digests_enabled", "Digests"},
	{"dmarc_mitigate_action", "DMARC"},
	{"autorespond_postings", "Automatic answers"},
	{"topics_enabled", "Who gets a post"},
	{"personalize", "Copies of one's own"},
	{"respond_to_post_requests", "Moderation"},
	{"advertised", "Joining and leaving"},
	{"process_bounces", "Bounces and complaints"},
}

func settings(t *testing.T) string {
	var b strings.Builder
	b.WriteString(settingsHead)
	next := 0
	for _, s := range list.All {
		if next < len(groups) && s.Name == groups[next].first {
			fmt.Fprintf(&b, "\n## %s\n\n| setting | values | default | what it is |\n|---|---|---|---|\n", groups[next].title)
			next++
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.Name, values(s), code(strings.ReplaceAll(s.Default, "\n", "\\n")), cell(s.Help))
	}
	if next != len(groups) {
		t.Errorf("no setting %s, with which a group would begin", groups[next].first)
	}
	return b.String()
}

func values(s list.Setting) string {
	switch s.Kind {
	case "word":
		return strings.Join(s.Of, ", ")
	case "bool":
		return "true, false"
	case "int":
		if s.Max < 1<<31-1 {
			return "up to " + strconv.Itoa(s.Max)
		}
		return "a number"
	case "float64":
		return "a number"
	case "lines":
		return "lines"
	case "password":
		return "a password"
	}
	return "text"
}

// code shows a default, and nothing where there is none.
func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(s, "|", "\\|") + "`"
}

// cell is help in a table: what looks like a tag or a bar would not show.
func cell(s string) string { return strings.NewReplacer("|", "\\|", "<", "&lt;").Replace(s) }

func sentence(s string) string { return strings.ToUpper(s[:1]) + cell(s[1:]) }
