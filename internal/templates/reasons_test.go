package templates

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/list"
)

func TestReasonsAreKnownAgain(t *testing.T) {
	l := newList(t, "dev@a.test")
	s := load(t, map[string]string{"site/phrases.txt": "reason_no_subject = Please say what it is about."}, "")
	frozen := func(why string) string { _, reason := list.Frozen.Refusal("dev@a.test", why); return reason }
	for _, tt := range []struct{ reader, reason, want string }{
		{"de", "The post has no subject.", "Please say what it is about."},
		{"fr", "The post does not name the list in To or Cc.", "Le message ne nomme la liste ni dans To ni dans Cc."},
		{"de", "The post has 50 KB; this list takes up to 40 KB.", "Der Beitrag hat 50 KB; diese Liste nimmt bis zu 40 KB an."},
		{"de", "eve@a.test may not post to this list.", "eve@a.test darf nicht an diese Liste schreiben."},
		{"fr", "Posts by people who are not members of this list are not accepted.", "Les messages de personnes qui ne sont pas abonnées à cette liste ne sont pas acceptés."},
		{"de", "Posts by people who are not members of this list are discarded.", "Beiträge von Personen, die nicht Mitglied dieser Liste sind, werden verworfen."},
		{"de", "Posts by this member are discarded.", "Beiträge dieses Mitglieds werden verworfen."},
		{"de", frozen(""), "dev@a.test nimmt zurzeit keine Beiträge an."},
		{"de", frozen("Back in May. Or June."), "dev@a.test nimmt zurzeit keine Beiträge an. Back in May. Or June."},
		{"de", `The post has the line "unsubscribe %(owner_address)s", which looks like a command; those go to dev-request@a.test.`,
			`Der Beitrag hat die Zeile "unsubscribe %(owner_address)s", die nach einem Befehl aussieht; Befehle gehen an dev-request@a.test.`},
		{"fr", "The content type image/png was not explicitly allowed.", "Le type de contenu image/png n'est pas explicitement permis."},
		{"de", `The file extension "exe" was explicitly disallowed.`, `Die Dateiendung "exe" ist ausdrücklich verboten.`},
		{"de", "No cats here.", "No cats here."},
		{"de", "", ""},
		{"de", "The post has no subject.\nThe post has no subject.", "The post has no subject.\nThe post has no subject."},
		{"en", "The post has 50 KB; this list takes up to 40 KB.", "The post has 50 KB; this list takes up to 40 KB."},
	} {
		if got := s.Reason(l, tt.reader, tt.reason); got != tt.want {
			t.Errorf("%s, %q: %q, want %q", tt.reader, tt.reason, got, tt.want)
		}
	}
	long := "The field " + strings.Repeat("x", 5000) + " matches y."
	if got := s.Reason(l, "de", long); got != long {
		t.Error("a reason without an end is looked at")
	}
}

var verb = regexp.MustCompile(`%[.0-9]*[a-z]`)

// Every reason that stands as a sentence in the source of a handler that ships is a phrase.
func TestEveryReasonOfTheHandlersIsAPhrase(t *testing.T) {
	found := 0
	look := func(path string) {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 2 {
				return true
			}
			fun, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || fun.Sel.Name != "Hold" && fun.Sel.Name != "Reject" { // who is discarded is told nothing
				return true
			}
			reason := sentence(call.Args[1])
			if reason == "" {
				return true
			}
			found++
			if got := (*Set)(nil).Reason(newList(t, "dev@a.test"), "de", reason); got == reason {
				t.Errorf("%s: %q has no translation", path, reason)
			}
			return true
		})
	}
	err := filepath.WalkDir("../../plugins", func(path string, e fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			look(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 15 {
		t.Errorf("only %d reasons were found", found)
	}
}

// sentence is a reason with samples for what is put into it; "" if it does not stand here.
func sentence(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, _ := strconv.Unquote(e.Value)
		return verb.ReplaceAllString(s, "3")
	case *ast.CallExpr:
		if len(e.Args) > 0 {
			if s := sentence(e.Args[0]); s != "" {
				return strings.Replace(s, "within 3;", "within a day;", 1)
			}
		}
	case *ast.BinaryExpr:
		x, y := sentence(e.X), sentence(e.Y)
		if x == "" {
			return ""
		}
		if y == "" {
			y = "3"
		}
		return x + y
	}
	return ""
}

// FuzzReason: whatever a reason says, what is told is no longer than it may be.
func FuzzReason(f *testing.F) {
	f.Add("The field x matches y. matches .")
	f.Add("dev@a.test takes no posts at present. x")
	f.Fuzz(func(t *testing.T, reason string) {
		a := &list.List{Settings: list.Defaults()}
		if got := (*Set)(nil).Reason(a, "de", reason); got != reason && (len(got) > 4*maxValue+500 || strings.Contains(got, "\n")) {
			t.Fatalf("%q", got)
		}
	})
}
