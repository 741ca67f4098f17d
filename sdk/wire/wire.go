// Package wire is mlist's half of the contract with plugins: it makes requests, and
// checks and applies replies. What a plugin answers is trusted no more than mail is: a
// reply is applied as a whole or not at all.
//
// Handler authors have no use for it; package handlertest and mlist itself do.
package wire

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/proto"
)

// Post is a post on its way through the stages, as mlist holds it.
type Post struct {
	Entry    string
	Number   int64
	Approved bool
	List     sdk.List
	// Shared, if not nil, are settings that many posts have alike; those of List come before them.
	Shared   *Settings
	Envelope sdk.Envelope
	Senders  []sdk.Sender
	Header   *message.Header
	Body     *message.Body
	// File is where the body's original bytes are, for the plugin to read.
	File           string
	Offset, Length int64
	Rules          []sdk.Rule
	Notes          map[string]string
	// SubmittedBy are the stages that led to the post, if it is none from outside, and
	// AtSMTP tells that it is not here yet: only verdicts count.
	SubmittedBy []string
	AtSMTP      bool
	AtRCPT      bool // there is the envelope alone; AtSMTP is set, too
	// Mark is what placeholders begin with; "" if all members get the same copy.
	Mark string
	// ListID is the store's own number of the list; it does not travel.
	ListID int64
	// BeforeState is waited for, if it is not nil, before what handlers keep is read: posts
	// that came before may have to be counted. It does not travel.
	BeforeState func(ctx context.Context) error
	// Call names the call to the plugin, for what it asks meanwhile; "" is nothing to ask.
	Call string
	// State and Submissions are what the stages so far want committed with the post.
	State       []StateEdit
	Submissions []Submission
	// Kept is the post as stages wanted it kept, to be committed with it, too.
	Kept []Kept
	// Counts is what the last reply adds to the plugin's counters.
	Counts map[string]int64
}

// Kept is a post as it stood after a stage: its header block, and how many of the body's
// splices there were.
type Kept struct {
	For     []sdk.Use
	Header  []byte
	Splices int
}

// Result is what one stage decided.
type Result struct {
	Stage   string
	Verdict sdk.Verdict
	Took    time.Duration
	reply   *proto.StageResult
}

// ByStanding tells whether the stage says the same to whoever has the same standing at the same
// list, with the same settings.
func (r Result) ByStanding() bool { return r.reply.GetByStanding() }

// StageError is what is wrong with a reply, and with which stage's part of it.
type StageError struct {
	Stage string
	Err   error
}

// Error implements error.
func (e *StageError) Error() string { return fmt.Sprintf("stage %s: %v", e.Stage, e.Err) }

// Unwrap returns Err.
func (e *StageError) Unwrap() error { return e.Err }

// Request asks a plugin to run stages on a post. Without withBody the request leaves
// the body out.
//
// Text in a request is UTF-8, or it could not be sent; but an envelope or a setting
// can hold any bytes. Those that are not UTF-8 become U+FFFD.
func Request(p *Post, stages []string, withBody bool) *proto.HandleRequest {
	req := &proto.HandleRequest{Stages: stages, Entry: p.Entry, Number: p.Number, Approved: p.Approved, Call: p.Call,
		SubmittedBy: p.SubmittedBy, AtSmtp: p.AtSMTP, AtRcpt: p.AtRCPT, Mark: p.Mark,
		List:   &proto.List{Address: text(p.List.Address), Settings: p.Settings()},
		Header: p.Header.Bytes(), Notes: texts(p.Notes), Envelope: envelope(p.Envelope)}
	for _, s := range p.Senders {
		req.Senders = append(req.Senders, sender(s))
	}
	if withBody {
		req.Body = &proto.Body{Path: p.File, Offset: p.Offset, Length: p.Length}
		for _, s := range p.Body.Splices() {
			req.Body.Splices = append(req.Body.Splices, &proto.Splice{Offset: s.Offset, Delete: s.Delete, Insert: s.Insert})
		}
	}
	return req
}

func envelope(e sdk.Envelope) *proto.Envelope {
	env := &proto.Envelope{Sender: text(e.Sender), Recipient: text(e.Recipient), Peer: text(e.Peer)}
	for _, f := range e.Flags {
		env.Flags = append(env.Flags, text(f))
	}
	if !e.Received.IsZero() {
		env.ReceivedUnixMicros = e.Received.UnixMicro()
	}
	return env
}

func sender(s sdk.Sender) *proto.Sender {
	out := &proto.Sender{Address: text(s.Address), Source: s.Source, Ban: text(s.Ban)}
	for _, m := range s.Memberships {
		out.Memberships = append(out.Memberships, membership(m))
	}
	return out
}

func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// texts returns the map itself if there is nothing to change in it.
func texts(m map[string]string) map[string]string {
	valid := true
	for k, v := range m {
		valid = valid && utf8.ValidString(k) && utf8.ValidString(v)
	}
	if valid {
		return m
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[text(k)] = text(v)
	}
	return out
}
