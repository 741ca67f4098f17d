package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/templates"
)

func (a *app) templateCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "template",
		Short: "the texts that people get: which there are, where they come from, what is wrong with them",
		Long: `Footers, notices, answers and what stands in digests are texts that a file can replace: for a list, a domain or the site,
for readers of one language or of every one. templates.dir in the configuration says where the files are; a running mlist
reads them again at "mlist reload".`,
		Example: `  mlist template ls --list dev@lists.example.org
  mlist template show welcome --language de
  mlist template show welcome --raw > welcome.txt    # edit it, and then install it in /etc/mlist/templates/site/
  mlist template check && mlist reload`,
	}, a.templateLs(), a.templateShow(), a.templateCheck())
}

// templateFlags say whose text is meant.
type templateFlags struct{ list, language string }

func (f *templateFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.list, "list", "", "as this list has it; without it, as lists have it that nothing is special about")
	c.Flags().StringVar(&f.language, "language", "", "as readers of this language get it, such as de; the list's when empty")
}

// withTexts reads the templates, and the list that is meant.
func (a *app) withTexts(cmd *cobra.Command, f templateFlags, do func(*templates.Set, *list.List) error) error {
	if f.language != "" {
		if err := list.CheckLanguage(f.language); err != nil {
			return usageError{err}
		}
	}
	c, err := a.load()
	if err != nil {
		return err
	}
	texts, err := readTemplates(c)
	if err != nil {
		return err
	}
	if f.list == "" {
		return do(texts, templates.Site())
	}
	return a.withList(cmd, f.list, func(_ store.Store, l *list.List) error { return do(texts, l) })
}

func readTemplates(c *config.Config) (*templates.Set, error) {
	texts, err := templates.Load(c.Templates.Dir, c.Templates.Language)
	if err != nil {
		return nil, withHint(err, "`mlist template check` tells of all that is wrong in %s.", c.Templates.Dir)
	}
	return texts, nil
}

// templateJSON is a text as `template ls --json` shows it.
type templateJSON struct {
	Name string `json:"name"`
	Help string `json:"help"`
	templates.Source
	Phrase       bool     `json:"phrase"`
	Setting      string   `json:"setting"` // of the list, that comes before all files; "" if there is none
	Placeholders []string `json:"placeholders"`
}

func (a *app) templateLs() *cobra.Command {
	var f templateFlags
	var all bool
	c := &cobra.Command{
		Use:   "ls",
		Short: "print the texts, and where each comes from",
		Long: `Prints every text, what it is for, and where it comes from: a setting of the list, a file of the list, its domain or the
site, or what is built in. Of the sentences of phrases.txt those that a file replaces are shown; --all shows them all.`,
		Example: "  mlist template ls\n  mlist template ls --list dev@lists.example.org --language de\n  mlist template ls --all --json",
		Args:    between(0, 0, "nothing"),
	}
	f.add(c)
	c.Flags().BoolVar(&all, "all", false, "every sentence of phrases.txt, too")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withTexts(cmd, f, func(texts *templates.Set, l *list.List) error {
			return a.printTemplates(cmd.OutOrStdout(), texts, l, f.language, all)
		})
	}
	return c
}

func (a *app) printTemplates(w io.Writer, texts *templates.Set, l *list.List, language string, all bool) error {
	out := array{w: w}
	for _, name := range templates.Names() {
		t, _ := templates.Describe(name)
		src, _ := texts.Find(l, language, name)
		if t.IsPhrase() && !all && src.Scope == "built-in" {
			continue
		}
		if a.json {
			if err := out.add(templateJSON{name, t.Help, src, t.IsPhrase(), t.Setting, t.Placeholders()}); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprintf(w, "%-28s %s\n", name, printable(sourceText(src, t), false)); err != nil {
			return err
		}
		if t.Help != "" {
			if _, err := fmt.Fprintf(w, "    %s\n", t.Help); err != nil {
				return err
			}
		}
	}
	if a.json {
		return out.end()
	}
	return nil
}

// sourceText says where a text comes from.
func sourceText(src templates.Source, t templates.Text) string {
	language := ""
	if src.Language != "" {
		language = " (" + src.Language + ")"
	}
	switch src.Scope {
	case "setting":
		return "setting " + t.Setting
	case "built-in":
		return "built-in" + language
	}
	return src.Scope + language + "  " + src.File
}

// shownJSON is a text as `template show --json` shows it.
type shownJSON struct {
	Name string `json:"name"`
	Help string `json:"help"`
	templates.Source
	Text         string            `json:"text"`    // as it was written
	Subject      string            `json:"subject"` // with samples for its placeholders
	Body         string            `json:"body"`
	Placeholders map[string]string `json:"placeholders"` // what each stands for
}

func (a *app) templateShow() *cobra.Command {
	var f templateFlags
	var raw bool
	c := &cobra.Command{
		Use:   "show NAME",
		Short: "print a text as people would get it, with samples for its placeholders",
		Example: `  mlist template show welcome --list dev@lists.example.org
  mlist template show bounce_warning --language fr
  mlist template show footer --raw`,
		Args: between(1, 1, "the name of one text"),
	}
	f.add(c)
	c.Flags().BoolVar(&raw, "raw", false, "as it was written, for a file of your own")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		t, ok := templates.Describe(args[0])
		if !ok {
			return withHint(fmt.Errorf("no text is called %q", args[0]), "`mlist template ls --all` names them.")
		}
		return a.withTexts(cmd, f, func(texts *templates.Set, l *list.List) error {
			if l.Address.IsZero() {
				l.Address.Local, l.Address.Domain, l.Settings.DisplayName, l.Settings.Description = "dev", "lists.example.org", "Dev", "How we build it"
			}
			return a.showTemplate(cmd.OutOrStdout(), texts, l, f.language, t, raw)
		})
	}
	return c
}

