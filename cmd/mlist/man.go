package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/list"
)

// manCommand writes the manual. It is for whoever builds packages, so --help does not
// show it: pages come from the commands themselves and cannot tell anything else.
func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "write the manual pages: one for each family of commands, for the configuration, and for lists' settings",
		Example: "  mlist man /tmp/man",
		Hidden:  true,
		Args:    between(1, 1, "a directory"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.manTo(args[0]) },
	}
}

func (a *app) manTo(dir string) error {
	for name, text := range manual(a.command()) {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// manual is every page by its file name.
func manual(root *cobra.Command) map[string][]byte {
	pages := map[string][]byte{"mlist.toml.5": configPage(), "mlist-settings.5": settingsPage()}
	families := visible(root)
	for _, c := range append([]*cobra.Command{root}, families...) {
		p := newPage(pageName(c), "1", c.Short)
		p.describe(c)
		if c == root {
			p.section("COMMANDS")
			for _, f := range families {
				p.item(fmt.Sprintf("\\fB%s\\fR(1)", escape(pageName(f))), f.Short)
			}
			p.section("FILES")
			p.item("\\fI"+escape(config.DefaultPath)+"\\fR", "the configuration: \\fBmlist.toml\\fR(5)")
		} else {
			p.commands(visible(c))
		}
		p.section("EXIT STATUS")
		p.para("0; 1 after an error, which is told on standard error with what to do about it; 2 when the command line is wrong.")
		var also []string
		if c != root {
			also = append(also, "\\fBmlist\\fR(1)")
		}
		p.section("SEE ALSO")
		p.para(strings.Join(append(also, "\\fBmlist.toml\\fR(5)", "\\fBmlist-settings\\fR(5)"), ", "))
		pages[pageName(c)+".1"] = p.Bytes()
	}
	return pages
}

// usage is the command with its arguments. (Cobra's adds "[flags]" only after a first use.)
func usage(c *cobra.Command) string {
	if !c.HasParent() {
		return c.Use + " [OPTIONS] COMMAND"
	}
	return c.Parent().CommandPath() + " " + c.Use
}

func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// visible are the subcommands that --help shows, by name.
func visible(c *cobra.Command) []*cobra.Command {
	var out []*cobra.Command
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			out = append(out, sub)
		}
	}
	slices.SortFunc(out, func(a, b *cobra.Command) int { return strings.Compare(a.Name(), b.Name()) })
	return out
}

// page is a manual page under way. What its methods take may hold font changes; text
// that must not be read as such has been through escape.
type page struct{ bytes.Buffer }

func newPage(name, chapter, short string) *page {
	p := &page{}
	fmt.Fprintf(p, ".TH %s %s \"\" mlist\n", escape(name), chapter)
	p.section("NAME")
	fmt.Fprintf(p, "%s \\- %s\n", escape(name), escape(short))
	return p
}

// escape keeps roff from reading text as its own.
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, `-`, `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		return `\&` + s
	}
	return s
}

func (p *page) section(title string) { fmt.Fprintf(p, ".SH \"%s\"\n", title) }

func (p *page) para(s string) { fmt.Fprintf(p, ".PP\n%s\n", s) }

func (p *page) item(tag, text string) { fmt.Fprintf(p, ".TP\n%s\n%s\n", tag, text) }

// verbatim keeps lines as they are.
func (p *page) verbatim(text string) {
	p.WriteString(".PP\n.nf\n")
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		fmt.Fprintln(p, escape(strings.TrimPrefix(line, "  ")))
	}
	p.WriteString(".fi\n")
}

// describe tells of one command all that its --help does.
func (p *page) describe(c *cobra.Command) {
	if c.Runnable() {
		p.section("SYNOPSIS")
		fmt.Fprintf(p, "\\fB%s\\fR\n", escape(usage(c)))
	}
	p.section("DESCRIPTION")
	long := c.Long
	if long == "" {
		long = c.Short
	}
	for para := range strings.SplitSeq(long, "\n\n") {
		p.para(escapeLines(para))
	}
	p.flags(c.NonInheritedFlags())
	if c.HasParent() {
		p.flags(c.InheritedFlags())
	}
	if c.Example != "" {
		p.section("EXAMPLES")
		p.verbatim(c.Example)
	}
}

func escapeLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = escape(line)
	}
	return strings.Join(lines, "\n")
}

func (p *page) flags(set *pflag.FlagSet) {
	if !set.HasAvailableFlags() {
		return
	}
	p.section("OPTIONS")
	set.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			p.item(flagTag(f), escape(f.Usage))
		}
	})
}

func flagTag(f *pflag.Flag) string {
	tag := "\\fB" + escape("--"+f.Name) + "\\fR"
	if f.Shorthand != "" {
		tag = "\\fB" + escape("-"+f.Shorthand) + "\\fR, " + tag
	}
	if name, _ := pflag.UnquoteUsage(f); name != "" {
		tag += " \\fI" + escape(name) + "\\fR"
	}
	return tag
}

// commands tells of the commands of a family, and of the families in it.
func (p *page) commands(list []*cobra.Command) {
	for _, c := range list {
		p.section(strings.ToUpper(escape(strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" "))))
		p.para("\\fB" + escape(usage(c)) + "\\fR")
		p.para(escapeLines(strings.TrimSpace(c.Short + ".\n" + c.Long)))
		c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && f.Name != "help" {
				p.item(flagTag(f), escape(f.Usage))
			}
		})
		if c.Example != "" {
			p.verbatim(c.Example)
		}
		p.commands(visible(c))
	}
}

// configPage is mlist.toml(5): every key, from the tags that reading and checking follow.
func configPage() []byte {
	p := newPage("mlist.toml", "5", "the configuration of mlist")
	p.section("DESCRIPTION")
	p.para(escapeLines("A TOML file. `mlist config check` tells what is wrong with it, `mlist config` what is in effect, `mlist reload`\n" +
		"has a running mlist read it again. Sizes: 256KB, 40MB, 1GB. Durations: 30s, 5m, 2h, 5d."))
	for _, s := range config.Reference() {
		if s.Name != "" {
			p.section("[" + s.Name + "]")
		} else {
			p.section("AT THE TOP")
		}
		if s.Help != "" {
			p.para(escape(s.Help) + ".")
		}
		for _, k := range s.Keys {
			text := escape(k.Help)
			if k.Default != "" {
				text += ". Default: " + escape(k.Default)
			}
			p.item("\\fB"+escape(k.Name)+"\\fR", text)
		}
	}
	p.section("SEE ALSO")
	p.para("\\fBmlist\\fR(1)")
	return p.Bytes()
}

// settingsPage is mlist-settings(5): every setting of lists, from the tags that `list set` follows.
func settingsPage() []byte {
	p := newPage("mlist-settings", "5", "how lists behave")
	p.section("DESCRIPTION")
	p.para(escapeLines("Each list has these settings: `mlist list set` changes them, `mlist list show --all` prints them. What a list does not set\n" +
		"itself comes from its style, and what that does not set, from here."))
	p.section("SETTINGS")
	p.WriteString(".ad l\n") // defaults are longer than words are
	for _, s := range list.All {
		text := escape(s.Help)
		if s.Kind == "word" {
			text += ": " + escape(strings.Join(s.Of, ", "))
		}
		if s.Default != "" {
			text += ". Default: " + escape(strings.ReplaceAll(s.Default, "\n", "\\n"))
		}
		p.item("\\fB"+escape(s.Name)+"\\fR", text)
	}
	p.section("SEE ALSO")
	p.para("\\fBmlist\\fR(1), \\fBmlist-list\\fR(1)")
	return p.Bytes()
}
