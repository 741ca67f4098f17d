package handlertest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
	"github.com/mlist/mlist/sdk/message"
)

type handlerFunc func(ctx context.Context, p *sdk.Post) (sdk.Verdict, error)

func (f handlerFunc) Handle(ctx context.Context, p *sdk.Post) (sdk.Verdict, error) { return f(ctx, p) }

// greeter welcomes an author's first post, and counts.
func greeter(ctx context.Context, p *sdk.Post) (sdk.Verdict, error) {
	key := "seen " + p.Author()
	posts, err := p.State().Int(ctx, key)
	if err != nil {
		return sdk.Verdict{}, err
	}
	if posts >= 2 {
		return sdk.Discard("enough", "two posts are enough"), nil
	}
	if posts == 0 {
		if err := p.Submit(sdk.Submission{To: p.Author(), Message: []byte("Subject: welcome\n\nhello\n")}); err != nil {
			return sdk.Verdict{}, err
		}
	}
	p.Count("posts", 1)
	p.Log().Info("greeted")
	return sdk.Accept, errors.Join(p.State().Add(key, 1), p.State().Set("last", p.Author()), p.State().Delete("old"))
}

const fromAnn = "From: ann@n.test\n\nbody\n"

func TestStateSubmissionsAndCountsShow(t *testing.T) {
	for _, c := range []struct {
		name        string
		state, want map[string]string
		submissions int
		kind        sdk.Kind
	}{
		{"the first post", map[string]string{"old": "x"}, map[string]string{"seen ann@n.test": "1", "last": "ann@n.test"}, 1, sdk.KindAccept},
		{"the second", map[string]string{"seen ann@n.test": "1"}, map[string]string{"seen ann@n.test": "2", "last": "ann@n.test"}, 0, sdk.KindAccept},
		{"the third", map[string]string{"seen ann@n.test": "2"}, map[string]string{"seen ann@n.test": "2"}, 0, sdk.KindDiscard},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := handlertest.Run(t, handlerFunc(greeter), handlertest.Case{Message: fromAnn, State: c.state})
			if got.Verdict.Kind != c.kind || !maps.Equal(got.State, c.want) || len(got.Submissions) != c.submissions {
				t.Errorf("verdict %v, state %v, submissions %v", got.Verdict, got.State, got.Submissions)
			}
			if c.kind == sdk.KindAccept && got.Counts["posts"] != 1 {
				t.Errorf("counts %v", got.Counts)
			}
		})
	}
}

func TestAStageSeesItsOwnChanges(t *testing.T) {
	seen := ""
	look := func(ctx context.Context, p *sdk.Post) (sdk.Verdict, error) {
		for _, key := range []string{"n", "word", "gone", "none"} {
			value, ok, err := p.State().Get(ctx, key)
			if err != nil {
				return sdk.Verdict{}, err
			}
			seen += fmt.Sprintf("%s=%s,%t ", key, value, ok)
		}
		s := p.State()
		return sdk.Accept, errors.Join(s.Add("n", 2), s.Add("n", 3), s.Set("word", ""), s.Add("word", 1), s.Delete("gone"))
	}
	stage := func(name string) sdk.Stage { return sdk.Stage{Name: name, State: true, Handler: handlerFunc(look)} }
	if _, err := handlertest.TryStages(t, handlertest.Case{Message: fromAnn, State: map[string]string{"n": "1", "gone": "x"}}, stage("one"), stage("two")); err != nil {
		t.Fatal(err)
	}
	if want := "n=1,true word=,false gone=x,true none=,false n=6,true word=1,true gone=,false none=,false "; seen != want {
		t.Errorf("seen\n%s, want\n%s", seen, want)
	}
}

