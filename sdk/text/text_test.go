package text

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func values(m map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := m[name]; return v, ok }
}

func TestFill(t *testing.T) {
	known := values(map[string]string{"name": "Dev", "empty": "", "trick": "%(name)s\r\nBcc: eve\x00\x1b[2J", "a_1": "x"})
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"a placeholder", "to %(name)s, %(a_1)s%(name)s.\n", "to Dev, xDev.\n"},
		{"one that is not known", "%(eman)s", "%(eman)s"},
		{"what only looks like one", "100%(name) %(Name)s %()s %(name%(name)s %%(name)s %(", "100%(name) %(Name)s %()s %(nameDev %Dev %("},
		{"a value is not looked through", "%(trick)s|", "%(name)s\nBcc: eve[2J|"},
		{"CRLF", "a\r\n%(name)s\r\n", "a\nDev\n"},
		{"something", "a\n%(if name)\nb\n%(else)\nc\n%(end)\nd", "a\nb\nd"},
		{"nothing there", "a\n %(if empty) \nb\n%(else)\nc\n%(end)\nd", "a\nc\nd"},
		{"nothing known", "%(if eman)\nb\n%(end)\nd", "d"},
		{"no end", "a\n%(if empty)\nb", "a\n"},
		{"no start", "%(else)\na\n%(end)\n", "%(else)\na\n%(end)\n"},
		{"within a line it is text", "a %(if name) b", "a %(if name) b"},
	} {
		if got := Fill(tt.text, known); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestCheck(t *testing.T) {
	known := func(name string) bool { return name == "name" || name == "reason" }
	for _, text := range []string{"", "plain 100%\n", "%(name)s\n%(if reason)\n%(reason)s\n%(else)\n-\n%(end)\n", "tab\tand é\r\n"} {
		if err := Check(text, known); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	for text, want := range map[string]Error{
		"a\n%(eman)s":                      {2, "no placeholder %(eman)s here"},
		"a\n\n%(name) is":                  {3, `want %(name)s`},
		"%(if eman)\n%(end)":               {1, "no placeholder eman here"},
		"%(if name)\nx":                    {1, "without %(end)"},
		"%(if name)\n%(if reason)\n%(end)": {2, "within that of line 1"},
		"x\n%(end)":                        {2, "without %(if"},
		"a\nb\xffc":                        {2, "octet 0xff is not UTF-8"},
		"a\x1b":                            {1, `control character '\x1b'`},
		"a\nb\r":                           {2, `control character '\r'`},
		"a\rb":                             {1, `control character '\r'`},
		"x %(if name) y":                   {1, "on a line of its own"},
	} {
		var e *Error
		if err := Check(text, known); !errors.As(err, &e) || e.Line != want.Line || !strings.Contains(e.What, want.What) {
			t.Errorf("%q: %v, want %v", text, err, &want)
		}
	}
}

func TestLine(t *testing.T) {
	for s, want := range map[string]string{
		" a\r\nBcc: b\x00 ": "a  Bcc: b", "a\u2028b\u202ec": "a b c", "é\xff": "é\uFFFD", strings.Repeat("é", 20): strings.Repeat("é", 15) + "…",
	} {
		if got := Line(s, 31); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

func TestOfAList(t *testing.T) {
	l := List{"dev@lists.example.org", "Dev", "All of it"}
	got := Fill("%(display_name)s %(list_address)s %(list_name)s %(list_domain)s %(description)s %(leave_address)s %(owner_address)s", l.Value)
	if want := "Dev dev@lists.example.org dev lists.example.org All of it dev-leave@lists.example.org dev-owner@lists.example.org"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, name := range ListNames {
		if _, ok := l.Value(name); !ok {
			t.Errorf("%s is not known", name)
		}
	}
}

// FuzzFill: what Check takes is filled in wholly, and nothing of a value acts.
func FuzzFill(f *testing.F) {
	f.Add("%(a)s %(b)s\n%(if a)\n%(a)s\n%(end)\n", "%(b)s", "x\r\ny")
	f.Add("%(if a)\n%(else)\n%(end)%(a)s%(", "", "%(if a)")
	f.Fuzz(func(t *testing.T, text, a, b string) {
		known := values(map[string]string{"a": a, "b": b})
		got := Fill(text, known)
		if most := (len(text)+1)*(len(Clean(a))+len(Clean(b))+1) + 3*len(text); len(got) > most {
			t.Fatalf("%d octets of %d", len(got), len(text))
		}
		names := []string{"a", "b"}
		if Check(text, func(name string) bool { return slices.Contains(names, name) }) != nil {
			return
		}
		plain := Fill(text, values(map[string]string{"a": "x", "b": ""}))
		if strings.Contains(plain, "%(") {
			t.Fatalf("%q leaves %q", text, plain)
		}
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
			t.Fatalf("%q", got)
		}
	})
}

// FuzzLine: whatever strangers write is one line.
func FuzzLine(f *testing.F) {
	f.Add("a\r\nb")
	f.Add("\u0085\u2028\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := Line(s, 100)
		if len(got) > 104 || !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) {
			t.Fatalf("%q is %q", s, got)
		}
	})
}

func TestWithout(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "",
		"a %(list)s\nHi %(user_name)s\nb": "a %(list)s\nb",
		"%(list)s %(user_address)s, you\r\nb\r\n":  "b\r\n",
		"%(user_name) and user_name stay\n":        "%(user_name) and user_name stay\n",
		"%(user_name)x %(user_name_or_address)s\n": "",
		"%(user_namex)s":                           "%(user_namex)s",
	} {
		if got := Without(in, Personal...); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestFormsOfANumber(t *testing.T) {
	value := func(name string) (string, bool) {
		v, ok := map[string]string{"one": "1", "two": "2", "none": "", "zero": "0"}[name]
		return v, ok
	}
	for in, want := range map[string]string{
		"%(one)s %(one|day|days)s":             "1 day",
		"%(two)s %(two|day|days)s.":            "2 days.",
		"%(zero)s %(zero|Tag|Tagen)s":          "0 Tagen",
		"%(none|day|days)s":                    "days",
		"%(what|day|days)s":                    "%(what|day|days)s",
		"%(one|day)s %(one||x)s %(one|a|b|c)s": "%(one|day)s %(one||x)s %(one|a|b|c)s",
		"%(one|a b, c|é)s":                     "a b, c",
	} {
		if got := Fill(in, value); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
	known := func(name string) bool { _, ok := value(name); return ok }
	for in, ok := range map[string]bool{"%(one|day|days)s": true, "%(what|day|days)s": false, "%(one|day)s": false, "%(one||days)s": false, "%(one|a|b|c)s": false} {
		if err := Check(in, known); (err == nil) != ok {
			t.Errorf("%q: %v", in, err)
		}
	}
}
