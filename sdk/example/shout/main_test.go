package main

import (
	"testing"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
)

func TestShout(t *testing.T) {
	got := handlertest.Run(t, &shout{}, handlertest.Case{Message: "Subject: READ THIS\n\nhello\n"})
	if got.Verdict.Kind != sdk.KindHold || got.Verdict.Code != "shouting" {
		t.Errorf("verdict %+v", got.Verdict)
	}
	got = handlertest.Run(t, &shout{}, handlertest.Case{
		Message: "Subject: READ THIS\n\nhello\n",
		Config:  map[string]any{"most": 100},
	})
	if got.Verdict != sdk.Accept || got.Header.Get("X-Volume") != "100" {
		t.Errorf("verdict %+v, message\n%s", got.Verdict, got.Message)
	}
}

func TestWhatAModeratorApprovedMayShout(t *testing.T) {
	got := handlertest.Run(t, &shout{}, handlertest.Case{Message: "Subject: READ THIS\n\nhello\n", Approved: true})
	if got.Verdict != sdk.Accept {
		t.Errorf("verdict %+v", got.Verdict)
	}
}

func TestABadConfigurationIsRefused(t *testing.T) {
	for _, config := range []map[string]any{{"most": 0}, {"most": "all"}, {"least": 1}} {
		if _, err := handlertest.Try(t, &shout{}, handlertest.Case{Message: "Subject: hi\n\nhello\n", Config: config}); err == nil {
			t.Errorf("%v is taken", config)
		}
	}
}
