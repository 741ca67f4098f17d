package templates

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/sdk/text"
)

// Problem is something about the texts of a list, or of all, that people should look at.
type Problem struct {
	List string `json:"list"` // "" is none in particular
	File string `json:"file"` // or "setting NAME"; "" is no one's
	Line int    `json:"line"` // 0 is all of it
	What string `json:"what"`
}

func (p Problem) String() string {
	where := p.File
	if p.Line > 0 {
		where = fmt.Sprintf("%s:%d", where, p.Line)
	}
	out := p.What
	for _, s := range []string{where, p.List} {
		if s != "" {
			out = s + ": " + out
		}
	}
	return out
}

// Problems are what an error of Load tells, one by one; nil if it is another's.
func Problems(err error) []Problem {
	var fe *FileError
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		var out []Problem
		for _, one := range several.Unwrap() {
			out = append(out, Problems(one)...)
		}
		return out
	}
	if errors.As(err, &fe) {
		return []Problem{{File: fe.File, Line: fe.Line, What: fe.Err.Error()}}
	}
	return nil
}

// Sample writes a text with values for its placeholders, as people would get it.
func (s *Set) Sample(l *list.List, reader, name string) Letter {
	return s.sample(l, reader, name, nil)
}

// optional are the placeholders that may stand for nothing.
var optional = values("reason", "user_name", "last")

func (s *Set) sample(l *list.List, reader, name string, without []string) Letter {
	t, _ := Describe(name)
	v := Values{}
	for _, p := range t.Values {
		if !slices.Contains(without, p) {
			v[p] = s.sampleOf(l, reader, p)
		}
	}
	return s.Letter(l, reader, name, v)
}

// inWords are the placeholders that stand for words of the reader's language, with a phrase that
// may stand there.
var inWords = map[string]string{
	"changes": "wish_mode", "delivery": "delivery_enabled", "digest_name": "digest_name", "mode": "mode_summary_digests",
	"one": "wish_mode", "other": "wish_resume", "policy": "policy_confirm", "wish": "wish_join",
}

// sampleOf is a value for a placeholder.
func (s *Set) sampleOf(l *list.List, reader, placeholder string) string {
	sample := placeholders[placeholder].Sample
	phrase, ok := inWords[placeholder]
	switch {
	case placeholder == "reason":
		return s.Reason(l, reader, sample)
	case !ok:
		return sample
	}
	v := Values{}
	for _, p := range builtIn().phrases[phrase].Values {
		v[p] = placeholders[p].Sample
		if inner := inWords[p]; inner != "" {
			v[p] = s.Phrase(l, reader, inner, nil)
		}
	}
	return s.Phrase(l, reader, phrase, v)
}

// Check writes every text that is a list's or its domain's own in every language, and tells
// what is wrong. Of Site it writes all.
func (s *Set) Check(l *list.List) []Problem {
	var out []Problem
	add := func(file string, line int, format string, args ...any) {
		p := Problem{"", file, line, fmt.Sprintf(format, args...)}
		if strings.HasPrefix(file, "setting ") {
			p.List = l.Address.String()
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	languages := s.Languages(l)
	if p := l.Settings.PreferredLanguage; p != "" && !slices.ContainsFunc(s.chain(l, p)[0], func(one string) bool { return slices.Contains(languages, one) }) {
		add("setting preferred_language", 0, "no texts are in %s", p)
	}
	for _, name := range Names() {
		t, _ := Describe(name)
		if own, set := setting(l, t); set {
			var bad *text.Error
			if errors.As(text.Check(own, t.knows), &bad) {
				add("setting "+t.Setting, bad.Line, "%s", bad.What)
			}
		}
		for _, language := range languages {
			src, _ := s.Find(l, language, name)
			if !l.Address.IsZero() && (src.Scope == "built-in" || src.Scope == "site") {
				continue
			}
			file := cmp.Or(src.File, map[string]string{"setting": "setting " + t.Setting}[src.Scope], "built-in "+name)
			for _, v := range []Letter{s.Sample(l, language, name), s.sample(l, language, name, optional)} {
				switch {
				case t.Letter && v.Subject == "":
					add(file, 1, "the subject may be empty")
				case !t.Empty && v.Body == "":
					add(file, 0, "may be empty")
				}
			}
		}
	}
	return out
}

// Missing are the names of the texts that a language does not have for every list, and that
// its readers get in another one.
func (s *Set) Missing(language string) []string {
	var out []string
	for _, name := range Names() {
		if builtIn().files[key{"", language, name}] != nil || s != nil && (s.files[key{"site", language, name}] != nil || s.files[key{"site", "", name}] != nil) {
			continue
		}
		out = append(out, name)
	}
	return out
}

// Scopes are the lists and domains that have files, as "list dev@lists.example.org" and
// "domain lists.example.org".
func (s *Set) Scopes() []string {
	var out []string
	if s != nil {
		for k := range s.files {
			if k.scope != "site" && !slices.Contains(out, k.scope) {
				out = append(out, k.scope)
			}
		}
	}
	slices.Sort(out)
	return out
}

// ScopesOf are those of a list.
func ScopesOf(l *list.List) []string { return scopes(l)[:2] }

// Site stands for a list that has nothing of its own, to look at what the site's lists get.
func Site() *list.List { return &list.List{Settings: list.Defaults()} }

// Placeholders are what a text may have beside those of the list, in order.
func (t Text) Placeholders() []string {
	return slices.Concat(t.Values, text.ListNames)
}

// IsPhrase tells whether a text is one of phrases.txt.
func (t Text) IsPhrase() bool { _, ok := builtIn().phrases[t.Name]; return ok }

// scopeWord is "list" of "list dev@…".
func scopeWord(scope string) string {
	word, _, _ := strings.Cut(scope, " ")
	return word
}
