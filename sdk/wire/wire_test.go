package wire

import (
	"maps"
	"strings"
	"testing"
	"unicode/utf8"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/proto"
)

func post() *Post {
	body := "hello, world\r\n"
	return &Post{Header: message.ParseHeader([]byte("Subject: x\r\n")), Body: message.NewBody(strings.NewReader(body), 0, int64(len(body)))}
}

func TestARequestCanAlwaysBeSent(t *testing.T) {
	p := post()
	p.List = sdk.List{Address: "dev@example.org", Settings: map[string]string{"footer": "caf\xe9", "name": "dev"}}
	p.Envelope = sdk.Envelope{Sender: "a\xff@b", Recipient: "dev\xff@example.org", Peer: "\xfe", Flags: []string{"\xfd"}}
	p.Senders = []sdk.Sender{{Address: "\xff@b"}}
	p.Notes = map[string]string{"k\xff": "v"}
	req := Request(p, []string{"s"}, true)
	if _, err := protobuf.Marshal(req); err != nil {
		t.Fatal(err)
	}
	if req.GetList().GetSettings()["footer"] != "caf\uFFFD" || req.GetList().GetSettings()["name"] != "dev" || req.GetEnvelope().GetSender() != "a\uFFFD@b" {
		t.Errorf("request %v", req)
	}
	if p.List.Settings["footer"] != "caf\xe9" {
		t.Error("the post's own settings changed")
	}
}

func TestOfAStageThatStopsThePostOnlyTheNotesCount(t *testing.T) {
	p := post()
	reply := &proto.HandleReply{Results: []*proto.StageResult{{Stage: "s", Verdict: &proto.Verdict{Kind: proto.Verdict_HOLD, Code: "c", Reason: "r"},
		Notes: map[string]string{"n": "1"}, HeaderOps: []*proto.HeaderOp{{Kind: proto.HeaderOp_APPEND, Name: "X", Value: "y"}},
		Splices: []*proto.Splice{{Insert: []byte("x")}}, Rules: []*proto.RecipientRule{{Kind: proto.RecipientRule_SELECT}}, DurationMicros: -5}}}
	results, err := Apply(p, nil, []string{"s", "later"}, reply)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 1 || results[0].Verdict != sdk.Hold("c", "r") || results[0].Took != 0 {
		t.Errorf("results %v", results)
	}
	if len(p.Header.Ops()) != 0 || len(p.Body.Splices()) != 0 || len(p.Rules) != 0 || p.Notes["n"] != "1" {
		t.Errorf("post %v %v %v %v", p.Header.Ops(), p.Body.Splices(), p.Rules, p.Notes)
	}
}

func TestSplicesOfAPostAddUp(t *testing.T) {
	p := post()
	reply := &proto.HandleReply{Results: []*proto.StageResult{{Stage: "s", Verdict: &proto.Verdict{Kind: proto.Verdict_ACCEPT},
		Splices: []*proto.Splice{{Insert: make([]byte, maxInsert/2)}}}}}
	for i, ok := range []bool{true, true, false} {
		if _, err := Apply(p, Needs{"s": {"body"}}, []string{"s"}, reply); (err == nil) != ok {
			t.Errorf("reply %d: %v", i+1, err)
		}
	}
}

func TestOnlyWhatCanBeKeptIsKept(t *testing.T) {
	keep := func(ops []*proto.HeaderOp, uses ...string) *proto.HandleReply {
		return &proto.HandleReply{Results: []*proto.StageResult{{Stage: "s", Verdict: &proto.Verdict{Kind: proto.Verdict_ACCEPT}, HeaderOps: ops, Keep: uses}}}
	}
	bare := post()
	bare.Body = nil
	for _, c := range []struct {
		name  string
		post  *Post
		reply *proto.HandleReply
		want  int
	}{
		{"for a use that is none", post(), keep(nil, "archive", "attic"), 0},
		{"without a body", bare, keep(nil, "archive"), 0},
		{"with a bad operation", post(), keep([]*proto.HeaderOp{{Kind: proto.HeaderOp_APPEND, Name: "X", Value: "y"}, {Kind: proto.HeaderOp_APPEND, Name: "a b"}}, "archive"), 0},
		{"as it should be", post(), keep(nil, "archive", "digest"), 1},
	} {
		_, err := Apply(c.post, Needs{"s": {"keep"}}, []string{"s"}, c.reply)
		if (err == nil) != (c.want > 0) || len(c.post.Kept) != c.want || len(c.post.Header.Ops()) > 0 {
			t.Errorf("%s: %v, kept %+v, operations %v", c.name, err, c.post.Kept, c.post.Header.Ops())
		}
	}
}

