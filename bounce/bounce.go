// Package bounce reads what a bounce says: which recipients a message did not reach,
// and why. It is pure: no clock, no network, no files.
//
// It reads delivery status notifications (RFC 3464, and RFC 6533 for UTF-8), as
// tolerantly as it can and within bounds; what MTAs say in plain text, in many
// languages; and complaints (RFC 5965). What a person or an autoresponder wrote is no
// bounce, and the addresses of the list, of the reporter and of the returned message's
// own header are nobody whom the message did not reach: rather nothing than a wrong name.
//
// The caller may know the recipient from the address that the bounce came to
// (package verp), which is surer than anything a report says: reports are easily forged.
package bounce

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/sdk/message"
)

// ErrNoReport says that a message is no bounce. ErrReceipt is one: somebody read a message,
// or deleted it unread (RFC 8098); ErrAutoReply is another: an autoresponder answered.
var (
	ErrNoReport  = errors.New("no bounce")
	ErrReceipt   = fmt.Errorf("%w: a read receipt", ErrNoReport)
	ErrAutoReply = fmt.Errorf("%w: an automatic reply", ErrNoReport)
)

// Bounds of what is read and kept.
const (
	maxMessage    = 1 << 20   // octets of a message; what it says comes before the returned mail
	maxBodyText   = 128 << 10 // octets of the text of it
	maxRecipients = 1000
	maxText       = 1000 // octets of one field
	maxNested     = 2    // reports within messages within messages
)

// Scope says what a report is about.
type Scope string

// Scopes. ScopeMessage, in reports that mlist's outbound makes, means that the MTA
// refused the message itself: it says nothing about the recipients. In the group of one
// recipient it goes for that recipient alone (Recipient.Message).
const (
	ScopeRecipients Scope = "recipients"
	ScopeMessage    Scope = "message"
)

// ScopeField is the field that says ScopeMessage.
const ScopeField = "X-Mlist-Scope"

// Report is what a bounce says.
type Report struct {
	Scope      Scope
	Reporter   string // Reporting-MTA, without its type
	EnvelopeID string // Original-Envelope-Id
	MessageID  string // of the returned message, if it came along
	Recipients []Recipient
	Complaints []Complaint
	// Unnamed is what became of somebody whom the bounce does not name: who knows for whom
	// the address was that it came to may take it for them. Its Action is "" if nothing did.
	Unnamed Recipient
}

// Recipient is what became of one recipient. Its texts have no control characters and
// are at most 1000 octets long.
type Recipient struct {
	Address    string // as the sender wrote it: Original-Recipient if it is there
	Final      string // Final-Recipient, where the mail would have ended
	Action     string // "failed", "delayed", "delivered", "relayed" or "expanded"
	Status     string // RFC 3463, such as "5.1.1"; never "" if the mail did not arrive
	Class      Class
	Diagnostic string // what the far end said, without its type
	RemoteMTA  string // who said it
	Message    bool   // it was the message that was refused: that says nothing about the recipient
}

// Failed tells whether the message will not reach the recipient, for a permanent reason.
func (r Recipient) Failed() bool { return r.Action == "failed" && !strings.HasPrefix(r.Status, "4.") }

// Delayed tells whether a temporary reason kept the message from the recipient, for now
// or until the far end gave up.
func (r Recipient) Delayed() bool {
	return r.Action == "delayed" || r.Action == "failed" && strings.HasPrefix(r.Status, "4.")
}

// Parse reads a message, its first megabyte at most. The error is ErrNoReport, or one of
// reading. A complaint is a report without recipients.
func Parse(r io.Reader) (Report, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxMessage))
	if err != nil {
		return Report{}, fmt.Errorf("read bounce: %w", err)
	}
	m, err := open(raw)
	if err != nil {
		return Report{}, fmt.Errorf("%w: %w", ErrNoReport, err)
	}
	report, err := m.report(maxNested)
	if err != nil {
		return report, err
	}
	if len(report.Recipients) == 0 && len(report.Complaints) == 0 {
		return report, ErrNoReport
	}
	return report, nil
}

// Undelivered returns the recipients that the message did not reach, or not yet.
func (r Report) Undelivered() []Recipient {
	return slices.DeleteFunc(slices.Clone(r.Recipients), func(x Recipient) bool { return !x.Failed() && !x.Delayed() })
}

// mail is a message that may be a bounce.
type mail struct {
	header *message.Header
	root   *message.Part
	raw    []byte // the body
	parts  []*message.Part
}

func open(raw []byte) (*mail, error) {
	raw = bytes.TrimLeft(raw, "\ufeff \t\r\n") // of a message that was saved from a web page
	if bytes.IndexByte(raw, '\n') < 0 {
		raw = bytes.ReplaceAll(raw, []byte("\r"), []byte("\n")) // of an old Mac
	}
	source := bytes.NewReader(raw)
	block, at, err := message.Split(source, int64(len(raw)))
	if err != nil {
		return nil, err
	}
	m := &mail{header: message.ParseHeader(block), raw: raw[at:]}
	if m.root, _, err = message.ParseStructure(m.header, message.NewBody(source, at, int64(len(raw))-at)); err != nil {
		return nil, err
	}
	m.collect(m.root)
	return m, nil
}

