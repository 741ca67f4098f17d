// Package templates holds the texts that mlist writes to people: what it puts around posts,
// into digests, and into every notice and answer.
//
// A text has a name, placeholders that it may have, and a built-in form in each language
// (builtin/LANG/NAME.txt). Files in the configured directory come before that, the most
// special first:
//
//	list/LIST@DOMAIN/LANG/NAME.txt      list/LIST@DOMAIN/NAME.txt
//	domain/DOMAIN/LANG/NAME.txt         domain/DOMAIN/NAME.txt
//	site/LANG/NAME.txt                  site/NAME.txt
//
// A file outside of LANG is for readers of every language. Short sentences and words share one
// file, phrases.txt, a line each; a file of one's own needs only the lines that differ.
// docs/templates.md tells it to administrators.
//
// To add a text: write builtin/en/NAME.txt, builtin/de/NAME.txt and builtin/fr/NAME.txt (a line
// "Subject: …" and an empty one first, if it is a message of its own), add a line to Texts, and
// new placeholders to placeholders; then Set.Letter or Set.Text writes it. A sentence within
// others: a line in each phrases.txt, and Set.Phrase. The tests tell what is missing.
//
// A Set does not change, and may be used by everybody at once. It is read as a whole, so that
// a bad file is found when it is read and never when it is needed.
package templates

import (
	"maps"
	"slices"
	"strings"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/sdk/text"
)

// Set is all texts. A nil *Set has the built-in ones, and writes English where no other
// language is asked for.
type Set struct {
	language string
	files    map[key]*entry
}

// key says where a text is: no scope is built in, no language is every one.
type key struct{ scope, language, name string }

// entry is a text as it was read.
type entry struct{ subject, body, file string }

// Values are what placeholders stand for. Values are one line, but for those in manyLines.
type Values map[string]string

// Letter is a message to a person.
type Letter struct {
	Subject string // one line of UTF-8
	Body    string // lines end in LF, the last one too
}

// Source says where a text comes from.
type Source struct {
	Scope    string `json:"scope"`    // "setting", "list", "domain", "site" or "built-in"
	Language string `json:"language"` // "" is every language
	File     string `json:"file"`     // "" of what is built in, or a setting
	Text     string `json:"-"`        // as it was written, a letter's subject included
}

// Names are all names, phrases included.
func Names() []string { return builtIn().names() }

