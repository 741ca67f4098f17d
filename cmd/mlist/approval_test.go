package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk/password"
)

func TestApprovals(t *testing.T) {
	inStore(t)
	out, errs, status := inProcess(t, "", "approval", "new", "dev@l.test", "--note", "for Ann", "--json")
	var made approvalJSON
	if err := json.Unmarshal([]byte(out), &made); status != 0 || err != nil || password.HashOnce(made.Password) == "" || made.Used != nil {
		t.Fatalf("status %d, %v\n%s%s", status, err, out, errs)
	}
	for _, step := range []struct {
		args   string
		status int
		want   string // in what it prints
	}{
		{"new dev@l.test --life 2h", 0, "Approved: "},
		{"new dev@l.test --life 1s", exitUsage, "a minute to a year"},
		{"new dev@l.test --life 2y", exitUsage, "duration such as"},
		{"new dev@l.test --note a\x01b", exitUsage, "one line"},
		{"new nolist@l.test", exitError, "no list nolist@l.test"},
		{"ls dev@l.test", 0, made.ID + "  until "},
		{"ls dev@l.test --json", 0, `"note":"for Ann"`},
		{"revoke dev@l.test " + made.ID + " nonsense", exitError, `no unused one-time password "nonsense"`},
		{"ls dev@l.test", 0, made.ID},
		{"revoke dev@l.test " + made.ID, 0, "Revoked: " + made.ID},
		{"revoke dev@l.test " + made.ID, exitError, "no unused one-time password"},
	} {
		out, errs, status := inProcess(t, "", append([]string{"approval"}, strings.Fields(step.args)...)...)
		if status != step.status || !strings.Contains(out+errs, step.want) {
			t.Errorf("%s: status %d, want %d with %q\n%s%s", step.args, status, step.status, step.want, out, errs)
		}
		if strings.Contains(out, made.Password) {
			t.Errorf("%s tells the password:\n%s", step.args, out)
		}
	}
	if out, _, _ := inProcess(t, "", "approval", "ls", "dev@l.test"); strings.Count(out, "\n") != 1 {
		t.Errorf("in the end\n%s", out)
	}
}
