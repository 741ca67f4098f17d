package templates

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/mlist/mlist/sdk/text"
)

// phrasesFile is the file that has all phrases.
const phrasesFile = "phrases.txt"

// maxText bounds one file, in octets.
const maxText = 64 << 10

// FileError is something wrong with a file.
type FileError struct {
	File string
	Line int // 0: with all of it
	Err  error
}

func (e *FileError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.File, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

// at makes an error of a text, whose first line is the file's line first, one of the file.
func at(file string, first int, err error) error {
	if err == nil {
		return nil
	}
	var bad *text.Error
	if errors.As(err, &bad) {
		return &FileError{file, first + bad.Line - 1, errors.New(bad.What)}
	}
	return &FileError{file, 0, err}
}

// addFile adds what a file of this base name says, of the scope and language of k.
func (c *catalog) addFile(to map[key]*entry, k key, file, base, content string) error {
	content = strings.ReplaceAll(strings.TrimPrefix(content, "\ufeff"), "\r\n", "\n")
	if len(content) > maxText {
		return &FileError{file, 0, fmt.Errorf("longer than %d octets", maxText)}
	}
	if base == phrasesFile {
		return c.addPhrases(to, k, file, content)
	}
	k.name = strings.TrimSuffix(base, ".txt")
	i := slices.IndexFunc(Texts, func(t Text) bool { return t.Name == k.name })
	if i < 0 {
		return &FileError{file, 0, c.unknown(k.name)}
	}
	e, first, err := parseText(Texts[i], content)
	if err == nil {
		err = text.Check(e.body, Texts[i].knows)
	}
	if err != nil {
		return at(file, first, err)
	}
	e.file = file
	to[k] = e
	return nil
}

// parseText takes a text apart; first is the line at which its body starts, or what err is about.
func parseText(t Text, content string) (e *entry, first int, err error) {
	e, first = &entry{body: content}, 1
	if t.Letter {
		line, rest, _ := strings.Cut(content, "\n")
		subject, ok := strings.CutPrefix(line, "Subject:")
		gap, body, _ := strings.Cut(rest, "\n")
		e.subject, e.body = strings.TrimSpace(subject), body
		switch {
		case !ok || e.subject == "":
			return nil, 1, &text.Error{Line: 1, What: `want "Subject: …" first, and an empty line`}
		case strings.TrimSpace(gap) != "":
			return nil, 1, &text.Error{Line: 2, What: "want an empty line after the subject"}
		}
		if err := text.Check(e.subject, t.knows); err != nil {
			return nil, 1, err
		}
		first = 3
	}
	if !t.Empty && strings.TrimSpace(e.body) == "" {
		return nil, 1, errors.New("empty")
	}
	return e, first, nil
}

// phrase is a line of phrasesFile.
type phrase struct {
	name, text string
	line       int
}

var phraseLine = regexp.MustCompile(`^([a-z][a-z0-9_]*)[ \t]*=[ \t]*(.*)$`)

// parsePhrases reads the lines NAME = TEXT; empty ones, and those that start with #, say nothing.
func parsePhrases(content string) ([]phrase, error) {
	var out []phrase
	n := 0
	for line := range strings.Lines(content) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		m := phraseLine.FindStringSubmatch(line)
		if m == nil {
			return nil, &text.Error{Line: n, What: fmt.Sprintf("%.40q: want NAME = TEXT", line)}
		}
		if m[2] == "" {
			return nil, &text.Error{Line: n, What: m[1] + " has no text"}
		}
		if slices.ContainsFunc(out, func(p phrase) bool { return p.name == m[1] }) {
			return nil, &text.Error{Line: n, What: m[1] + " is there twice"}
		}
		out = append(out, phrase{m[1], m[2], n})
	}
	return out, nil
}

func (c *catalog) addPhrases(to map[key]*entry, k key, file, content string) error {
	lines, err := parsePhrases(content)
	if err != nil {
		return at(file, 1, err)
	}
	var errs []error
	for _, line := range lines {
		t, ok := c.phrases[line.name]
		if !ok {
			errs = append(errs, &FileError{file, line.line, c.unknown(line.name)})
			continue
		}
		if err := text.Check(line.text, t.knows); err != nil {
			errs = append(errs, at(file, line.line, err))
			continue
		}
		k.name = line.name
		to[k] = &entry{body: line.text, file: file}
	}
	return errors.Join(errs...)
}

// unknown is the error of a name that no text has; it says which one may be meant.
func (c *catalog) unknown(name string) error {
	for _, have := range c.names() {
		if strings.EqualFold(strings.NewReplacer("-", "_", " ", "_").Replace(name), have) || strings.HasPrefix(have, name) && len(name) > 2 {
			return fmt.Errorf("no text is called %.40q: did you mean %s?", name, have)
		}
	}
	return fmt.Errorf("no text is called %.40q: `mlist template ls` names them", name)
}

var placeholderForm = regexp.MustCompile(`%\(([a-z0-9_]+)(?:\|[^%()|]+\|[^%()|]+)?\)s`)

// placeholdersOf are those that a text has.
func placeholdersOf(s string) []string {
	var out []string
	for _, m := range placeholderForm.FindAllStringSubmatch(s, -1) {
		if !slices.Contains(out, m[1]) && !slices.Contains(text.ListNames, m[1]) {
			out = append(out, m[1])
		}
	}
	return out
}