func TestWhatIsNotDeclaredIsRefused(t *testing.T) {
	d := &proto.DescribeReply{Stages: []*proto.Stage{{Name: "s"}, {Name: "b", Needs: []string{"body"}}}}
	for _, c := range []struct {
		name   string
		result *proto.StageResult
		need   string // of the plugin; "body" is stage b's own
		want   string
	}{
		{"state", &proto.StageResult{StateEdits: []*proto.StateEdit{{Kind: 1, Key: "k"}}}, "state", `stage s: it changes state, and has not declared that it needs "state"`},
		{"a submission", &proto.StageResult{Submissions: []*proto.Submission{{Message: []byte("Subject: x\n\n")}}}, "submit", `stage s: it submits a message, and has not declared that it needs "submit"`},
		{"a post", &proto.StageResult{Submissions: []*proto.Submission{{Post: true, Message: []byte("Subject: x\n\n")}}}, "submit", `stage s: it submits a message, and has not declared that it needs "submit"`},
		{"a post to keep", &proto.StageResult{Keep: []string{"archive"}}, "keep", `stage s: it has the post kept, and has not declared that it needs "keep"`},
		{"a body", &proto.StageResult{Splices: []*proto.Splice{{Insert: []byte("x")}}}, "body", `stage s: it changes the body, and has not declared that it needs "body"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.result.Verdict = &proto.Verdict{Kind: proto.Verdict_ACCEPT}
			for _, declared := range []bool{false, true} {
				stage := "s"
				d.Needs = nil
				if declared {
					d.Needs = []string{c.need}
					if c.need == "body" {
						stage = "b"
					}
				}
				c.result.Stage = stage
				p := post()
				_, err := Apply(p, NeedsOf(d), []string{stage}, &proto.HandleReply{Results: []*proto.StageResult{c.result}})
				if declared && err != nil || !declared && (err == nil || err.Error() != c.want) {
					t.Errorf("declared %t: %v", declared, err)
				}
				if left := len(p.State) + len(p.Submissions) + len(p.Body.Splices()) + len(p.Kept); (left > 0) != declared {
					t.Errorf("declared %t: %d edits were made", declared, left)
				}
			}
		})
	}
}

func TestAtSMTPTimeOnlyNotesAreKept(t *testing.T) {
	p := post()
	p.AtSMTP = true
	r := &proto.StageResult{Stage: "s", Verdict: &proto.Verdict{Kind: proto.Verdict_ACCEPT}, Notes: map[string]string{"n": "1"}, Counts: map[string]int64{"c": 1},
		HeaderOps: []*proto.HeaderOp{{Kind: proto.HeaderOp_APPEND, Name: "X", Value: "y"}}, Splices: []*proto.Splice{{Insert: []byte("x")}},
		Rules: []*proto.RecipientRule{{Kind: proto.RecipientRule_SELECT}}, StateEdits: []*proto.StateEdit{{Kind: 1, Key: "k"}},
		Submissions: []*proto.Submission{{Message: []byte("Subject: x\n\n")}}}
	if _, err := Apply(p, Needs{"s": {"body", "state", "submit"}}, []string{"s"}, &proto.HandleReply{Results: []*proto.StageResult{r}}); err != nil {
		t.Fatal(err)
	}
	if p.Notes["n"] != "1" || len(p.Header.Ops())+len(p.Body.Splices())+len(p.Rules)+len(p.State)+len(p.Submissions)+len(p.Counts) > 0 {
		t.Errorf("post %+v", p)
	}
}

// FuzzApply feeds replies of any bytes to a post: nothing may panic, an error may change
// nothing, and what is applied must be within the limits.
func FuzzApply(f *testing.F) {
	for _, r := range []*proto.HandleReply{
		{Results: []*proto.StageResult{{Stage: "s", Verdict: &proto.Verdict{Kind: 1}, HeaderOps: []*proto.HeaderOp{{Kind: 1, Name: "X", Value: "y"}, {Kind: 4, Name: "Subject"}},
			Splices: []*proto.Splice{{Offset: 3, Delete: 2, Insert: []byte("zz")}}}, {Stage: "t", Verdict: &proto.Verdict{Kind: 2, Code: "c"}}}},
		{Results: []*proto.StageResult{{Stage: "s", Verdict: &proto.Verdict{Kind: 1}, Rules: []*proto.RecipientRule{{Kind: 2, Addresses: []string{"a@b"}}},
			Notes: map[string]string{"n": "v"}}, {Stage: "t", Verdict: &proto.Verdict{Kind: 1}, Splices: []*proto.Splice{{Offset: -1, Delete: 1 << 62}}}}},
		{Results: []*proto.StageResult{{Stage: "s", Verdict: &proto.Verdict{Kind: 1}, Keep: []string{"archive"}}, {Stage: "t", Verdict: &proto.Verdict{Kind: 1},
			Splices: []*proto.Splice{{Offset: 3, Insert: []byte("x")}}, Keep: []string{"digest", "archive"}}}},
	} {
		data, err := protobuf.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var reply proto.HandleReply
		if protobuf.Unmarshal(data, &reply) != nil {
			return
		}
		p := post()
		before := string(p.Header.Bytes())
		results, err := Apply(p, Needs{"s": {"body", "state", "keep"}, "t": {"body", "submit", "keep"}}, []string{"s", "t"}, &reply)
		if err != nil {
			if string(p.Header.Bytes()) != before || len(p.Body.Splices()) > 0 || len(p.Rules) > 0 || len(p.Notes) > 0 || len(p.Kept) > 0 {
				t.Fatalf("%v: and the post changed", err)
			}
			return
		}
		if len(results) == 0 || len(p.Rules) > maxRules || p.Body.Size() < 0 || p.Body.Size() > maxInsert+64 {
			t.Fatalf("%d results, %d rules, body of %d", len(results), len(p.Rules), p.Body.Size())
		}
		for _, k := range p.Kept {
			if _, _, err := k.Message(p.Body); err != nil || len(k.For) == 0 {
				t.Fatalf("kept for %v: %v", k.For, err)
			}
		}
		for _, s := range p.Rules {
			for _, a := range s.Addresses {
				if strings.ContainsAny(a, "\r\n\x00") || !utf8.ValidString(a) {
					t.Fatalf("recipient %q", a)
				}
			}
		}
	})
}

func TestSettingsHaveANameOfTheirOwn(t *testing.T) {
	names := map[string]int{}
	for i, all := range []map[string]string{{}, {"a": ""}, {"a": "b"}, {"ab": ""}, {"a": "b", "c": "d"}, {"a": "bc", "": "d"}, {"a": "d", "c": "b"}, {"a": "caf\uFFFD"}} {
		s := NewSettings(all)
		if other, ok := names[s.Revision()]; ok {
			t.Errorf("%d and %d are both %s", i, other, s.Revision())
		}
		names[s.Revision()] = i
	}
	if a, b := NewSettings(map[string]string{"a": "1", "b": "2"}), NewSettings(map[string]string{"b": "2", "a": "1"}); a.Revision() != b.Revision() {
		t.Error("the same settings have two names")
	}
}

func TestSharedSettingsComeOneWayOrTheOther(t *testing.T) {
	p := post()
	p.List = sdk.List{Address: "dev@example.org", Settings: map[string]string{"own": "caf\xe9", "both": "own"}}
	p.Shared = NewSettings(map[string]string{"shared": "caf\xe8", "both": "shared"})
	all := map[string]string{"own": "caf\uFFFD", "shared": "caf\uFFFD", "both": "own"}
	inline := Request(p, nil, false).GetList()
	if inline.GetRevision() != "" || len(inline.GetShared()) > 0 || !maps.Equal(inline.GetSettings(), all) {
		t.Errorf("inline: %v", inline)
	}
	for _, told := range []bool{false, true} {
		req := RequestByRevision(p, nil, false, told)
		if _, err := protobuf.Marshal(req); err != nil {
			t.Fatal(err)
		}
		got := maps.Clone(req.GetList().GetShared())
		if (got != nil) != told || req.GetList().GetRevision() != p.Shared.Revision() {
			t.Errorf("by revision: %v", req.GetList())
		}
		if told {
			maps.Copy(got, req.GetList().GetSettings())
			if !maps.Equal(got, all) {
				t.Errorf("by revision: %v", req.GetList())
			}
		}
	}
	p.Shared = NewSettings(nil)
	if got := RequestByRevision(p, nil, false, true).GetList(); got.GetRevision() != "" {
		t.Errorf("of no settings: %v", got)
	}
}