func TestMembersAreFiltered(t *testing.T) {
	members := []sdk.Member{{Address: "a@n.test"}, {Address: "b@n.test", Membership: sdk.Membership{Role: "owner"}},
		{Address: "c@n.test", DisplayName: "Cy", Membership: sdk.Membership{Status: "by_bounces"}}}
	for _, c := range []struct {
		filter sdk.MemberFilter
		want   string
	}{
		{sdk.MemberFilter{}, "a b c "},
		{sdk.MemberFilter{Roles: []string{"member"}, Statuses: []string{"enabled"}}, "a "},
		{sdk.MemberFilter{Roles: []string{"owner", "moderator"}}, "b "},
		{sdk.MemberFilter{Modes: []string{"mime_digests"}}, ""},
	} {
		got := ""
		read := func(ctx context.Context, p *sdk.Post) (sdk.Verdict, error) {
			for m, err := range p.Members(ctx, c.filter) {
				if err != nil {
					return sdk.Verdict{}, err
				}
				got += strings.TrimSuffix(m.Address, "@n.test") + " "
				for _, err := range p.Members(ctx, c.filter) {
					if err == nil || !strings.Contains(err.Error(), "being read already") {
						return sdk.Verdict{}, fmt.Errorf("within the loop: %w", err)
					}
				}
			}
			return sdk.Accept, nil
		}
		handlertest.Run(t, handlerFunc(read), handlertest.Case{Message: fromAnn, Members: members})
		if got != c.want {
			t.Errorf("%+v: %q, want %q", c.filter, got, c.want)
		}
	}
}

