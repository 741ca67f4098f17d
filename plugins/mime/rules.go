package mime

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// rules are what a list wants: Mailman's filter_types and the like.
type rules struct{ types, passTypes, extensions, passExtensions []string }

func newRules(l sdk.List) rules {
	return rules{
		types: words(l.Lines("filter_types"), "/*"), passTypes: words(l.Lines("pass_types"), "/*"),
		extensions: extensionWords(l.Lines("filter_extensions")), passExtensions: extensionWords(l.Lines("pass_extensions")),
	}
}

func words(lines []string, suffix string) []string {
	var out []string
	for _, w := range lines {
		if w = strings.TrimSuffix(strings.ToLower(strings.TrimSpace(w)), suffix); w != "" {
			out = append(out, w)
		}
	}
	return out
}

func extensionWords(lines []string) []string {
	out := words(lines, "")
	for i, w := range out {
		out[i] = strings.TrimPrefix(strings.TrimPrefix(w, "*"), ".")
	}
	return out
}

// refuse tells why a part is not wanted, as a sentence; "" if it is.
func (r rules) refuse(p *message.Part) string {
	if named(r.types, p.Type) {
		return fmt.Sprintf("The content type %s was explicitly disallowed.", plainType(p.Type))
	}
	if len(r.passTypes) > 0 && !named(r.passTypes, p.Type) {
		return fmt.Sprintf("The content type %s was not explicitly allowed.", plainType(p.Type))
	}
	if len(r.extensions)+len(r.passExtensions) == 0 {
		return ""
	}
	for _, name := range p.FileNames() {
		ext := extension(name)
		switch {
		case ext == "":
		case slices.Contains(r.extensions, ext):
			return fmt.Sprintf("The file extension %.40q was explicitly disallowed.", ext)
		case len(r.passExtensions) > 0 && !slices.Contains(r.passExtensions, ext):
			return fmt.Sprintf("The file extension %.40q was not explicitly allowed.", ext)
		}
	}
	return ""
}

// named tells whether types has a type, or all of its kind: image for image/png.
func named(types []string, t string) bool {
	kind, _, _ := strings.Cut(t, "/")
	return slices.Contains(types, t) || slices.Contains(types, kind)
}

// plainType makes a type fit for people to read.
func plainType(t string) string {
	t = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return -1
		}
		return r
	}, t)
	return t[:min(len(t), 80)]
}

// extension is what a file's name ends with, in lower case, without the dot; "" if it has
// none. Windows does not see dots and spaces at the end, and so nor do we.
func extension(name string) string {
	name = strings.TrimRight(name, " .\t\u00a0")
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 || strings.ContainsAny(name[dot:], `/\`) {
		return ""
	}
	return strings.ToLower(strings.TrimSpace(name[dot+1:]))
}
