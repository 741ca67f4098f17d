package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

func init() {
	zoo["envelope"] = func() {
		sdk.Serve("envelope", "1.0",
			sdk.Stage{Name: "e1", AtSMTP: true, AtRCPT: true, Body: true, Handler: handlerFunc(judgeEnvelope)},
			sdk.Stage{Name: "e2", AtSMTP: true, Handler: handlerFunc(judgeEnvelope)},
			sdk.Stage{Name: "e3", AtSMTP: true, AtRCPT: true, Handler: handlerFunc(judgeEnvelope)})
	}
	zoo["judge"] = func() {
		sdk.Serve("judge", "1.0",
			sdk.Stage{Name: "j1", AtSMTP: true, State: true, Submit: true, Handler: handlerFunc(judge)},
			sdk.Stage{Name: "later", Handler: handlerFunc(wild)},
			sdk.Stage{Name: "j2", AtSMTP: true, Body: true, Handler: handlerFunc(judgeBody)},
			sdk.Stage{Name: "own", OwnPosts: true, Handler: handlerFunc(accept)})
	}
}

// judge rejects what its subject says, and asks for all that there is.
func judge(ctx context.Context, p *sdk.Post) (sdk.Verdict, error) {
	n, err := p.State().Int(ctx, "posts")
	if err != nil {
		return sdk.Verdict{}, err
	}
	p.Notes["j1"] = fmt.Sprintf("at SMTP %t, by %v, saw %d", p.AtSMTP, p.SubmittedBy, n)
	p.Header.Append("X-Judge", "was here")
	p.Recipients.Add("ann@example.org")
	p.Count("judged", 1)
	switch p.Header.Get("Subject") {
	case "bad":
		return sdk.Reject("bad", "This is bad. "+p.Notes["j1"]), nil
	case "wait":
		<-ctx.Done()
		return sdk.Verdict{}, ctx.Err()
	case "exit":
		os.Exit(7)
	}
	return sdk.Accept, errors.Join(p.State().Add("posts", 1), p.Submit(sdk.Submission{Message: []byte("Subject: x\n\n")}))
}

func judgeBody(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	text := make([]byte, 5)
	if _, err := p.Body.ReadAt(text, 0); err != nil {
		return sdk.Verdict{}, err
	}
	return sdk.Discard("body", string(text)+"; "+p.Notes["j1"]), p.Body.Splice(message.Splice{Insert: []byte("x")})
}

func consultant(t *testing.T, limit time.Duration) (*Host, *crowd) {
	c := &crowd{initial: "41"}
	cfg := askerConfig(t, c, []string{"later", "j1", "a", "j2"}, "judge", "good")
	cfg.ConsultTimeout = limit
	return start(t, cfg), c
}

func TestAConsultationJudgesAndLeavesThePostAlone(t *testing.T) {
	h, _ := consultant(t, patience)
	for _, c := range []struct {
		subject string
		body    bool
		want    sdk.Verdict
		stages  []string
	}{
		{"bad", true, sdk.Reject("bad", "This is bad. at SMTP true, by [], saw 41"), []string{"j1"}},
		{"hello", true, sdk.Discard("body", "hello; at SMTP true, by [], saw 41"), []string{"j1", "j2"}},
		{"hello", false, sdk.Accept, []string{"j1"}},
	} {
		p := post(t, c.subject)
		p.Notes = map[string]string{"before": "it"}
		before, calls := text(t, p), h.Totals().Calls
		if !c.body {
			p.Body = nil
		}
		r, err := h.Consult(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		var stages []string
		for _, s := range r.Stages {
			stages = append(stages, s.Stage)
		}
		if r.Verdict != c.want || !slices.Equal(stages, c.stages) {
			t.Errorf("%s: verdict %+v of stages %v, want %+v of %v", c.subject, r.Verdict, stages, c.want, c.stages)
		}
		if p.Body != nil && text(t, p) != before || len(p.Header.Ops())+len(p.Rules)+len(p.State)+len(p.Submissions) > 0 || len(p.Notes) != 1 {
			t.Errorf("%s: the post changed: %+v", c.subject, p)
		}
		if n := h.Totals().Calls - calls; n != int64(len(c.stages)) {
			t.Errorf("%s: %d calls", c.subject, n) // j1 and j2 are not neighbours: a is between
		}
	}
	for _, info := range h.Plugins() {
		if len(info.Counts) > 0 {
			t.Errorf("a consultation counted %v", info.Counts)
		}
	}
}

func TestAConsultationIsShort(t *testing.T) {
	h, _ := consultant(t, 700*time.Millisecond)
	_, err := h.Consult(t.Context(), post(t, "wait"))
	var at *Error
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &at) || !strings.Contains(err.Error(), "no answer within 700ms") {
		t.Errorf("the error is %v", err)
	}
	if _, err := h.Consult(t.Context(), post(t, "exit")); !errors.As(err, &at) {
		t.Errorf("of one that kills the plugin: %v", err)
	}
}

