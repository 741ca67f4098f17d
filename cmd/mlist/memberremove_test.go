package main

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/oneclick"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/store/sqlstore"
)

// oneClickToken is what stood in the URL of List-Unsubscribe.
func oneClickToken(ctx context.Context, url string, list address.Address, member string) (string, error) {
	st, err := sqlstore.Open(ctx, url, sqlstore.Options{})
	if err != nil {
		return "", err
	}
	defer st.Close()
	secret, err := st.Secret(ctx, store.SecretOneClick)
	if err != nil {
		return "", err
	}
	return oneclick.NewSealer(oneclick.Derive(secret, list), time.Now()).Token(member), nil
}

func TestATokenOfOneClickRemovesItsMember(t *testing.T) {
	inStore(t)
	if out, errs, status := inProcess(t, "", "member", "add", "dev@l.test", "ann@net.test", "bob@net.test"); status != 0 {
		t.Fatalf("status %d\n%s%s", status, out, errs)
	}
	list := address.Address{Local: "dev", Domain: "l.test"}
	cfg, err := config.Load(os.Getenv("MLIST_CONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	token, err := oneClickToken(t.Context(), cfg.Store.URL, list, "ann@net.test")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		args   string
		status int
		want   string
	}{
		{"--token " + token[:30], exitError, "not made here"},
		{"bob@net.test --token " + token, exitUsage, "stands alone"},
		{"--role owner --token " + token, exitUsage, "stands alone"},
		{"--token " + token, 0, "Removed ann@net.test from dev@l.test."},
		{"--token " + token, 0, "ann@net.test is no member of dev@l.test any more."},
		{"--json --token " + token, 0, `"removed":0`},
	} {
		out, errs, status := inProcess(t, "", strings.Fields("member remove dev@l.test "+step.args)...)
		if status != step.status || !strings.Contains(strings.ReplaceAll(out, " ", "")+out+errs, step.want) {
			t.Errorf("%s: status %d, want %d with %q\n%s%s", step.args, status, step.status, step.want, out, errs)
		}
	}
	if out, _, _ := inProcess(t, "", "why", "ann@net.test", "--list", "dev@l.test"); !regexp.MustCompile(`left +member +by one-click`).MatchString(out) {
		t.Errorf("her history does not tell how she left:\n%s", out)
	}
	if out, errs, status := inProcess(t, "", "list", "rename", "dev@l.test", "hackers@l.test"); status != 0 {
		t.Fatalf("status %d\n%s%s", status, out, errs)
	}
	if out, errs, status := inProcess(t, "", "member", "remove", "hackers@l.test", "--token", token); status != 0 || !strings.Contains(out, "no member") {
		t.Errorf("a token from before the list was renamed: status %d\n%s%s", status, out, errs)
	}
	if out, _, _ := inProcess(t, "", "member", "ls", "dev@l.test"); !strings.Contains(out, "bob@net.test") || strings.Contains(out, "ann@net.test") {
		t.Errorf("left: %s", out)
	}
}