// Languages are those of which something is there for the list (nil: for any).
func (s *Set) Languages(l *list.List) []string {
	have := map[string]bool{}
	for _, language := range builtIn().languages {
		have[language] = true
	}
	if s != nil {
		for k := range s.files {
			if k.language != "" && (l == nil || slices.Contains(scopes(l), k.scope)) {
				have[k.language] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(have))
}

// Language is the language of what is written for the list when no reader's is known.
func (s *Set) Language(l *list.List) string {
	if l.Settings.PreferredLanguage != "" {
		return l.Settings.PreferredLanguage
	}
	if s != nil && s.language != "" {
		return s.language
	}
	return English
}

// English is the language that has every text.
const English = "en"

// chain is the languages in which a text for a reader of one is looked for, each with those
// that it is a kind of: de-at, de.
func (s *Set) chain(l *list.List, reader string) [][]string {
	var out [][]string
	for _, language := range []string{reader, l.Settings.PreferredLanguage, s.site(), English} {
		var group []string
		for language != "" {
			group = append(group, language)
			language = language[:max(strings.LastIndexByte(language, '-'), 0)]
		}
		if group != nil {
			out = append(out, group)
		}
	}
	return out
}

func (s *Set) site() string {
	if s == nil {
		return ""
	}
	return s.language
}

func scopes(l *list.List) []string {
	return []string{"list " + l.Address.Key(), "domain " + strings.ToLower(l.Address.Domain), "site"}
}

// view is where the texts of a list for a reader are looked for.
type view struct {
	files  map[key]*entry
	scopes []string
	chain  [][]string
}

func (s *Set) view(l *list.List, reader string) view {
	v := view{chain: s.chain(l, reader)}
	if s != nil && len(s.files) > 0 {
		v.files, v.scopes = s.files, scopes(l)
	}
	return v
}

// find is the text of a name, wherever it comes from; nil if there is none of the name.
func (v view) find(name string) (*entry, key) {
	for _, languages := range v.chain {
		for _, scope := range v.scopes {
			for _, language := range languages {
				k := key{scope, language, name}
				if e := v.files[k]; e != nil {
					return e, k
				}
			}
			k := key{scope, "", name}
			if e := v.files[k]; e != nil {
				return e, k
			}
		}
		for _, language := range languages {
			k := key{"", language, name}
			if e := builtIn().files[k]; e != nil {
				return e, k
			}
		}
	}
	return nil, key{}
}

// Find tells what a reader of the language ("" is the list's) gets for a text, the list's
// setting included; ok is false if there is no text of the name.
func (s *Set) Find(l *list.List, reader, name string) (src Source, ok bool) {
	t, ok := Describe(name)
	if !ok {
		return Source{}, false
	}
	e, k := s.view(l, reader).find(name)
	src = Source{Scope: "built-in", Language: k.language, File: e.file, Text: e.body}
	if k.scope != "" {
		src.Scope = scopeWord(k.scope)
	} else {
		src.File = ""
	}
	if own, set := setting(l, t); set {
		src = Source{Scope: "setting", Text: own}
	}
	if t.Letter {
		src.Text = "Subject: " + e.subject + "\n\n" + src.Text
	}
	return src, true
}

// setting is the list's own text, where it has one that is not the setting's default.
func setting(l *list.List, t Text) (own string, set bool) {
	if t.Setting == "" {
		return "", false
	}
	d, err := list.Describe(t.Setting)
	if err != nil {
		return "", false
	}
	own, err = l.Settings.Get(t.Setting)
	return own, err == nil && own != d.Default
}

// maxValue bounds a value, in octets.
const maxValue = 500

// lookup is what the placeholders of a text for the list stand for.
func lookup(l *list.List, v Values) func(string) (string, bool) {
	of := text.List{Address: l.Address.String(), Name: text.Line(l.Name(), maxValue), Description: text.Line(l.Settings.Description, maxValue)}
	return func(name string) (string, bool) {
		if value, ok := v[name]; ok {
			if !slices.Contains(manyLines, name) {
				value = text.Line(value, maxValue)
			}
			return value, true
		}
		if value, ok := of.Value(name); ok {
			return value, true
		}
		_, ok := placeholders[name]
		return "", ok // one that has no value here: nothing stands there
	}
}

// Letter writes a message. The reader's language may be "": the list's.
func (s *Set) Letter(l *list.List, reader, name string, v Values) Letter {
	e, _ := s.view(l, reader).find(name)
	t, _ := Describe(name)
	if e == nil {
		e = &entry{subject: name}
	}
	body := e.body
	if own, set := setting(l, t); set {
		body = own
	}
	value := lookup(l, v)
	return Letter{Subject: text.Line(text.Fill(e.subject, value), maxValue), Body: ended(text.Fill(body, value))}
}

// Text writes a text that is no letter, or a phrase.
func (s *Set) Text(l *list.List, reader, name string, v Values) string {
	return s.Letter(l, reader, name, v).Body
}

// Phrase writes a phrase: one line without its end.
func (s *Set) Phrase(l *list.List, reader, name string, v Values) string {
	return strings.TrimSuffix(s.Text(l, reader, name, v), "\n")
}

// ended is a text that ends in a line end, or is nothing.
func ended(body string) string {
	if body = strings.TrimRight(body, "\n"); strings.TrimSpace(body) == "" {
		return ""
	}
	return body + "\n"
}

// Prefix is what the names of texts have in the settings that handlers get.
const Prefix = "text."

// Settings are the list's settings as handlers get them, in text form: with the texts that are
// in effect, and others under Prefix and their names. Placeholders are for the handler to fill
// in. author is the language of who sent the post, "" if it is not known.
func (s *Set) Settings(l *list.List, author string) map[string]string {
	m := l.Settings.Map()
	ours, theirs := s.view(l, ""), s.view(l, author)
	for i := range builtIn().handled {
		t := &builtIn().handled[i]
		if _, set := setting(l, *t); set {
			continue
		}
		from := ours
		if t.Author {
			from = theirs
		}
		e, _ := from.find(t.Name)
		hand(m, *t, e)
	}
	return m
}

func hand(to map[string]string, t Text, e *entry) {
	switch {
	case t.Setting != "":
		to[t.Setting] = e.body
	case t.Letter:
		to[Prefix+t.Name] = "Subject: " + e.subject + "\n\n" + e.body
	default:
		to[Prefix+t.Name] = strings.TrimSuffix(e.body, "\n")
	}
}

// ForHandlers are the built-in texts of a language as handlers get them, for their tests.
func ForHandlers(language string) map[string]string {
	m := map[string]string{}
	for _, t := range builtIn().handled {
		hand(m, t, builtIn().files[key{language: language, name: t.Name}])
	}
	return m
}
