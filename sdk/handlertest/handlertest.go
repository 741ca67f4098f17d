// Package handlertest tries a handler on a message: the same way that mlist does, with
// a configuration that is decoded, edits that travel and are checked, and a body in a
// file; only without the process.
//
//	got := handlertest.Run(t, shout{}, handlertest.Case{Message: "Subject: hello\n\nbody\n"})
//	if got.Header.Get("Subject") != "HELLO" { … }
package handlertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/proto"
	"github.com/mlist/mlist/sdk/wire"
)

// Case is what a handler is tried on. Only Message is needed.
type Case struct {
	Message  string // header block, empty line, body
	List     string // the list's address; dev@lists.example.org if empty
	Settings map[string]string
	Config   map[string]any // the table [plugin.STAGE]; nil is an empty one
	Senders  []sdk.Sender
	Envelope sdk.Envelope // the recipient is the list, if empty
	Notes    map[string]string
	Members  []sdk.Member      // of the list; a regular, enabled member, where it does not say
	State    map[string]string // what the plugin keeps for the list
	Number   int64             // 1 if 0
	Approved bool
	// SubmittedBy are the stages whose submissions led to the post, and AtSMTP makes it one
	// whose sender's SMTP session waits: of edits, only notes count.
	SubmittedBy []string
	AtSMTP      bool
	AtRCPT      bool
	Hostname    string        // lists.example.org if empty
	Timeout     time.Duration // of the call; 10 s if 0
}

// Result is what the handler made of it.
type Result struct {
	Verdict sdk.Verdict
	Message []byte // as it goes on
	Header  *message.Header
	Body    []byte
	Rules   []sdk.Rule
	Notes   map[string]string // those of the case too
	// State is the case's, as the handler changed it; Submissions and Counts are what it
	// asked for. Of a post that is not accepted only Counts are kept.
	State       map[string]string
	Submissions []sdk.Submission
	Counts      map[string]int64
	// ByStanding: the answer at RCPT is that of everybody who has the same standing.
	ByStanding bool
	// Kept is what mlist keeps, for each use, if the post is accepted.
	Kept map[sdk.Use][]byte
}

// Mark is what placeholders begin with in a case whose list has the setting personalize.
const Mark = "mtestmark"

// Run tries a handler, and fails the test when it returns an error.
func Run(t testing.TB, h sdk.Handler, c Case) Result {
	t.Helper()
	r, err := Try(t, h, c)
	if err != nil {
		t.Fatalf("handle: %v", err)
	}
	return r
}

// Try tries a handler. Its error is the handler's own, one of its configuration, or
// what mlist would refuse in its reply.
func Try(t testing.TB, h sdk.Handler, c Case) (Result, error) {
	t.Helper()
	return TryStages(t, c, sdk.Stage{Name: "test", Body: true, Members: true, State: true, Submit: true, Keep: true, Digests: true, Personal: true, Handler: h})
}

// TryStages tries several stages of one plugin on a message, in their order. The
// case's configuration is that of the first. Stages that see no digests are left out if
// the message is one (sdk.FlagDigest).
func TryStages(t testing.TB, c Case, stages ...sdk.Stage) (Result, error) {
	t.Helper()
	s, err := sdk.NewServer("test", "0", stages...)
	if err != nil {
		return Result{}, err
	}
	s.UseHost(fakeHost{c})
	var names []string
	var body bool
	digest := slices.Contains(c.Envelope.Flags, sdk.FlagDigest)
	for _, st := range stages {
		if st.Digests || !digest {
			names, body = append(names, st.Name), body || st.Body
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), orElse(c.Timeout, 10*time.Second))
	defer cancel()
	d, err := s.Describe(ctx, &proto.DescribeRequest{Capabilities: sdk.Capabilities}) // always the first call
	if err != nil {
		return Result{}, err
	}
	if err := configure(ctx, s, names, c); err != nil {
		return Result{}, err
	}
	p, err := post(t, c)
	if err != nil {
		return Result{}, err
	}
	reply, err := s.Handle(ctx, wire.Request(p, names, body))
	if err != nil {
		return Result{}, err
	}
	results, err := wire.Apply(p, wire.NeedsOf(d), names, reply)
	if err != nil {
		return Result{}, err
	}
	return result(c, p, results)
}