func TestAStageDoesNotSeeThePostsThatItSubmitted(t *testing.T) {
	h := start(t, askerConfig(t, &crowd{}, []string{"j1", "own", "later", "a"}, "judge", "good"))
	for _, c := range []struct {
		by, want []string
	}{
		{nil, []string{"j1", "own", "later", "a"}},
		{[]string{"j1"}, []string{"own", "later", "a"}},
		{[]string{"own"}, []string{"j1", "own", "later", "a"}},
		{[]string{"later", "j1"}, []string{"own", "a"}},
		{[]string{"a", "gone"}, []string{"j1", "own", "later"}},
	} {
		p := post(t, "hello")
		p.SubmittedBy = c.by
		r, err := h.Run(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		var stages []string
		for _, s := range r.Stages {
			stages = append(stages, s.Stage)
		}
		if r.Verdict != sdk.Accept || !slices.Equal(stages, c.want) {
			t.Errorf("submitted by %v: stages %v, want %v", c.by, stages, c.want)
		}
		if want := fmt.Sprintf("at SMTP false, by %v, saw 0", c.by); slices.Contains(c.want, "j1") && p.Notes["j1"] != want {
			t.Errorf("the handler saw %q, want %q", p.Notes["j1"], want)
		}
	}
}

// judgeEnvelope rejects a sender who names the stage, if there is no message.
func judgeEnvelope(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	if !p.AtRCPT || !p.AtSMTP || p.Body != nil || len(p.Header.Bytes()) > 0 {
		return sdk.Accept, nil
	}
	p.Notes["asked"] += "x"
	if p.Envelope.Sender == p.Notes["asked"]+"@x.test" {
		return sdk.Reject("envelope", "Not from there."), nil
	}
	return sdk.Accept, nil
}

func TestAtRCPTTheFirstStagesAreAskedThatCanTell(t *testing.T) {
	for _, tt := range []struct {
		stages []string
		sender string
		want   string
	}{
		{[]string{"e1", "e2"}, "x@x.test", "e1"},
		{[]string{"e1", "e3"}, "xx@x.test", "e3"},
		{[]string{"e1", "e2", "e3"}, "xx@x.test", ""}, // e2 might hold the post
		{[]string{"e2", "e1"}, "x@x.test", ""},
		{[]string{"a", "e1"}, "x@x.test", ""}, // a handler that knows of nothing
		{[]string{"e1", "a"}, "x@x.test", "e1"},
		{[]string{"e1"}, "y@x.test", ""},
	} {
		t.Run(strings.Join(tt.stages, "-")+" "+tt.sender, func(t *testing.T) {
			cfg := askerConfig(t, &crowd{}, tt.stages, "envelope", "good")
			cfg.ConsultTimeout = patience
			h := start(t, cfg)
			p := &Post{List: sdk.List{Address: "dev@l.test", Settings: map[string]string{}}, Envelope: sdk.Envelope{Sender: tt.sender}, Header: message.ParseHeader(nil), Notes: map[string]string{}}
			res, err := h.ConsultEnvelope(t.Context(), p)
			if err != nil || res.Stage != tt.want || (res.Verdict.Kind == sdk.KindReject) != (tt.want != "") {
				t.Errorf("%+v, %v; want a rejection by %q", res, err, tt.want)
			}
			if p.AtRCPT || p.AtSMTP || len(p.Notes) > 0 {
				t.Errorf("the post has become %+v", p)
			}
		})
	}
}
