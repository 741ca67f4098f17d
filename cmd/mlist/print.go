package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mlist/mlist/internal/config"
)

// array prints a JSON array as its items come: one item a line, nothing kept.
type array struct {
	w     io.Writer
	items int
}

func (a *array) add(item any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(item); err != nil {
		return err
	}
	before := ",\n"
	if a.items == 0 {
		before = "[\n"
	}
	a.items++
	_, err := fmt.Fprintf(a.w, "%s%s", before, bytes.TrimSuffix(b.Bytes(), []byte("\n")))
	return err
}

func (a *array) end() error {
	end := "\n]\n"
	if a.items == 0 {
		end = "[]\n"
	}
	_, err := io.WriteString(a.w, end)
	return err
}

// printJSON prints one value for programs, and for people who look at what those get.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printable makes text from outside harmless for a terminal: a stranger's subject must
// not move the cursor. Line ends stay if lines is set.
func printable(s string, lines bool) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return unsafe(r, lines) }) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && s[i] != "\ufffd"[0]:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unsafe(r, lines):
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unsafe(r rune, lines bool) bool {
	if lines && (r == '\n' || r == '\t') {
		return false
	}
	// Bidi_Control are the invisible ones that turn the text after them around.
	return r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
}

// cut shortens text to so many characters.
func cut(s string, most int) string {
	n := 0
	for i := range s {
		if n == most-1 && utf8.RuneCountInString(s[i:]) > 1 {
			return s[:i] + "…"
		}
		n++
	}
	return s
}

// count writes 1234567 as 1,234,567, with the noun in singular or plural.
func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// age tells how long ago t was, in its largest unit: 5s, 12m, 3h, 9d.
func age(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return "-"
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// size writes octets for a narrow column.
func size(n int64) string {
	switch {
	case n < 10<<10:
		return strconv.FormatInt(n, 10)
	case n < 10<<20:
		return config.Size(n >> 10 << 10).String()
	}
	if n < 10<<30 {
		return config.Size(n >> 20 << 20).String()
	}
	return config.Size(n >> 30 << 30).String()
}

// moment writes a time for people, where they are.
func moment(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 MST") }