func configure(ctx context.Context, s *sdk.Server, names []string, c Case) error {
	tables := map[string][]byte{}
	for _, name := range names {
		tables[name] = []byte("{}")
	}
	if c.Config != nil {
		table, err := json.Marshal(c.Config)
		if err != nil {
			return fmt.Errorf("the case's configuration: %w", err)
		}
		tables[names[0]] = table
	}
	reply, err := s.Configure(ctx, &proto.ConfigureRequest{Config: tables, Hostname: orElse(c.Hostname, "lists.example.org")})
	if err != nil {
		return err
	}
	var problems []error
	for _, p := range reply.GetProblems() {
		problems = append(problems, errors.New(p))
	}
	return errors.Join(problems...)
}

// post puts the message into a file, as mlist does.
func post(t testing.TB, c Case) (*wire.Post, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(path, []byte(c.Message), 0o600); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = f.Close() })
	block, offset, err := message.Split(f, int64(len(c.Message)))
	if err != nil {
		return nil, err
	}
	length := int64(len(c.Message)) - offset
	list := orElse(c.List, "dev@lists.example.org")
	p := &wire.Post{Entry: "test", Number: orElse(c.Number, 1), Approved: c.Approved,
		SubmittedBy: c.SubmittedBy, AtSMTP: c.AtSMTP || c.AtRCPT, AtRCPT: c.AtRCPT,
		List: sdk.List{Address: list, Settings: c.Settings}, Envelope: c.Envelope, Senders: c.Senders,
		Header: message.ParseHeader(block), Body: message.NewBody(f, offset, length),
		File: path, Offset: offset, Length: length, Notes: map[string]string{}}
	p.Envelope.Recipient = orElse(c.Envelope.Recipient, list)
	for k, v := range c.Notes {
		p.Notes[k] = v
	}
	if how := c.Settings["personalize"]; how != "" && how != "none" {
		p.Mark = Mark
	}
	return p, nil
}

func result(c Case, p *wire.Post, results []wire.Result) (Result, error) {
	var body bytes.Buffer
	var err error
	if _, err := p.Body.WriteTo(&body); err != nil {
		return Result{}, fmt.Errorf("read the edited body: %w", err)
	}
	verdict := sdk.Accept // of a digest that no stage sees
	if len(results) > 0 {
		verdict = results[len(results)-1].Verdict
	}
	r := Result{Verdict: verdict, Header: p.Header, Body: body.Bytes(), Rules: p.Rules, Notes: p.Notes,
		Counts: p.Counts, ByStanding: len(results) > 0 && results[len(results)-1].ByStanding()}
	r.State = stateAfter(c, p, r.Verdict)
	if r.Verdict.Kind == sdk.KindAccept {
		for _, s := range p.Submissions {
			r.Submissions = append(r.Submissions, s.Submission)
		}
		if r.Kept, err = kept(p); err != nil {
			return Result{}, err
		}
	}
	r.Message = append(append(bytes.Clone(p.Header.Bytes()), p.Header.LineEnd()...), r.Body...)
	return r, nil
}

// kept reads what is kept of the post.
func kept(p *wire.Post) (map[sdk.Use][]byte, error) {
	out := map[sdk.Use][]byte{}
	for _, k := range p.Kept {
		h, b, err := k.Message(p.Body)
		if err != nil {
			return nil, err
		}
		text := bytes.NewBuffer(append(h.Bytes(), h.LineEnd()...))
		if _, err := b.WriteTo(text); err != nil {
			return nil, err
		}
		for _, use := range k.For {
			out[use] = text.Bytes()
		}
	}
	return out, nil
}

func orElse[T comparable](v, other T) T {
	var zero T
	if v == zero {
		return other
	}
	return v
}
