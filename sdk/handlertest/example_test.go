package handlertest_test

import (
	"context"
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
)

// louder makes capitals of the subject.
type louder struct{}

func (louder) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	p.Header.Replace("Subject", strings.ToUpper(p.Header.Text("Subject")))
	return sdk.Accept, nil
}

func ExampleRun() {
	var t *testing.T // in a test, its own

	test := func() {
		got := handlertest.Run(t, louder{}, handlertest.Case{Message: "Subject: hello\n\nbody\n"})
		if got.Header.Get("Subject") != "HELLO" {
			t.Errorf("message\n%s", got.Message)
		}
	}
	_ = test
}