func (a *app) showTemplate(w io.Writer, texts *templates.Set, l *list.List, language string, t templates.Text, raw bool) error {
	src, _ := texts.Find(l, language, t.Name)
	sample := texts.Sample(l, language, t.Name)
	if a.json {
		j := shownJSON{t.Name, t.Help, src, src.Text, sample.Subject, sample.Body, map[string]string{}}
		for _, p := range t.Placeholders() {
			d, _ := templates.DescribePlaceholder(p)
			j.Placeholders[p] = d.Help
		}
		return printJSON(w, j)
	}
	if raw {
		_, err := io.WriteString(w, src.Text)
		return err
	}
	if t.Letter {
		if _, err := fmt.Fprintf(w, "Subject: %s\n\n", printable(sample.Subject, false)); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, printable(sample.Body, true))
	return err
}

func (a *app) templateCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "write every text of every list in every language, and tell what is wrong",
		Long: `Reads all files of templates.dir, writes every text of every list in every language, and tells what is wrong: unknown names
and placeholders, what is not UTF-8, files for lists and domains that are not there. It also tells which languages lack
texts, whose readers get those in another one; that alone is no error. The exit status is 1 if something is wrong.`,
		Example: "  mlist template check && mlist reload\n  mlist template check --json",
		Args:    between(0, 0, "nothing"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.checkTemplates(cmd) },
	}
}

// checkJSON is what `template check --json` says.
type checkJSON struct {
	OK         bool                `json:"ok"`
	Lists      int                 `json:"lists"`
	Languages  []string            `json:"languages"`
	Incomplete map[string][]string `json:"incomplete"` // what each language lacks
	Problems   []templates.Problem `json:"problems"`
}

func (a *app) checkTemplates(cmd *cobra.Command) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	j := checkJSON{Languages: []string{}, Incomplete: map[string][]string{}, Problems: []templates.Problem{}}
	texts, err := templates.Load(c.Templates.Dir, c.Templates.Language)
	if err != nil {
		if j.Problems = templates.Problems(err); j.Problems == nil {
			return err
		}
		return a.printCheck(cmd.OutOrStdout(), c, j)
	}
	j.Languages = texts.Languages(nil)
	for _, language := range j.Languages {
		if missing := texts.Missing(language); len(missing) > 0 {
			j.Incomplete[language] = missing
		}
	}
	unused, seen := texts.Scopes(), map[templates.Problem]bool{}
	check := func(l *list.List) {
		for _, p := range texts.Check(l) {
			if !seen[p] {
				seen[p] = true
				j.Problems = append(j.Problems, p)
			}
		}
	}
	check(templates.Site())
	err = a.withStore(cmd.Context(), false, func(st store.Store) error {
		for l, err := range st.AllLists(cmd.Context(), "") {
			if err != nil {
				return err
			}
			j.Lists++
			unused = slices.DeleteFunc(unused, func(s string) bool { return slices.Contains(templates.ScopesOf(l), s) })
			check(l)
			if len(j.Problems) > maxProblems {
				return errors.New("too many problems: mend these first")
			}
		}
		return nil
	})
	for _, scope := range unused {
		j.Problems = append(j.Problems, templates.Problem{File: scopeDir(c.Templates.Dir, scope), What: "no such list, or none in such a domain"})
	}
	if perr := a.printCheck(cmd.OutOrStdout(), c, j); err == nil {
		err = perr
	}
	return err
}

// maxProblems is how many are told at once.
const maxProblems = 1000

// scopeDir is the directory of a scope.
func scopeDir(dir, scope string) string {
	return dir + string(os.PathSeparator) + strings.Replace(scope, " ", string(os.PathSeparator), 1)
}

func (a *app) printCheck(w io.Writer, c *config.Config, j checkJSON) error {
	j.OK = len(j.Problems) == 0
	if a.json {
		if err := printJSON(w, j); err != nil {
			return err
		}
		if !j.OK {
			return errTold
		}
		return nil
	}
	for _, p := range j.Problems {
		fmt.Fprintf(a.err, "mlist: %s\n", printable(p.String(), false))
	}
	for _, language := range slices.Sorted(maps.Keys(j.Incomplete)) {
		missing := j.Incomplete[language]
		if _, err := fmt.Fprintf(w, "%s lacks %s, such as %s\n", language, count(int64(len(missing)), "text", "texts"), strings.Join(missing[:min(3, len(missing))], ", ")); err != nil {
			return err
		}
	}
	if !j.OK {
		return errTold
	}
	_, err := fmt.Fprintf(w, "%s: ok; %s, and texts in %s\n", c.Templates.Dir, count(int64(j.Lists), "list", "lists"), strings.Join(j.Languages, ", "))
	return err
}
