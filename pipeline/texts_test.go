package pipeline

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// named are the functions whose argument is the name of a text, and which one it is.
var named = map[string]int{"say": 0, "phrase": 0, "text": 0, "Phrase": 2, "Letter": 2, "Text": 2, "remark": 2, "owners": 1, "notice": 2}

// Every text that the pipeline writes is there: what names one is looked for in its source.
func TestEveryTextOfThePipelineIsThere(t *testing.T) {
	used := map[string]bool{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				name := ""
				switch fun := n.Fun.(type) {
				case *ast.SelectorExpr:
					name = fun.Sel.Name
				case *ast.Ident:
					name = fun.Name
				}
				if at, ok := named[name]; ok && at < len(n.Args) {
					note(t, used, n.Args[at])
				}
			case *ast.KeyValueExpr:
				if k, ok := n.Key.(*ast.Ident); ok && k.Name == "text" {
					note(t, used, n.Value)
				}
			case *ast.AssignStmt: // told, text, done := …, "welcome", "joined"
				for _, v := range n.Rhs {
					if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
						s, _ := strconv.Unquote(lit.Value)
						if _, ok := templates.Describe(s); ok {
							used[s] = true
						}
					}
				}
			}
			return true
		})
	}
	// Those that are put together.
	for _, policy := range []string{"open", "confirm", "moderate", "confirm_then_moderate", "closed"} {
		used["policy_"+policy] = true
	}
	for _, m := range list.Modes {
		used["mode_"+string(m)] = true
	}
	for _, s := range list.Statuses {
		used["delivery_"+string(s)] = true
	}
	for _, w := range []store.Want{store.WantJoin, store.WantLeave, store.WantChange, store.WantMove, store.WantInvite, store.WantLink, store.WantUnlink} {
		used["confirm_"+string(w)] = true
	}
	for _, name := range []string{"joined_owners", "left_owners", "status_owner", "status_moderator", "status_sender", "linked", "unlinked", "wish_link", "wish_unlink", "wish_move", "status_no_own_posts", "status_no_duplicates", "status_acknowledge", "status_topics", "status_until", "cannot_join", "cannot_leave"} {
		used[name] = true
	}
	for _, o := range []store.InviteOutcome{store.InviteNew, store.InviteAgain, store.InviteMember, store.InviteWaits, store.InviteUnwanted, store.InviteBanned, store.InviteNotHere, store.InviteFull} {
		used["invite_"+string(o)] = true
	}
	used["results"], used["site_results"] = true, true
	for _, choice := range []string{"own", "duplicates", "acknowledge"} {
		used["wish_"+choice+"_on"], used["wish_"+choice+"_off"] = true, true
	}
	for _, v := range []store.Verdict{store.VerdictAccept, store.VerdictReject, store.VerdictDiscard} {
		used["outcome_"+string(v)] = true
	}
	setting, err := list.Describe("expired_held_action")
	if err != nil {
		t.Fatal(err)
	}
	for _, action := range setting.Of {
		used["ends_"+action], used["ends_"+action+"_days"] = true, true
	}
	for name := range used {
		if _, ok := templates.Describe(name); !ok {
			t.Errorf("there is no text %q", name)
		}
	}
	if len(used) < 80 {
		t.Errorf("the source names only %d texts: %v", len(used), slices.Sorted(maps.Keys(used)))
	}
	// And nothing is translated that nobody writes.
	for _, name := range templates.Names() {
		if d, _ := templates.Describe(name); !d.Handlers && !used[name] && !strings.HasPrefix(name, "reason_") && !strings.HasPrefix(name, "autoresponse_") {
			t.Errorf("nobody writes %s", name)
		}
	}
}

// note notes a name that stands in the source.
func note(t *testing.T, used map[string]bool, e ast.Expr) {
	t.Helper()
	if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		s, err := strconv.Unquote(lit.Value)
		if err != nil {
			t.Fatal(err)
		}
		used[s] = true
	}
}

