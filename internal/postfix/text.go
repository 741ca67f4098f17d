package postfix

import (
	"strings"
)

// text is main.cf or master.cf. It is edited as text, and not by postconf, so that folded
// lines, comments between them and everything else stay as their administrator left them;
// what was put in can be taken out again to the last octet.
type text string

// span is a logical line: from the line that begins it through the last one that continues
// it, its line break included. Comments and blank lines may stand between, not at the end.
type span struct{ start, end int }

// find finds the logical line that counts, which is the last one for which is says yes.
func (t text) find(is func(line string) bool) (found span, ok bool) {
	open := false // within a line that was asked for
	at := 0
	for line := range strings.Lines(string(t)) {
		start := at
		at += len(line)
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			if open {
				found.end = at
			}
		default:
			if open = is(line); open {
				found, ok = span{start, at}, true
			}
		}
	}
	return found, ok
}

// param finds a parameter of main.cf.
func (t text) param(name string) (span, bool) {
	return t.find(func(line string) bool {
		key, _, ok := strings.Cut(line, "=")
		return ok && strings.TrimSpace(key) == name
	})
}

// entry finds a service of master.cf, such as mlist/unix.
func (t text) entry(name string) (span, bool) {
	i := strings.LastIndexByte(name, '/')
	return t.find(func(line string) bool {
		f := strings.Fields(line)
		return len(f) > 1 && f[0] == name[:i] && f[1] == name[i+1:]
	})
}

// words are what counts in a logical line.
func (t text) words(at span) []string {
	var out []string
	for line := range strings.Lines(string(t[at.start:at.end])) {
		if trimmed := strings.TrimSpace(line); trimmed != "" && trimmed[0] != '#' {
			out = append(out, strings.Fields(trimmed)...)
		}
	}
	return out
}

// value is a parameter's, on one line.
func (t text) value(at span) string {
	_, value, _ := strings.Cut(strings.Join(t.words(at), " "), "=")
	return strings.TrimSpace(value)
}

func (t text) replace(start, end int, with string) text { return t[:start] + text(with) + t[end:] }

// add puts a logical line at the end.
func (t text) add(line string) text {
	if t != "" && !strings.HasSuffix(string(t), "\n") {
		t += "\n"
	}
	return t + text(line) + "\n"
}

// fold is what stands between items on lines of their own.
const fold = ",\n    "

// insert puts items into a list that main.cf has, in front of it or behind it.
func (t text) insert(at span, items string, front bool) text {
	lines := string(t[at.start:at.end])
	eq := at.start + strings.IndexByte(lines, '=') + 1
	first := at.start + strings.IndexByte(lines+"\n", '\n') // where the first line ends
	first = min(first, at.end)
	body := t[eq:first]
	switch {
	case t.value(at) == "":
		return t.replace(eq, first, " "+items)
	case front && strings.TrimSpace(string(body)) == "":
		return t.replace(first, first, "\n    "+items+",")
	case front:
		begin := eq + len(body) - len(strings.TrimLeft(string(body), " \t"))
		return t.replace(begin, begin, items+fold)
	}
	end := at.start + len(strings.TrimRight(lines, " \t\r\n"))
	return t.replace(end, end, fold+items)
}

// extract takes out what insert has put in, if it stands there as insert left it.
func (t text) extract(at span, items string, front bool) (text, bool) {
	lines := string(t[at.start:at.end])
	eq := strings.IndexByte(lines, '=') + 1
	value := lines[eq:]
	if strings.TrimSpace(value) == items {
		return t.replace(at.start+eq, at.start+len(strings.TrimRight(lines, "\r\n")), ""), true
	}
	// In the order of insert's cases.
	wanted := []string{"\n    " + items + ",", items + fold}
	if !front {
		wanted = []string{fold + items}
	}
	for _, want := range wanted {
		i := strings.Index(value, want)
		if i < 0 {
			continue
		}
		line, _, _ := strings.Cut(value[i+len(want):], "\n")
		if want != items+fold && strings.TrimSpace(line) != "" {
			continue // something was put behind it since
		}
		start := at.start + eq + i
		return t.replace(start, start+len(want), ""), true
	}
	return t, false
}

// assign gives a parameter a value, in place of the one that it has, or at the end.
func (t text) assign(name, value string) text {
	at, ok := t.param(name)
	if !ok {
		return t.add(name + " = " + value)
	}
	lines := string(t[at.start:at.end])
	begin := strings.IndexByte(lines, '=') + 1
	end := len(strings.TrimRight(lines, " \t\r\n"))
	if had := strings.TrimLeft(lines[begin:end], " \t\r\n"); had != "" && value != "" {
		begin = end - len(had)
	} else if value != "" {
		value = " " + value
	}
	return t.replace(at.start+begin, at.start+max(begin, end), value)
}

// without takes out a logical line.
func (t text) without(at span) text { return t.replace(at.start, at.end, "") }
