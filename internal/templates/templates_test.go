package templates

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/sdk/text"
)

func newList(t *testing.T, addr string, settings ...string) *list.List {
	t.Helper()
	a, err := address.Parse(addr)
	if err != nil {
		t.Fatal(err)
	}
	l := &list.List{Address: a, Settings: list.Defaults()}
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		if err := l.Settings.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// write makes files of a directory, and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t *testing.T, files map[string]string, language string) *Set {
	t.Helper()
	s, err := Load(write(t, files), language)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// samples are values for every placeholder that a text may have.
func samples(t Text) Values {
	v := Values{}
	for _, name := range t.Values {
		v[name] = placeholders[name].Sample
	}
	return v
}

func TestEveryLanguageHasEveryText(t *testing.T) {
	english := placeholdersIn(t, English)
	for _, language := range []string{"de", "en", "fr"} {
		have := placeholdersIn(t, language)
		for _, name := range Names() {
			e := builtIn().files[key{language: language, name: name}]
			if e == nil {
				t.Errorf("%s: no %s", language, name)
				continue
			}
			if !slices.Equal(have[name], english[name]) {
				t.Errorf("%s: %s has the placeholders %q, in English %q", language, name, have[name], english[name])
			}
			if language != English && e.body != "" && e.body == builtIn().files[key{language: English, name: name}].body && name != "wish_both" && name != "dmarc_via" { // French says via, too
				t.Errorf("%s: %s is not translated", language, name)
			}
		}
	}
	if !slices.Equal(builtIn().languages, []string{"de", "en", "fr"}) {
		t.Errorf("languages %q", builtIn().languages)
	}
}

// placeholdersIn are those of each built-in text, with what it asks about.
func placeholdersIn(t *testing.T, language string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for k, e := range builtIn().files {
		if k.language != language {
			continue
		}
		seen := map[string]bool{}
		err := text.Check(e.subject+"\n"+e.body, func(name string) bool { seen[name] = true; return true })
		if err != nil {
			t.Errorf("%s: %v", e.file, err)
		}
		out[k.name] = slices.Sorted(maps.Keys(seen))
	}
	return out
}

func TestEveryTextIsWrittenInEveryLanguage(t *testing.T) {
	l := newList(t, "dev@lists.example.org", "display_name=Dev", "description=How we build it")
	for _, language := range builtIn().languages {
		for _, name := range Names() {
			d, _ := Describe(name)
			for _, v := range []Values{samples(d), {}} {
				got := (*Set)(nil).Letter(l, language, name, v)
				if strings.Contains(got.Subject+got.Body, "%(") && d.Setting == "" || strings.Contains(got.Subject, "\n") || d.Letter == (got.Subject == "") {
					t.Errorf("%s %s:\n%s\n\n%s", language, name, got.Subject, got.Body)
				}
				if got.Body == "" && !d.Empty {
					t.Errorf("%s %s is empty", language, name)
				}
				for line := range strings.Lines(got.Body) {
					if len([]rune(line)) > 100 && !d.oneLine() {
						t.Errorf("%s %s: a long line: %s", language, name, line)
					}
				}
			}
		}
	}
}

// oneLine are texts that stand within others.
func (t Text) oneLine() bool { return !t.Letter }

func TestPlaceholdersAreDescribed(t *testing.T) {
	used := map[string]bool{}
	for _, name := range Names() {
		d, ok := Describe(name)
		if !ok {
			t.Errorf("%s is not described", name)
		}
		if d.Setting != "" {
			if s, err := list.Describe(d.Setting); err != nil {
				t.Error(err)
			} else if e := builtIn().files[key{language: English, name: name}]; s.Default != "" && s.Default != e.body {
				t.Errorf("%s is %q in English, and the setting's default is %q", name, e.body, s.Default)
			}
		}
		for _, p := range d.Values {
			used[p] = true
			if placeholders[p].Help == "" || placeholders[p].Sample == "" {
				t.Errorf("%s has the placeholder %s, of which nothing is said", name, p)
			}
		}
	}
	for p := range placeholders {
		if !used[p] {
			t.Errorf("no text has the placeholder %s", p)
		}
	}
	for i, d := range Texts {
		if _, ok := builtIn().phrases[d.Name]; ok || slices.ContainsFunc(Texts[:i], func(o Text) bool { return o.Name == d.Name }) {
			t.Errorf("%s is there twice", d.Name)
		}
	}
}

func TestWhichTextIsTaken(t *testing.T) {
	all := map[string]string{}
	for _, dir := range []string{"list/dev@lists.example.org", "domain/lists.example.org", "site"} {
		for _, language := range []string{"de/", ""} {
			all[dir+"/"+language+"goodbye.txt"] = "Subject: x\n\n" + dir + " " + language + "\n"
		}
	}
	without := func(patterns ...string) map[string]string {
		m := maps.Clone(all)
		for _, p := range patterns {
			maps.DeleteFunc(m, func(name, _ string) bool { return strings.HasPrefix(name, p) })
		}
		return m
	}
	for _, tt := range []struct {
		name     string
		files    map[string]string
		site     string
		settings []string
		reader   string
		want     string // the text, or with : the language of the built-in one
	}{
		{"the list's, in the reader's language", all, "en", nil, "de", "list/dev@lists.example.org de/"},
		{"the list's for every language", all, "en", nil, "fr", "list/dev@lists.example.org "},
		{"the list's for every language, before the domain's in the reader's", without("list/dev@lists.example.org/de"), "en", nil, "de", "list/dev@lists.example.org "},
		{"the domain's", without("list"), "en", nil, "de", "domain/lists.example.org de/"},
		{"the domain's for every language", without("list"), "en", nil, "fr", "domain/lists.example.org "},
		{"the site's", without("list", "domain"), "en", nil, "de", "site de/"},
		{"the site's for every language", without("list", "domain"), "en", nil, "en", "site "},
		{"what is built in", without("list", "domain", "site/goodbye"), "en", nil, "fr", "built-in fr"},
		{"the language without the region", without("list", "domain"), "en", nil, "de-at", "site de/"},
		{"the list's language, where nothing is in the reader's", without("list", "domain", "site/goodbye"), "fr", []string{"preferred_language=de"}, "sv", "site de/"},
		{"the list's language, built in", nil, "en", []string{"preferred_language=fr"}, "sv", "built-in fr"},
		{"the list's language, where no reader's is known", nil, "en", []string{"preferred_language=fr"}, "", "built-in fr"},
		{"the site's language", nil, "de", nil, "", "built-in de"},
		{"the reader's before the list's and the site's", nil, "de", []string{"preferred_language=fr"}, "en", "built-in en"},
		{"English", nil, "sv", []string{"preferred_language=it"}, "pt-br", "built-in en"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := load(t, tt.files, tt.site)
			l := newList(t, "Dev@Lists.Example.ORG", tt.settings...)
			src, ok := s.Find(l, tt.reader, "goodbye")
			got := strings.TrimSuffix(strings.TrimPrefix(src.Text, "Subject: x\n\n"), "\n")
			if src.Scope == "built-in" {
				got = "built-in " + src.Language
			}
			if !ok || got != tt.want {
				t.Errorf("%q from %q, want %q", got, src.File, tt.want)
			}
			if src.Scope != "built-in" && strings.TrimSpace(s.Text(l, tt.reader, "goodbye", nil)) != strings.TrimSpace(tt.want) {
				t.Errorf("written as %q", s.Text(l, tt.reader, "goodbye", nil))
			}
		})
	}
}

