package main

import (
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/spool"
)

func TestInvitations(t *testing.T) {
	inStore(t)
	a := &app{}
	check := func(args, in string, status int, want ...string) {
		t.Helper()
		out, errs, got := inProcess(t, in, strings.Fields(args)...)
		for _, w := range want {
			if got != status || !strings.Contains(out+errs, w) {
				t.Errorf("%s: status %d, want %d with %q\n%s%s", args, got, status, w, out, errs)
			}
		}
	}
	check("member invitations dev@l.test", "", 0, "Nobody is invited.")
	check("member invitations dev@l.test --json", "", 0, "[]")
	check("member invite dev@l.test", "", exitUsage, "no members")
	check("member invite dev@l.test ann@net.test --mode fast", "", exitUsage, "want one of regular")
	check("member invite dev@l.test ann@net.test --by boss", "", exitUsage, "--by")
	if err := a.withConfigSpool(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("member add dev@l.test old@net.test", "", 0, "Added 1 member")
	check("ban add --list dev@l.test eve@net.test", "", 0, "Banned")
	file := "email,name,mode\nann@net.test,Ann A.,mime_digests\nold@net.test,,\neve@net.test,,\ndev-owner@l.test,,\nbad line,,\nANN@net.test,,\n"
	check("member invite dev@l.test - --dry-run", file, exitError, "4 are read; 1 is not. Nobody is invited.", "1 line was not understood")
	check("member invitations dev@l.test", "", 0, "Nobody is invited.")
	check("member invite dev@l.test - --by boss@l.test", file, exitError,
		"invited        ann@net.test", "member         old@net.test", "banned         eve@net.test", "list           dev-owner@l.test", "1 is invited, as soon as the pipeline runs; 4 are not.")
	check("member invite dev@l.test ann@net.test --json", "", 0, `"outcome":"invited"`) // it was not sent yet
	check("member invitations dev@l.test", "", 0, "waiting", "not sent yet", "ann@net.test Ann A.  by boss@l.test")
	check("member invitations dev@l.test --waiting --json", "", 0, `"state":"waiting"`, `"by":"boss@l.test"`)
	check("member uninvite dev@l.test ann@net.test bob@net.test", "", exitError, "Withdrawn: ann@net.test.", "no invitation waits for bob@net.test")
	check("member invitations dev@l.test --waiting", "", 0, "Nobody is invited.")
	check("member invitations dev@l.test --json", "", 0, `"state":"withdrawn"`)
	check("list close dev@l.test", "", 0, "closed")
	check("member invite dev@l.test ann@net.test", "", exitError, "nobody can join it")
	err := a.withSpool(t.Context(), func(sp spool.Admin) error {
		n := 0
		for e, err := range sp.Entries(t.Context(), spool.Incoming) {
			if n++; err != nil || e.Role != "invite" || e.Detail == "" || e.List != "dev@l.test" {
				t.Errorf("entry %+v, %v", e, err)
			}
		}
		if n != 1 { // the second command put the same once more
			t.Errorf("%d invitations are put, want 1", n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
