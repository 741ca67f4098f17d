package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/pipeline"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/wire"
)

// maxAddresses is how many recipients are shown unless all are asked for.
const maxAddresses = 10

// report is what `mlist try` tells; with --json, as it stands here.
type report struct {
	List     string          `json:"list"`
	Sender   string          `json:"sender"` // of the envelope
	Number   int64           `json:"number"` // that the post would get
	CopyOf   string          `json:"copy_of,omitempty"`
	Flags    []string        `json:"flags,omitempty"`
	Senders  []senderJSON    `json:"senders"`
	Stages   []stageReport   `json:"stages"`
	Verdict  verdictJSON     `json:"verdict"`
	Variants []variantReport `json:"variants"`
	// AtSMTP tells that only the stages were asked that judge while the sender's SMTP
	// session waits.
	AtSMTP bool `json:"at_smtp,omitempty"`

	limit  int // of recipients that are kept; less than 0 is all
	shown  map[string][]string
	header *message.Header // as it is after the stages so far
	body   *message.Body
	err    error
}

type senderJSON struct {
	Address string   `json:"address"`
	Source  string   `json:"source"`
	Roles   []string `json:"roles"`
	Ban     string   `json:"ban,omitempty"`
}

type verdictJSON struct {
	Kind   sdk.Kind `json:"kind"`
	Stage  string   `json:"stage,omitempty"`
	Code   string   `json:"code,omitempty"`
	Reason string   `json:"reason,omitempty"`
}

// stageReport is what one stage did.
type stageReport struct {
	Stage   string            `json:"stage"`
	Verdict sdk.Kind          `json:"verdict"`
	Code    string            `json:"code,omitempty"`
	Reason  string            `json:"reason,omitempty"`
	Took    int64             `json:"took_us"`
	Header  []string          `json:"header,omitempty"` // lines of a diff: "- " and "+ " before fields
	Body    []spliceJSON      `json:"body,omitempty"`
	Rules   []string          `json:"rules,omitempty"` // what it says of recipients
	Asks    []string          `json:"asks,omitempty"`  // beside that: state, new messages
	Notes   map[string]string `json:"notes,omitempty"`
}

// spliceJSON is a change of the body; the texts are excerpts.
type spliceJSON struct {
	Offset  int64  `json:"offset"`
	Delete  int64  `json:"delete"` // octets
	Insert  int64  `json:"insert"`
	Deleted string `json:"deleted,omitempty"`
	Text    string `json:"text,omitempty"`
}

type variantReport struct {
	Name       string   `json:"variant"`
	Sender     string   `json:"sender"`
	Recipients int64    `json:"recipients"`
	Addresses  []string `json:"addresses"`
}

// newReport reads the message a second time, so that each stage's edits can be made
// beside what they change.
func newReport(msg spool.Message) (*report, error) {
	block, at, err := message.Split(msg, msg.Size())
	if err != nil {
		return nil, err
	}
	return &report{Stages: []stageReport{}, Senders: []senderJSON{}, Variants: []variantReport{}, shown: map[string][]string{},
		header: message.ParseHeader(block), body: message.NewBody(msg, at, msg.Size()-at)}, nil
}

// stage takes in what a stage decided and asked for.
func (r *report) stage(res wire.Result) {
	e := res.Edits()
	s := stageReport{Stage: res.Stage, Verdict: res.Verdict.Kind, Code: res.Verdict.Code, Reason: res.Verdict.Reason,
		Took: res.Took.Microseconds(), Notes: e.Notes}
	before := fieldTexts(r.header)
	if err := r.header.Apply(e.Ops); err != nil {
		r.err = errors.Join(r.err, fmt.Errorf("stage %s: %w", res.Stage, err))
	}
	s.Header = diffFields(before, fieldTexts(r.header))
	for _, sp := range e.Splices {
		s.Body = append(s.Body, spliceJSON{Offset: sp.Offset, Delete: sp.Delete, Insert: int64(len(sp.Insert)),
			Deleted: r.excerpt(sp.Offset, sp.Delete), Text: excerptOf(sp.Insert)})
		if err := r.body.Splice(sp); err != nil {
			r.err = errors.Join(r.err, fmt.Errorf("stage %s: %w", res.Stage, err))
		}
	}
	for _, rule := range e.Rules {
		s.Rules = append(s.Rules, describeRule(rule))
	}
	s.Asks = asks(e.State, e.Submissions, e.Keep)
	r.Stages = append(r.Stages, s)
}

// maxExcerpt is how much of a change of the body is shown.
const maxExcerpt = 1000

func (r *report) excerpt(offset, size int64) string {
	p := make([]byte, min(size, maxExcerpt+1))
	n, err := r.body.ReadAt(p, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = errors.Join(r.err, err)
	}
	return excerptOf(p[:n])
}

func excerptOf(text []byte) string {
	if len(text) > maxExcerpt {
		return strings.ToValidUTF8(string(text[:maxExcerpt]), "") + "…"
	}
	return string(text)
}

// recipient takes in one that would receive a variant.
func (r *report) recipient(variant, addr string) error {
	if r.limit < 0 || len(r.shown[variant]) < r.limit {
		r.shown[variant] = append(r.shown[variant], addr)
	}
	return nil
}

