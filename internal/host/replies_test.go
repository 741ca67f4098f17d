package host

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk/proto"
)

// nonsenseCases are the ways in which a plugin spoils a good reply, and what the error
// must name.
var nonsenseCases = []struct {
	name  string
	spoil func(*proto.HandleReply)
	want  string
}{
	{"no results", func(r *proto.HandleReply) { r.Results = nil }, "stage n1: invalid reply: no result"},
	{"one result for two stages", func(r *proto.HandleReply) { r.Results = r.Results[:1] }, "stage n2: invalid reply: no result"},
	{"three results for two stages", func(r *proto.HandleReply) { r.Results = append(r.Results, r.Results[0]) }, "3 results for 2 stages"},
	{"a stage that was not asked", func(r *proto.HandleReply) { r.Results[1].Stage = "root" }, `stage n2: invalid reply: the result is that of stage "root"`},
	{"the stages in another order", func(r *proto.HandleReply) { r.Results[0], r.Results[1] = r.Results[1], r.Results[0] }, "stage n1"},
	{"a result that is nothing", func(r *proto.HandleReply) { r.Results[1] = &proto.StageResult{} }, "stage n2"},
	{"no verdict", func(r *proto.HandleReply) { r.Results[1].Verdict = nil }, "stage n2: invalid reply: 0 is not a kind of verdict"},
	{"an unknown verdict", func(r *proto.HandleReply) { r.Results[1].Verdict.Kind = 77 }, "77 is not a kind of verdict"},
	{"a stage after one that rejects", func(r *proto.HandleReply) { r.Results[0].Verdict.Kind = proto.Verdict_REJECT }, "stage n2: invalid reply: it ran although stage n1 said reject"},
	{"a reason with an escape", func(r *proto.HandleReply) { r.Results[1].Verdict.Reason = "\x1b[2J" }, "control character U+001B"},
	{"a reason without end", func(r *proto.HandleReply) { r.Results[1].Verdict.Reason = strings.Repeat("x", 5000) }, "the reason has 5000 bytes"},
	{"a header operation of no kind", op(0, "X-A", "b"), "stage n2"},
	{"a header operation of an unknown kind", op(9, "X-A", "b"), "stage n2"},
	{"a field name with a line break", op(1, "X-A\r\nBcc", "b"), "stage n2"},
	{"a field without a name", op(1, "", "b"), "stage n2"},
	{"a value with a NUL", op(1, "X-A", "a\x00b"), "stage n2"},
	{"a value of five megabytes", op(1, "X-A", strings.Repeat("x ", 5<<19)), "bytes of header fields"},
	{"more fields than a header holds", func(r *proto.HandleReply) {
		for range 1001 {
			r.Results[1].HeaderOps = append(r.Results[1].HeaderOps, &proto.HeaderOp{Kind: 1, Name: "X", Value: "y"})
		}
	}, "header operations"},
	{"a splice behind the body", splice(1<<40, 0, "x"), "stage n2: invalid reply: splice 1"},
	{"a splice before the body", splice(-1, 0, "x"), "splice 1"},
	{"a splice that deletes more than there is", splice(2, 1<<40, ""), "splice 1"},
	{"a splice that deletes backwards", splice(2, -1, ""), "splice 1"},
	{"a splice whose end overflows", splice(2, 1<<63-1, ""), "splice 1"},
	{"nine megabytes of footer", splice(0, 0, strings.Repeat("x", 9<<20)), "splice 1"},
	{"a reply of forty megabytes", splice(0, 0, strings.Repeat("x", 40<<20)), "larger than max"},
	{"a rule of no kind", rule(&proto.RecipientRule{}), "recipient rule 1: 0 is not a kind"},
	{"a rule of an unknown kind", rule(&proto.RecipientRule{Kind: 8}), "recipient rule 1: 8 is not a kind"},
	{"a rule with an unknown flag", rule(&proto.RecipientRule{Kind: 3, Flag: "all"}), "unknown flag"},
	{"a recipient that is no address", rule(&proto.RecipientRule{Kind: 2, Addresses: []string{"root"}}), "is no address"},
	{"a recipient with a line break", rule(&proto.RecipientRule{Kind: 2, Addresses: []string{"a@b\r\nRCPT TO:<c@d>"}}), "is no address"},
	{"a role that is empty", rule(&proto.RecipientRule{Kind: 1, Roles: []string{""}}), "is no role"},
	{"a thousand and one rules", func(r *proto.HandleReply) {
		for range 1001 {
			r.Results[1].Rules = append(r.Results[1].Rules, &proto.RecipientRule{Kind: 1})
		}
	}, "recipient rules"},
	{"a change of state of no kind", state(&proto.StateEdit{Key: "k"}), "change of state 1: 0 is not a kind of change"},
	{"a change of state without a key", state(&proto.StateEdit{Kind: 1}), "is no key"},
	{"a key with a line break", state(&proto.StateEdit{Kind: 2, Key: "a\nb"}), "is no key"},
	{"a value without end", state(&proto.StateEdit{Kind: 1, Key: "k", Value: make([]byte, 65<<10)}), "state k has 66560 bytes"},
	{"values that are long together", func(r *proto.HandleReply) {
		for range 17 {
			r.Results[1].StateEdits = append(r.Results[1].StateEdits, &proto.StateEdit{Kind: 1, Key: "k", Value: make([]byte, 64<<10)})
		}
	}, "changes of state of over"},
	{"a submission that is no mail", func(r *proto.HandleReply) { r.Results[1].Submissions = []*proto.Submission{{Message: []byte("hi")}} }, "submission 1: the message has no header block"},
	{"a submission to two lines", func(r *proto.HandleReply) {
		r.Results[1].Submissions = []*proto.Submission{{To: "a@b\r\nc@d", Message: []byte("Subject: x\n\n")}}
	}, "is no address"},
	{"a counter without a name", func(r *proto.HandleReply) { r.Results[1].Counts = map[string]int64{"": 1} }, "no name for a counter"},
	{"a hundred and one counters", func(r *proto.HandleReply) {
		r.Results[1].Counts = map[string]int64{}
		for i := range 101 {
			r.Results[1].Counts[fmt.Sprint(i)] = 1
		}
	}, "101 counters"},
	{"a note without a name", func(r *proto.HandleReply) { r.Results[1].Notes = map[string]string{"": "x"} }, "no name for a note"},
	{"a note that is a book", func(r *proto.HandleReply) { r.Results[1].Notes = map[string]string{"n": strings.Repeat("x", 1<<20)} }, "note n has"},
	{"too many notes", func(r *proto.HandleReply) {
		r.Results[1].Notes = map[string]string{}
		for i := range 300 {
			r.Results[1].Notes[strings.Repeat("n", i%60+1)+string(rune('a'+i%26))+string(rune('a'+i/26))] = "x"
		}
	}, "notes, at most"},
}