// collect lists the leaves. Their depth is bounded by message.MaxDepth.
func (m *mail) collect(p *message.Part) {
	if len(p.Parts) == 0 {
		m.parts = append(m.parts, p)
	}
	for _, child := range p.Parts {
		m.collect(child)
	}
}

// content is the body of a part, decoded.
func (m *mail) content(p *message.Part) []byte { return decode(m.raw[p.Start:p.End], p.Encoding) }

// report reads the message by every way there is, those that err least first.
func (m *mail) report(nested int) (Report, error) {
	report := Report{Scope: ScopeRecipients}
	switch m.reportType() {
	case "disposition-notification":
		if !m.refusedBySieve() || !m.freeText(&report) {
			return report, ErrReceipt
		}
		m.finish(&report)
		return report, nil
	case "feedback-report":
		report.Complaints = m.complaints()
		return report, nil
	}
	if m.challenge() {
		return report, ErrAutoReply
	}
	system := m.fromSystem()
	if system || m.reportType() == "delivery-status" {
		if m.statusParts(&report) {
			m.explain(&report)
			m.finish(&report)
			return report, nil
		}
	}
	if m.autoReply() {
		return report, ErrAutoReply
	}
	if !system {
		return report, ErrNoReport
	}
	if m.statusText(&report) {
		m.explain(&report)
		m.finish(&report)
		return report, nil
	}
	if m.freeText(&report) {
		m.finish(&report)
		return report, nil
	}
	// A report within, unless this one is about that: a bounce that came back.
	if inner := m.attached(); inner != nil && nested > 0 && (!m.saysFailed() || !m.namesAnybody()) {
		return inner.report(nested - 1)
	}
	return report, ErrNoReport
}

// reportType is the report-type of a multipart/report, "" for anything else.
func (m *mail) reportType() string {
	if m.root.Type != "multipart/report" {
		return ""
	}
	kind := strings.ToLower(m.root.Params["report-type"])
	if kind != "" {
		return kind
	}
	for _, p := range m.parts { // it is to be there, and is not always
		switch p.Type {
		case "message/delivery-status", "message/global-delivery-status":
			return "delivery-status"
		case "message/disposition-notification", "message/global-disposition-notification":
			return "disposition-notification"
		case "message/feedback-report":
			return "feedback-report"
		}
	}
	return ""
}

// statusParts reads the parts that are a delivery status, whatever they are in: some MTAs
// call the whole multipart/mixed. It tells whether there was a recipient in them.
func (m *mail) statusParts(report *Report) bool {
	for _, p := range m.parts {
		if p.Type != "message/delivery-status" && p.Type != "message/global-delivery-status" {
			continue
		}
		text := m.content(p)
		if bytes.Contains(text, []byte("\x1b$")) { // Japanese, where ASCII is to be
			text = []byte(toUTF8(text, "iso-2022-jp"))
		}
		parseStatus(text, report)
	}
	if scope := m.header.Get(ScopeField); strings.EqualFold(scope, string(ScopeMessage)) {
		report.Scope = ScopeMessage
	}
	return len(report.Recipients) > 0
}

// attached is the first message within this one.
func (m *mail) attached() *mail {
	for _, p := range m.parts {
		if p.Type == "message/rfc822" || p.Type == "message/global" {
			if inner, err := open(m.content(p)); err == nil {
				return inner
			}
			return nil
		}
	}
	return nil
}

// finish adds what is known beside the report: the address that the bounce came to, and
// the id of the returned message.
func (m *mail) finish(report *Report) {
	report.MessageID = clean(m.returned().Get("Message-ID"))
	undelivered := 0
	for _, r := range report.Recipients {
		if r.Failed() || r.Delayed() {
			undelivered++
		}
	}
	if named, ok := m.returnPath(); ok && undelivered == 1 {
		for i := range report.Recipients {
			if r := &report.Recipients[i]; r.Failed() || r.Delayed() {
				r.Address = named.String()
			}
		}
	}
}

// returnPath is whom the address names that the bounce came to, if it is one with the
// recipient in it: dev-bounces+user=example.com@.
func (m *mail) returnPath() (address.Address, bool) {
	for _, field := range []string{"X-Original-To", "Delivered-To", "Envelope-To", "To"} {
		for _, box := range message.ParseMailboxes(m.header.Get(field)) {
			at := strings.LastIndexByte(box.Address, '@')
			if at < 0 {
				continue
			}
			list, detail, ok := strings.Cut(box.Address[:at], "+")
			if !ok || !strings.HasSuffix(strings.ToLower(list), "-bounces") {
				continue
			}
			if tag, rest, more := strings.Cut(detail, "+"); more && len(tag) == tagLen && !strings.ContainsAny(tag, "=.-") {
				detail = rest // a keyed one, see package verp
			}
			if a, err := address.ParseVERP(detail); err == nil && strings.Contains(a.Domain, ".") {
				return a, true
			}
		}
	}
	return address.Address{}, false
}

// tagLen is the length of a tag of package verp, which only those who have the key read.
const tagLen = 12