// consulted takes in what the stages said that judge at SMTP time. Nothing else comes of it.
func (r *report) consulted(t *pipeline.Trial) {
	r.AtSMTP, t.Variants = true, nil
	for _, s := range t.Result.Stages {
		j := stageReport{Stage: s.Stage, Verdict: s.Verdict, Took: s.Took.Microseconds()}
		if s.Stage == t.Result.Stage {
			j.Code, j.Reason = t.Result.Verdict.Code, t.Result.Verdict.Reason
		}
		r.Stages = append(r.Stages, j)
	}
}

// finish takes in the rest.
func (r *report) finish(l *list.List, env spool.Envelope, t *pipeline.Trial) {
	v := t.Result.Verdict
	r.List, r.Sender, r.Number, r.CopyOf, r.Flags = l.Address.String(), env.Sender, t.Number, t.CopyOf, env.Flags
	r.Verdict = verdictJSON{Kind: v.Kind, Stage: t.Result.Stage, Code: v.Code, Reason: v.Reason}
	for _, s := range t.Senders {
		j := senderJSON{Address: s.Address, Source: s.Source, Roles: []string{}, Ban: s.Ban}
		for _, m := range s.Memberships {
			j.Roles = append(j.Roles, m.Role)
		}
		r.Senders = append(r.Senders, j)
	}
	for _, v := range t.Variants {
		r.Variants = append(r.Variants, variantReport{Name: v.Name, Sender: v.Sender, Recipients: v.Recipients, Addresses: append([]string{}, r.shown[v.Name]...)})
	}
}

// print writes the report for people.
func (r *report) print(w io.Writer) error {
	line := func(format string, args ...any) {
		fmt.Fprintf(w, "%s\n", printable(fmt.Sprintf(format, args...), false))
	}
	line("list      %s", r.List)
	line("sender    <%s>", r.Sender)
	for _, s := range r.Senders {
		roles := strings.Join(s.Roles, ", ")
		if roles == "" {
			roles = "unknown here"
		}
		if s.Ban != "" {
			roles += "; banned: " + s.Ban
		}
		line("%-9s %s: %s", s.Source, s.Address, roles)
	}
	if r.CopyOf != "" {
		line("copy      of entry %s: posted again now, it would be dropped", r.CopyOf)
	}
	fmt.Fprintln(w)
	for _, s := range r.Stages {
		s.print(w)
	}
	fmt.Fprintln(w)
	switch r.Verdict.Kind {
	case sdk.KindAccept:
		switch {
		case !r.AtSMTP:
			line("accepted, as post %d", r.Number)
		case len(r.Stages) == 0:
			line("no stage judges at SMTP time")
		default:
			line("let in: all stages are asked when the message is here")
		}
	case sdk.KindHold:
		line("held by %s (%s): %s", r.Verdict.Stage, r.Verdict.Code, r.Verdict.Reason)
	case sdk.KindReject:
		line("rejected by %s (%s): %s", r.Verdict.Stage, r.Verdict.Code, r.Verdict.Reason)
	default:
		line("discarded by %s (%s): %s", r.Verdict.Stage, r.Verdict.Code, r.Verdict.Reason)
	}
	for _, v := range r.Variants {
		line("variant %s, from <%s>: %s", v.Name, v.Sender, count(v.Recipients, "recipient", "recipients"))
		for _, a := range v.Addresses {
			line("  <%s>", a)
		}
		if more := v.Recipients - int64(len(v.Addresses)); more > 0 {
			line("  and %s more; --recipients shows all", thousands(more))
		}
	}
	return nil
}

func (s stageReport) print(w io.Writer) {
	line := func(format string, args ...any) {
		fmt.Fprintf(w, "%s\n", printable(fmt.Sprintf(format, args...), false))
	}
	text := fmt.Sprintf("%-14s %-7s %8s", s.Stage, s.Verdict, time.Duration(s.Took)*time.Microsecond)
	if s.Verdict != sdk.KindAccept {
		text += "  " + joinNonEmpty(": ", s.Code, s.Reason)
	}
	line("%s", text)
	for _, h := range s.Header {
		line("    %s", h)
	}
	for _, b := range s.Body {
		line("    body at %d: %d octets out, %d in", b.Offset, b.Delete, b.Insert)
		for _, part := range []struct{ sign, text string }{{"-", b.Deleted}, {"+", b.Text}} {
			for l := range strings.Lines(part.text) {
				line("    %s %s", part.sign, strings.TrimRight(l, "\r\n"))
			}
		}
	}
	for _, rule := range s.Rules {
		line("    recipients: %s", rule)
	}
	for _, ask := range s.Asks {
		line("    asks to %s", ask)
	}
	for _, k := range slices.Sorted(maps.Keys(s.Notes)) {
		line("    note %s: %s", k, s.Notes[k])
	}
}

// describeRule says what a recipient rule does.
func describeRule(r sdk.Rule) string {
	many := func(what string, words []string) string {
		if len(words) == 0 {
			return ""
		}
		return what + " " + strings.Join(words, " or ")
	}
	switch r.Kind {
	case sdk.RuleSelect:
		if text := joinNonEmpty(", ", many("role", r.Roles), many("mode", r.Modes), many("status", r.Statuses)); text != "" {
			return "select " + text
		}
		return "select all"
	case sdk.RuleAdd:
		return "add " + strings.Join(r.Addresses, ", ")
	}
	text := "exclude " + strings.Join(r.Addresses, ", ")
	if r.Flag != "" {
		text += " where the member has set " + r.Flag
	}
	return text
}