func op(kind int32, name, value string) func(*proto.HandleReply) {
	return func(r *proto.HandleReply) {
		r.Results[1].HeaderOps = []*proto.HeaderOp{{Kind: proto.HeaderOp_Kind(kind), Name: name, Value: value}}
	}
}

func splice(offset, del int64, insert string) func(*proto.HandleReply) {
	return func(r *proto.HandleReply) {
		r.Results[1].Splices = []*proto.Splice{{Offset: offset, Delete: del, Insert: []byte(insert)}}
	}
}

func rule(r *proto.RecipientRule) func(*proto.HandleReply) {
	return func(reply *proto.HandleReply) { reply.Results[1].Rules = []*proto.RecipientRule{r} }
}

func state(e *proto.StateEdit) func(*proto.HandleReply) {
	return func(r *proto.HandleReply) { r.Results[1].StateEdits = []*proto.StateEdit{e} }
}

func TestNonsenseIsAnErrorThatLeavesThePostAlone(t *testing.T) {
	h := start(t, config(t, []string{"n1", "n2"}, "nonsense"))
	for _, c := range nonsenseCases {
		t.Run(c.name, func(t *testing.T) {
			p := post(t, c.name)
			before := text(t, p)
			_, err := h.Run(t.Context(), p)
			if err == nil {
				t.Fatal("it was accepted")
			}
			var at *Error
			if !errors.As(err, &at) || at.Plugin != "nonsense" || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %q, want one of plugin nonsense with %q", cut(err.Error(), 300), c.want)
			}
			if got := text(t, p); got != before || len(p.Rules) != 0 || len(p.Notes) != 0 || len(p.State) != 0 || len(p.Submissions) != 0 {
				t.Errorf("the post changed: rules %v, notes %v, text %q", p.Rules, p.Notes, cut(got, 300))
			}
		})
	}
	p := post(t, "sense")
	if _, err := h.Run(t.Context(), p); err != nil {
		t.Fatalf("a good reply of the same plugin: %v", err)
	}
	if got := text(t, p); !strings.Contains(got, "X-N: 1") || !strings.Contains(got, "n1 hello") || p.Notes["n"] != "1" || len(p.Rules) != 1 {
		t.Errorf("a good reply was not applied: %q %v %v", got, p.Notes, p.Rules)
	}
}