func TestWhatIsAskedWronglyIsRefused(t *testing.T) {
	big := strings.Repeat("x", sdk.MaxSubmission)
	for _, c := range []struct {
		name string
		ask  func(ctx context.Context, p *sdk.Post) error
		want string
	}{
		{"an empty key", func(_ context.Context, p *sdk.Post) error { return p.State().Set("", "x") }, "is no key"},
		{"a long key", func(ctx context.Context, p *sdk.Post) error {
			_, err := p.State().Int(ctx, strings.Repeat("k", 129))
			return err
		}, "is no key"},
		{"a key with a line break", func(_ context.Context, p *sdk.Post) error { return p.State().Delete("a\nb") }, "is no key"},
		{"a long value", func(_ context.Context, p *sdk.Post) error { return p.State().Set("k", big) }, "at most 65536"},
		{"a use that is none", func(_ context.Context, p *sdk.Post) error { return p.Keep("attic") }, `"attic" is nothing that mlist keeps`},
		{"a submission to nowhere", func(_ context.Context, p *sdk.Post) error {
			return p.Submit(sdk.Submission{To: "root", Message: []byte("Subject: x\n\n")})
		}, `"root" is no address`},
		{"a submission that is no message", func(_ context.Context, p *sdk.Post) error {
			return p.Submit(sdk.Submission{Message: []byte("hello there\n")})
		}, "no header block"},
		{"a submission that is too long", func(_ context.Context, p *sdk.Post) error {
			return p.Submit(sdk.Submission{Message: []byte("Subject: x\n\n" + big)})
		}, "at most 1048576"},
		{"a header block that is not ASCII", func(_ context.Context, p *sdk.Post) error {
			return p.Submit(sdk.Submission{Message: []byte("Subject: \u00e9\n\n")})
		}, "not ASCII"},
		{"too many submissions", func(_ context.Context, p *sdk.Post) error {
			for range 21 {
				if err := p.Submit(sdk.Submission{Message: []byte("Subject: x\n\n")}); err != nil {
					return err
				}
			}
			return nil
		}, "21 submissions, at most 20"},
		{"too many changes of state", func(_ context.Context, p *sdk.Post) error {
			for range 1001 {
				if err := p.State().Add("n", 1); err != nil {
					return err
				}
			}
			return nil
		}, "1001 changes of state"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := handlerFunc(func(ctx context.Context, p *sdk.Post) (sdk.Verdict, error) { return sdk.Accept, c.ask(ctx, p) })
			_, err := handlertest.Try(t, h, handlertest.Case{Message: fromAnn})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}

func TestAStageThatDeclaresNothingGetsNothing(t *testing.T) {
	h := handlerFunc(func(ctx context.Context, p *sdk.Post) (sdk.Verdict, error) {
		_, _, err := p.State().Get(ctx, "k")
		for _, merr := range p.Members(ctx, sdk.MemberFilter{}) {
			err = errors.Join(err, merr)
		}
		return sdk.Accept, errors.Join(err, p.Submit(sdk.Submission{}), p.Keep(sdk.KeepArchive))
	})
	_, err := handlertest.TryStages(t, handlertest.Case{Message: fromAnn}, sdk.Stage{Name: "s", Handler: h})
	for _, want := range []string{"set State in", "set Members in", "set Submit in", "set Keep in"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
	bare := &sdk.Post{}
	if _, _, err := bare.State().Get(t.Context(), "k"); err == nil {
		t.Error("a post that nobody handed over has state")
	}
	bare.Count("x", 1)
	if err := bare.Keep(sdk.KeepArchive); err != nil {
		t.Error(err)
	}
	bare.Log().Debug("nothing happens")
}

// marker leaves a mark in header and body, and wants the post kept.
func marker(name string, uses ...sdk.Use) sdk.Stage {
	return sdk.Stage{Name: name, Body: true, Keep: true, Handler: handlerFunc(func(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
		p.Header.Append("X-Mark", name)
		err := p.Body.Splice(message.Splice{Offset: p.Body.Size(), Insert: []byte(name + "\n")})
		for _, use := range uses {
			err = errors.Join(err, p.Keep(use))
		}
		return sdk.Accept, err
	})}
}

func TestAPostIsKeptAsItStandsAfterTheStageThatAsks(t *testing.T) {
	const head, body = "From: ann@n.test\nX-Mark: a\n", "\nbody\na\n"
	for _, c := range []struct {
		name            string
		stages          []sdk.Stage
		archive, digest string
	}{
		{"nobody asks", []sdk.Stage{marker("a"), marker("b")}, "", ""},
		{"one", []sdk.Stage{marker("a", sdk.KeepArchive), marker("b")}, head + body, ""},
		{"one that asks twice", []sdk.Stage{marker("a", sdk.KeepArchive, sdk.KeepDigest, sdk.KeepArchive), marker("b")}, head + body, head + body},
		{"two, for different uses", []sdk.Stage{marker("a", sdk.KeepDigest), marker("b", sdk.KeepArchive)}, head + "X-Mark: b\n" + body + "b\n", head + body},
		{"two, for the same: the first has it", []sdk.Stage{marker("a", sdk.KeepArchive), marker("b", sdk.KeepArchive)}, head + body, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := handlertest.TryStages(t, handlertest.Case{Message: fromAnn}, append(c.stages, marker("last"))...)
			if err != nil {
				t.Fatal(err)
			}
			if a, d := string(got.Kept[sdk.KeepArchive]), string(got.Kept[sdk.KeepDigest]); a != c.archive || d != c.digest {
				t.Errorf("archive\n%s\ndigest\n%s", a, d)
			}
			if !strings.Contains(string(got.Message), "X-Mark: last\n\nbody\na\n") {
				t.Errorf("message\n%s", got.Message)
			}
		})
	}
	stop := sdk.Stage{Name: "stop", Handler: handlerFunc(func(context.Context, *sdk.Post) (sdk.Verdict, error) { return sdk.Hold("x", "y"), nil })}
	if got, err := handlertest.TryStages(t, handlertest.Case{Message: fromAnn}, marker("a", sdk.KeepArchive), stop); err != nil || len(got.Kept) > 0 {
		t.Errorf("of a held post %v is kept, %v", got.Kept, err)
	}
}

func TestADigestIsSeenOnlyByStagesThatWantTo(t *testing.T) {
	see := marker("b")
	see.Digests = true
	c := handlertest.Case{Message: fromAnn, Envelope: sdk.Envelope{Flags: []string{sdk.FlagDigest}}}
	if got, err := handlertest.TryStages(t, c, marker("a"), see, marker("c")); err != nil || string(got.Header.Bytes()) != "From: ann@n.test\nX-Mark: b\n" {
		t.Errorf("%v, %s", err, got.Message)
	}
	if got, err := handlertest.TryStages(t, c, marker("a")); err != nil || got.Verdict != sdk.Accept || string(got.Message) != fromAnn {
		t.Errorf("%v, %+v", err, got)
	}
}