// speak makes the list's texts those of a directory of templates with these files.
func (w *world) speak(language string, files map[string]string) {
	w.t.Helper()
	dir := w.t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	texts, err := templates.Load(dir, language)
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := *w.daemon.cfg.Load()
	cfg.Texts = texts
	w.daemon.Reload(cfg)
}

// A list's own text goes out with its subject encoded; the others are those of its language.
func TestNoticesAreInTheListsLanguage(t *testing.T) {
	w, out := commandWorld(t, "preferred_language=de")
	w.speak("fr", map[string]string{"list/dev@lists.test/welcome.txt": "Subject: Grüße an %(user_address)s\n\nSchön, %(display_name)s.\n"})
	w.wrote("dev-request@lists.test", "ann@net.test", "", "join", "status")
	ask := out.to("ann@net.test", "die Liste dev@lists.test abonnieren")
	out.to("ann@net.test", "An ann@net.test ging, was als Nächstes zu tun ist")
	w.wrote(tokenIn(t, ask.text), "ann@net.test", "", "Re: x", "")
	got := out.to("ann@net.test", "Schön, dev.\r\n")
	if h := message.ParseHeader([]byte(got.text)); h.Text("Subject") != "Grüße an ann@net.test" {
		t.Errorf("%s", got.text)
	}
	out.none()
}

// Members are written to in the language that they chose, by mail or otherwise; owners in the
// list's.
func TestMembersChooseTheirLanguage(t *testing.T) {
	w, out := commandWorld(t, "admin_notify_mchanges=true", "preferred_language=fr")
	cfg := *w.daemon.cfg.Load()
	cfg.NoticesPerDay = 20
	w.daemon.Reload(cfg)
	w.wrote("dev-request@lists.test", "ann@net.test", "", "join language=DE", "")
	ask := out.to("ann@net.test", "die Liste dev@lists.test abonnieren")
	out.to("ann@net.test", "La suite à donner a été envoyée à ann@net.test") // who is no member yet
	w.wrote(tokenIn(t, ask.text), "ann@net.test", "", "Re: x", "")
	out.to("ann@net.test", "Willkommen bei der Liste")
	out.to("boss@x.test", "s'est abonnée à la liste")
	w.wrote("dev-request@lists.test", "ann@net.test", "", "set language=xx", "")
	out.to("ann@net.test", "Nicht verstanden: set [delivery=on|off]")
	w.wrote("dev-request@lists.test", "ann@net.test", "", "set language=en digest=mime delivery=off", "")
	ask = out.to("ann@net.test", "Please confirm how you want to receive")
	if want := "to stay a member of the list dev@lists.test, and be sent nothing for now, and receive MIME digests, and be written to in another language (en)."; !strings.Contains(ask.text, want) {
		t.Errorf("%s", ask.text)
	}
	out.to("ann@net.test", "An ann@net.test ging")
	w.wrote(tokenIn(t, ask.text), "ann@net.test", "", "Re: x", "")
	out.to("ann@net.test", "Erledigt für ann@net.test: Mitglied der Liste") // the last that is German
	out.none()
}

// So are those who post.
func TestTheAuthorOfAPostReadsTheirLanguage(t *testing.T) {
	for _, tt := range []struct {
		verdict sdk.Verdict
		want    string
	}{
		{sdk.Reject("x", "No cats."), "Ihre Nachricht an die Liste dev@lists.test wurde abgelehnt.\r\n\r\nNo cats."},
		{sdk.Hold("no-subject", "The post has no subject."), "\r\n\r\nDer Beitrag hat keinen Betreff.\r\n"},
		{sdk.Hold("x", "No cats."), "Ihre Nachricht an die Liste dev@lists.test wartet"},
	} {
		w := newWorld(t, verdict(tt.verdict))
		out := &outbox{w: w}
		w.add(list.Member, "ann@net.test")
		german := "de"
		if err := w.store.SetMember(t.Context(), w.list.ID, list.Member, addr(t, "ann@net.test"), store.MemberChange{Language: &german}); err != nil {
			t.Fatal(err)
		}
		w.post(hello)
		out.to("ann@net.test", tt.want)
	}
}
