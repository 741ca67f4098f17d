package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/sdk/password"
)

// inStore makes a store with a list, dev@l.test, for the commands of a test.
func inStore(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	inConfig(t, "store.url = \"sqlite:"+filepath.Join(dir, "m.db")+"\"\nspool.url = \"dir:"+filepath.Join(dir, "spool")+"\"\n")
	if out, errs, status := inProcess(t, "", "list", "create", "dev@l.test"); status != 0 {
		t.Fatalf("status %d\n%s%s", status, out, errs)
	}
}

func TestBans(t *testing.T) {
	inStore(t)
	for _, step := range []struct {
		args   string
		status int
		want   string // in what it prints
	}{
		{"ban ls", 0, "Nobody is banned."},
		{"ban ls --json", 0, "[]"},
		{"ban add --list dev@l.test Eve@Net.test --reason watches", 0, "Banned from dev@l.test: eve@net.test."},
		{"ban add --domain L.test @spam.test ^x", 0, "Banned from every list of l.test: @spam.test, ^x."},
		{"ban add --site bob@net.test", 0, "Banned from every list: bob@net.test."},
		{"ban add --site bob@net.test", exitError, "already exists"},
		{"ban add --site ok@net.test ^(", exitUsage, "missing closing )"},
		{"ban add bob@net.test", exitUsage, "want one of --list"},
		{"ban add --site --domain l.test bob@net.test", exitUsage, "want one of --list"},
		{"ban add --list nolist@l.test bob@net.test", exitError, "no list nolist@l.test"},
		{"ban add --site a@net.test --reason a\x01b", exitUsage, "one line"},
		{"ban ls --list dev@l.test --json", 0, `"scope":"list"`},
		{"ban ls --list dev@l.test", 0, ": watches"},
		{"ban ls --site", 0, "bob@net.test "},
		{"ban rm --site eve@net.test", exitError, "not found"},
		{"ban remove --list dev@l.test EVE@net.test", 0, "Lifted from dev@l.test: eve@net.test."},
		{"ban ls --list dev@l.test", 0, "Nobody is banned."},
	} {
		out, errs, status := inProcess(t, "", strings.Fields(step.args)...)
		if status != step.status || !strings.Contains(out+errs, step.want) {
			t.Errorf("%s: status %d, want %d with %q\n%s%s", step.args, status, step.status, step.want, out, errs)
		}
	}
	if out, _, _ := inProcess(t, "", "ban", "ls"); strings.Count(out, "\n") != 3 || strings.Contains(out, "ok@net.test") {
		t.Errorf("in the end\n%s", out)
	}
}

func TestAPasswordIsKeptAsAHash(t *testing.T) {
	inStore(t)
	out, errs, status := inProcess(t, "", "list", "set", "dev@l.test", "moderator_password=sesame")
	if status != 0 || strings.Contains(out, "sesame") {
		t.Fatalf("status %d\n%s%s", status, out, errs)
	}
	hash := strings.TrimSpace(strings.TrimPrefix(out, "moderator_password ="))
	if !password.Check(hash, "sesame") {
		t.Errorf("kept as %q", hash)
	}
	again, _, _ := inProcess(t, "", "list", "set", "dev@l.test", "moderator_password="+hash)
	if again != out {
		t.Errorf("a hash is taken as %q", again)
	}
	if _, errs, status := inProcess(t, "", "list", "set", "dev@l.test", "moderator_password= blank"); status != exitUsage || !strings.Contains(errs, "blank") {
		t.Errorf("status %d\n%s", status, errs)
	}
	s := list.Defaults()
	if err := s.Set("moderator_password", "sesame"); err == nil {
		t.Error("the store takes a password that is no hash")
	}
	if out, _, status := inProcess(t, "", "list", "set", "dev@l.test", "moderator_password="); status != 0 || out != "moderator_password =\n" {
		t.Errorf("status %d, %q", status, out)
	}
}

func TestAMemberCanBeToldOfItsPosts(t *testing.T) {
	inStore(t)
	for _, step := range []struct{ args, want string }{
		{"member add dev@l.test ann@net.test --acknowledge-posts", "Added 1 member"},
		{"member ls dev@l.test --long", "ann@net.test  acknowledge-posts"},
		{"member ls dev@l.test --json", `"acknowledge_posts":true`},
		{"member set dev@l.test ann@net.test --acknowledge-posts=false", ""},
		{"member ls dev@l.test --json", `"acknowledge_posts":false`},
	} {
		out, errs, status := inProcess(t, "", strings.Fields(step.args)...)
		if status != 0 || !strings.Contains(out, step.want) {
			t.Errorf("%s: status %d, want %q\n%s%s", step.args, status, step.want, out, errs)
		}
	}
}
