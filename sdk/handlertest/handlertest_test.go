package handlertest_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
	"github.com/mlist/mlist/sdk/message"
)

// stamp is a handler that uses everything.
type stamp struct {
	config struct {
		Field string `json:"field"`
	}
}

func (s *stamp) Config() any {
	s.config.Field = "X-Stamp"
	return &s.config
}

func (s *stamp) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	if len(p.Senders) == 0 {
		return sdk.Reject("nobody", "no sender"), nil
	}
	if p.Notes["fail"] != "" {
		return sdk.Verdict{}, errors.New("told to fail")
	}
	p.Header.Append(s.config.Field, p.List.String("colour"))
	p.Notes["number"] = "one"
	p.Recipients.Select([]string{"member"}, nil, nil)
	return sdk.Accept, p.Body.Splice(message.Splice{Insert: []byte("> ")})
}

// toRoot adds a recipient without a domain.
type toRoot struct{}

func (toRoot) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	p.Recipients.Add("root")
	return sdk.Accept, nil
}

const mail = "Subject: hi\n\nbody\n"

func TestAHandlerIsTriedAsInMlist(t *testing.T) {
	c := handlertest.Case{Message: mail, Settings: map[string]string{"colour": "blue"}, Config: map[string]any{"field": "X-Mark"},
		Senders: []sdk.Sender{{Address: "a@b", Source: "from"}}, Notes: map[string]string{"old": "1"}}
	got := handlertest.Run(t, &stamp{}, c)
	if want := "Subject: hi\nX-Mark: blue\n\n> body\n"; string(got.Message) != want {
		t.Errorf("message %q, want %q", got.Message, want)
	}
	if got.Verdict != sdk.Accept || len(got.Rules) != 1 || got.Notes["number"] != "one" || got.Notes["old"] != "1" || string(got.Body) != "> body\n" {
		t.Errorf("result %+v", got)
	}
}

func TestOtherVerdictsAndErrorsShow(t *testing.T) {
	got := handlertest.Run(t, &stamp{}, handlertest.Case{Message: mail})
	if got.Verdict != sdk.Reject("nobody", "no sender") || string(got.Message) != mail {
		t.Errorf("result %+v", got)
	}
	_, err := handlertest.Try(t, &stamp{}, handlertest.Case{Message: mail, Senders: make([]sdk.Sender, 1), Notes: map[string]string{"fail": "1"}})
	if err == nil || !strings.Contains(err.Error(), "told to fail") {
		t.Errorf("the handler's error: %v", err)
	}
	_, err = handlertest.Try(t, &stamp{}, handlertest.Case{Message: mail, Config: map[string]any{"feild": "x"}})
	if err == nil || !strings.Contains(err.Error(), "[plugin.test] feild: unknown key") {
		t.Errorf("a wrong configuration: %v", err)
	}
	_, err = handlertest.Try(t, toRoot{}, handlertest.Case{Message: mail})
	if err == nil || !strings.Contains(err.Error(), `"root" is no address`) {
		t.Errorf("a recipient that mlist refuses: %v", err)
	}
}

func TestStagesOfOnePluginFollowEachOther(t *testing.T) {
	c := handlertest.Case{Message: strings.ReplaceAll(mail, "\n", "\r\n"), Senders: make([]sdk.Sender, 1)}
	got, err := handlertest.TryStages(t, c, sdk.Stage{Name: "one", Body: true, Handler: &stamp{}}, sdk.Stage{Name: "two", Body: true, Handler: &stamp{}})
	if err != nil {
		t.Fatal(err)
	}
	if want := "Subject: hi\r\nX-Stamp: \r\nX-Stamp: \r\n\r\n> > body\r\n"; string(got.Message) != want {
		t.Errorf("message %q, want %q", got.Message, want)
	}
}