func TestAnotherListGetsNothingOfIt(t *testing.T) {
	s := load(t, map[string]string{"list/dev@a.test/footer.txt": "dev\n", "domain/a.test/header.txt": "a\n"}, "")
	for addr, want := range map[string]string{"dev@a.test": "dev\na\n", "ops@a.test": "a\n", "dev@b.test": ""} {
		m := s.Settings(newList(t, addr), "")
		if got := strings.TrimPrefix(m["footer"]+m["header"], builtIn().files[key{"", English, "footer"}].body); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
}

func TestTheListsOwnSettingComesFirst(t *testing.T) {
	s := load(t, map[string]string{"site/footer.txt": "site\n", "site/header.txt": "top\n", "list/none@a.test/footer.txt": "", "site/autoresponse_owner_text.txt": "Subject: s\n\nsite\n"}, "de")
	for _, tt := range []struct {
		list   *list.List
		footer string
		scope  string
	}{
		{newList(t, "dev@a.test"), "site\n", "site"},
		{newList(t, "dev@a.test", "footer=own\n"), "own\n", "setting"},
		{newList(t, "dev@a.test", "footer="), "", "setting"},
		{newList(t, "none@a.test"), "", "list"},
	} {
		m := s.Settings(tt.list, "")
		src, _ := s.Find(tt.list, "", "footer")
		if m["footer"] != tt.footer || m["header"] != "top\n" || src.Scope != tt.scope {
			t.Errorf("footer %q, header %q, from %s; want %q from %s", m["footer"], m["header"], src.Scope, tt.footer, tt.scope)
		}
	}
	m := s.Settings(newList(t, "dev@a.test"), "fr")
	if !strings.Contains(m["digest_footer"], "Abbestellen") || !strings.HasPrefix(m[Prefix+"acknowledge"], "Subject: %(display_name)s a reçu") || m[Prefix+"digest_topics"] != "Heutige Themen:" {
		t.Errorf("the list's language, and the author's: %q, %q, %q", m["digest_footer"], m[Prefix+"acknowledge"], m[Prefix+"digest_topics"])
	}
	if _, ok := m[Prefix+"rejected"]; ok {
		t.Error("handlers get what is not theirs")
	}
	own := newList(t, "dev@a.test", "autoresponse_owner_text=At %(owner_address)s\nwe read")
	if got := s.Letter(own, "", "autoresponse_owner_text", nil); got != (Letter{"s", "At dev-owner@a.test\nwe read\n"}) {
		t.Errorf("%+v", got)
	}
}

func TestPhrasesAreTakenOneByOne(t *testing.T) {
	s := load(t, map[string]string{"site/phrases.txt": "# own\n\njoined = %(user_address)s is in.\r\n", "list/dev@a.test/de/phrases.txt": "left=%(user_address)s ist weg."}, "")
	l, v := newList(t, "dev@a.test"), Values{"user_address": "ann@b.test"}
	for _, tt := range []struct{ reader, name, want string }{
		{"de", "joined", "ann@b.test is in."},
		{"de", "left", "ann@b.test ist weg."},
		{"fr", "left", "ann@b.test a quitté dev@a.test."},
		{"", "left", "ann@b.test has left dev@a.test."},
	} {
		if got := s.Phrase(l, tt.reader, tt.name, v); got != tt.want {
			t.Errorf("%s in %q: %q, want %q", tt.name, tt.reader, got, tt.want)
		}
	}
}

func TestValuesShapeNoNotice(t *testing.T) {
	l := newList(t, "dev@a.test")
	l.Settings.DisplayName, l.Settings.Description = "Dev\r\nBcc: eve@x.test", "a\n%(owner_address)s"
	evil := "x\r\nBcc: eve@x.test\n\n%(list_address)s\x00\x1b[2J\u202e" + strings.Repeat("é", 1000)
	for _, language := range builtIn().languages {
		for _, name := range Names() {
			d, _ := Describe(name)
			v := Values{}
			for _, p := range d.Values {
				v[p] = evil
			}
			plain := (*Set)(nil).Letter(l, language, name, samples(d))
			got := (*Set)(nil).Letter(l, language, name, v)
			if strings.ContainsAny(got.Subject+got.Body, "\r\x00\x1b") || strings.Contains(got.Subject, "\n") || len(got.Subject) > maxValue+8 {
				t.Errorf("%s %s:\n%q\n%q", language, name, got.Subject, got.Body)
			}
			if !slices.ContainsFunc(manyLines, func(p string) bool { return slices.Contains(d.Values, p) }) && strings.Count(got.Body, "\n") != strings.Count(plain.Body, "\n") {
				t.Errorf("%s %s has other lines:\n%s", language, name, got.Body)
			}
			if strings.Contains(got.Subject+got.Body, "x  Bcc: eve@x.test") && !strings.Contains(got.Subject+got.Body, "%(list_address)s") {
				t.Errorf("%s %s: a value was looked through:\n%s", language, name, got.Body)
			}
		}
	}
}

func TestBadFilesAreNamed(t *testing.T) {
	for name, tt := range map[string]struct {
		file, content, want string
	}{
		"an unknown text":               {"site/footr.txt", "x", `site/footr.txt: no text is called "footr"`},
		"a text by another name":        {"site/Held-Author.txt", "x", `did you mean held_author?`},
		"an unknown placeholder":        {"site/footer.txt", "a\nb %(lst_name)s\n", "site/footer.txt:2: no placeholder %(lst_name)s here"},
		"a placeholder of another text": {"site/de/welcome.txt", "Subject: x\n\n%(reason)s", "site/de/welcome.txt:3: no placeholder %(reason)s here"},
		"one in the subject":            {"site/welcome.txt", "Subject: %(reason)s\n\nx", "site/welcome.txt:1: no placeholder %(reason)s here"},
		"no subject":                    {"site/welcome.txt", "Hello\n\nx", `site/welcome.txt:1: want "Subject: …" first`},
		"more than a subject":           {"site/welcome.txt", "Subject: x\nBcc: eve@x.test\n\nx", "site/welcome.txt:2: want an empty line after the subject"},
		"no text":                       {"site/welcome.txt", "Subject: x\n\n \n", "site/welcome.txt: empty"},
		"another charset":               {"site/footer.txt", "a\nb\nl\xf6schen", "site/footer.txt:3: octet 0xf6 is not UTF-8"},
		"a control character":           {"site/footer.txt", "a\x1b[2J", `site/footer.txt:1: control character '\x1b'`},
		"no end":                        {"site/footer.txt", "\n%(if description)\nx", "site/footer.txt:2: %(if …) without %(end)"},
		"too long":                      {"site/footer.txt", strings.Repeat("a\n", maxText/2+1), "site/footer.txt: longer than 65536 octets"},
		"another ending":                {"site/footer.text", "x", "site/footer.text: want NAME.txt"},
		"no language":                   {"site/German/footer.txt", "x", `site/German: "German" is no language`},
		"no list":                       {"list/dev/footer.txt", "x", "list/dev: not called as a list: want LIST@DOMAIN"},
		"no domain":                     {"domain/a b/footer.txt", "x", "domain/a b: not called as a domain"},
		"another directory":             {"lists/dev@a.test/footer.txt", "x", "lists: want the directories list, domain and site"},
		"a directory too deep":          {"site/de/at/footer.txt", "x", "site/de/at: want NAME.txt"},
		"an unknown phrase":             {"site/phrases.txt", "# x\njoind = x", `site/phrases.txt:2: no text is called "joind"`},
		"a phrase without a text":       {"site/phrases.txt", "joined =", "site/phrases.txt:1: joined has no text"},
		"a phrase twice":                {"site/phrases.txt", "joined = x\n\njoined = y", "site/phrases.txt:3: joined is there twice"},
		"no phrase":                     {"site/phrases.txt", "joined", `site/phrases.txt:1: "joined": want NAME = TEXT`},
		"a placeholder in a phrase":     {"site/phrases.txt", "\njoined = %(token)s", "site/phrases.txt:2: no placeholder %(token)s here"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, map[string]string{tt.file: tt.content, "site/help.txt": "fine"})
			_, err := Load(dir, "en")
			var fe *FileError
			if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.As(err, &fe) || !strings.HasPrefix(fe.File, dir) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	_, err := Load(write(t, map[string]string{"site/a.txt": "x", "site/de/b.txt": "x", "list/x/c.txt": "x"}), "en")
	if n := len(strings.Split(fmt.Sprint(err), "\n")); n != 3 {
		t.Errorf("%d errors of three: %v", n, err)
	}
}

func TestDirectories(t *testing.T) {
	for name, dir := range map[string]string{"none": "", "one that is not there": filepath.Join(t.TempDir(), "x"), "an empty one": t.TempDir(),
		"what others leave behind": write(t, map[string]string{"README": "x", "site/.footer.txt.swp": "x", "site/footer.txt~": "x", "site/footer.txt.dpkg-old": "x", ".git/x": "x", "site/#footer.txt#": "x"})} {
		s, err := Load(dir, "")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(s.files) != 0 {
			t.Errorf("%s: %v", name, s.files)
		}
	}
	if _, err := Load(filepath.Join(write(t, map[string]string{"f": "x"}), "f"), "en"); err == nil {
		t.Error("a file is no directory")
	}
	if _, err := Load("", "../en"); err == nil {
		t.Error("a language that is a path")
	}
	s := load(t, map[string]string{"site/footer.txt": "\ufeffa\r\nb\r\n"}, "")
	if got := s.Text(newList(t, "dev@a.test"), "", "footer", nil); got != "a\nb\n" {
		t.Errorf("%q", got)
	}
}

// Names of lists lead nowhere: they are compared with names of directories.
func TestNoNameLeavesTheDirectory(t *testing.T) {
	outside := write(t, map[string]string{"footer.txt": "secret\n", "x@a.test/footer.txt": "secret\n"})
	dir := write(t, map[string]string{"site/help.txt": "fine"})
	for _, addr := range []string{"../../x@a.test", "..@a.test", "/etc/passwd@a.test", "x/../y@a.test", "a%2f@a.test", "site@a.test"} {
		a, err := address.Parse(addr)
		if err != nil {
			t.Fatal(err)
		}
		l := &list.List{Address: a, Settings: list.Defaults()}
		s, err := Load(dir, "en")
		if err != nil {
			t.Fatal(err)
		}
		for _, reader := range []string{"", "..", "../../x", "/"} {
			if src, _ := s.Find(l, reader, "footer"); src.Scope != "built-in" {
				t.Errorf("%s in %q: %+v", addr, reader, src)
			}
		}
	}
	// A symbolic link may lead elsewhere within, and not out.
	if err := os.Symlink("../site", filepath.Join(mkdir(t, dir, "list"), "in@a.test")); err != nil {
		t.Fatal(err)
	}
	s, err := Load(dir, "en")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Text(newList(t, "in@a.test"), "", "help", nil); got != "fine\n" {
		t.Errorf("%q", got)
	}
	for _, link := range []string{"list/out@a.test", "domain/a.test", "site/footer.txt"} {
		t.Run(link, func(t *testing.T) {
			dir := write(t, map[string]string{"site/help.txt": "fine", "list/README": "", "domain/README": ""})
			if err := os.Symlink(cmp.Or(map[string]string{"site/footer.txt": outside + "/footer.txt"}[link], outside+"/x@a.test"), filepath.Join(dir, link)); err != nil {
				t.Fatal(err)
			}
			if s, err := Load(dir, "en"); err == nil {
				t.Errorf("taken: %v", s.files)
			}
		})
	}
}

func mkdir(t *testing.T, parts ...string) string {
	t.Helper()
	dir := filepath.Join(parts...)
	if err := os.MkdirAll(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	return dir
}

func TestSamplesAreInOneLanguage(t *testing.T) {
	l := newList(t, "dev@a.test")
	for name, want := range map[string]string{
		"request_moderators": "ann@example.net möchte die Liste dev@a.test abonnieren",
		"held_author":        "Der Beitrag nennt 12 Empfänger; diese Liste nimmt weniger als 10 an.",
		"confirm_change":     "die Liste dev@a.test abonnieren",
		"digest_end":         "Ende: dev Sammelsendung, Band 2, Ausgabe 3",
		"wish_change":        "bleiben und Übersichten erhalten",
	} {
		if got := (*Set)(nil).Sample(l, "de", name); !strings.Contains(got.Subject+"\n"+got.Body, want) {
			t.Errorf("%s: %q\n%s\nwant %q", name, got.Subject, got.Body, want)
		}
	}
	for p, phrase := range inWords {
		if _, ok := builtIn().phrases[phrase]; !ok || placeholders[p].Sample == "" {
			t.Errorf("%s stands for %s", p, phrase)
		}
	}
}

func TestLanguages(t *testing.T) {
	s := load(t, map[string]string{"site/it/help.txt": "x", "list/dev@a.test/sv/help.txt": "x"}, "de")
	if got := s.Languages(newList(t, "dev@a.test")); !slices.Equal(got, []string{"de", "en", "fr", "it", "sv"}) {
		t.Errorf("%q", got)
	}
	if got := s.Languages(newList(t, "ops@a.test")); !slices.Equal(got, []string{"de", "en", "fr", "it"}) {
		t.Errorf("%q", got)
	}
	if got := s.Language(newList(t, "ops@a.test")); got != "de" {
		t.Errorf("%q", got)
	}
	if got := (*Set)(nil).Language(newList(t, "ops@a.test", "preferred_language=it")); got != "it" {
		t.Errorf("%q", got)
	}
}

// FuzzFile: whatever a file holds, it is an error that names it, or a text that can be written.
func FuzzFile(f *testing.F) {
	f.Add("footer.txt", "a\n%(if description)\n%(list_name)s\n%(end)\n")
	f.Add("welcome.txt", "Subject: %(user_address)s\n\nx")
	f.Add("phrases.txt", "joined = %(user_address)s\n# x\n\nleft=y")
	f.Fuzz(func(t *testing.T, name, content string) {
		to := map[key]*entry{}
		err := builtIn().addFile(to, key{scope: "site"}, "site/"+name, name, content)
		if err != nil {
			if !strings.Contains(err.Error(), "site/"+name) {
				t.Fatalf("%q: %v", content, err)
			}
			return
		}
		a, _ := address.Parse("dev@a.test")
		l := &list.List{Address: a, Settings: list.Defaults()}
		s := &Set{files: to}
		for k := range to {
			d, _ := Describe(k.name)
			got := s.Letter(l, "", k.name, samples(d))
			if strings.Contains(got.Subject, "\n") || strings.Contains(got.Subject+got.Body, "%(") {
				t.Fatalf("%q is %+v", content, got)
			}
		}
	})
}
