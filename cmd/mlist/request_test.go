package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
)

func TestRequests(t *testing.T) {
	inStore(t)
	a := &app{}
	ask := func(who string, rules store.RequestRules) {
		t.Helper()
		rules.ConfirmLife, rules.ModerateLife = time.Hour, time.Hour
		err := a.withStore(t.Context(), false, func(st store.Store) error {
			l, err := st.List(t.Context(), address.Address{Local: "dev", Domain: "l.test"})
			if err != nil {
				return err
			}
			addr, err := address.Parse(who)
			if err != nil {
				return err
			}
			_, err = st.AskFor(t.Context(), store.Step{ListID: l.ID, At: time.Now()}, store.Request{Want: store.WantJoin, Address: addr, DisplayName: "A\u202eB", Mode: list.Regular}, rules)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func(args string, status int, want string) {
		t.Helper()
		out, errs, got := inProcess(t, "", strings.Fields(args)...)
		if got != status || !strings.Contains(out+errs, want) {
			t.Errorf("%s: status %d, want %d with %q\n%s%s", args, got, status, want, out, errs)
		}
		if strings.Contains(out, "\u202e") && !strings.Contains(args, "--json") {
			t.Errorf("%s prints %q", args, out)
		}
	}
	check("request ls dev@l.test", 0, "No requests wait.")
	check("request ls dev@l.test --json", 0, "[]")
	ask("ann@net.test", store.RequestRules{Moderate: true})
	ask("bob@net.test", store.RequestRules{Confirm: true})
	ask("cy@net.test", store.RequestRules{Moderate: true})
	check("request ls dev@l.test", 0, "waits for moderator  ann@net.test")
	check("request ls dev@l.test --json", 0, `"waits_for":"address"`)
	check("request accept dev@l.test", exitUsage, "or --all")
	check("request accept dev@l.test --all ann@net.test", exitUsage, "or --all")
	check("request accept nolist@l.test --all", exitError, "no list nolist@l.test")
	check("request accept dev@l.test ann@net.test eve@net.test", exitError, "eve@net.test has asked for nothing")
	if err := a.withConfigSpool(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("request accept dev@l.test Ann@net.test", 0, "Accepted, as soon as the pipeline runs: ann@net.test.")
	check("request reject dev@l.test --all --reason no", 0, "Rejected, as soon as the pipeline runs: ann@net.test, cy@net.test.")
	check("request discard dev@l.test bob@net.test --json", 0, "\"discarded\": [\n    \"bob@net.test\"\n  ]")
	err := a.withSpool(t.Context(), func(sp spool.Admin) error {
		n := 0
		for e, err := range sp.Entries(t.Context(), spool.Incoming) {
			if n++; err != nil || e.Role != "decision" || e.Detail == "" || e.List != "dev@l.test" {
				t.Errorf("entry %+v, %v", e, err)
			}
		}
		if n != 4 {
			t.Errorf("%d decisions are put, want 4", n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// withConfigSpool makes the spool, as the daemons do when they start.
func (a *app) withConfigSpool(ctx context.Context) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	sp, err := openSpool(ctx, c, nil, true)
	if err != nil {
		return err
	}
	return sp.Close()
}
