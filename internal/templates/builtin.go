package templates

import (
	"embed"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"sync"
)

//go:embed builtin
var builtinFiles embed.FS

// catalog is what is built in.
type catalog struct {
	files     map[key]*entry
	languages []string
	phrases   map[string]Text // by name, each with the placeholders that it has in English
	handled   []Text          // those that handlers get
	reasons   []reasonForm
}

// builtIn is read when a text is first wanted: most commands want none.
var builtIn = sync.OnceValue(readBuiltin)

// handlerPhrases are those that handlers get, too, or what they begin with.
var handlerPhrases = regexp.MustCompile(`^(digest_.*|no_subject|attachment_removed|dmarc_via)$`)

func readBuiltin() *catalog {
	fail := func(err error) {
		if err != nil {
			panic("templates: " + err.Error()) // a programming error, found by any test
		}
	}
	c := &catalog{files: map[key]*entry{}, phrases: map[string]Text{}}
	english, err := builtinFiles.ReadFile("builtin/" + English + "/" + phrasesFile)
	fail(err)
	lines, err := parsePhrases(string(english))
	fail(err)
	for _, line := range lines {
		c.phrases[line.name] = Text{Name: line.name, Values: placeholdersOf(line.text), Handlers: handlerPhrases.MatchString(line.name)}
	}
	languages, err := builtinFiles.ReadDir("builtin")
	fail(err)
	for _, language := range languages {
		c.languages = append(c.languages, language.Name())
		files, err := builtinFiles.ReadDir("builtin/" + language.Name())
		fail(err)
		for _, f := range files {
			name := path.Join("builtin", language.Name(), f.Name())
			content, err := fs.ReadFile(builtinFiles, name)
			fail(err)
			fail(c.addFile(c.files, key{language: language.Name()}, name, f.Name(), string(content)))
		}
	}
	c.readReasons()
	for _, name := range c.names() {
		if t, _ := c.describe(name); t.Handlers {
			c.handled = append(c.handled, t)
		}
	}
	return c
}

// names are all names, phrases last.
func (c *catalog) names() []string {
	var out []string
	for _, t := range Texts {
		out = append(out, t.Name)
	}
	return append(out, slices.Sorted(maps.Keys(c.phrases))...)
}

func (c *catalog) describe(name string) (t Text, ok bool) {
	if i := slices.IndexFunc(Texts, func(t Text) bool { return t.Name == name }); i >= 0 {
		return Texts[i], true
	}
	t, ok = c.phrases[name]
	return t, ok
}
