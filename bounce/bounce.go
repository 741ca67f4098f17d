// Package bounce reads what a bounce says: which recipients a message did not reach,
// and why. It is pure: no clock, no network, no files.
//
// It reads delivery status notifications (RFC 3464, and RFC 6533 for UTF-8), as
// tolerantly as it can and within bounds: a report that breaks a rule is read as far
// as it makes sense. Bounces in other forms are [ErrNoReport] as yet; the caller may
// still know the recipient from the address that the bounce came to
// (address.ParseVERP), which is surer than anything a report says in any case:
// reports are easily forged.
package bounce

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mlist/mlist/sdk/message"
)

// ErrNoReport says that a message is no delivery status notification.
var ErrNoReport = errors.New("no delivery status in the message")

// Bounds of what is read and kept.
const (
	maxMessage    = 1 << 20 // octets of a message; the status comes before the returned mail
	maxRecipients = 1000
	maxText       = 1000 // octets of one field
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

// Report is what a delivery status notification says.
type Report struct {
	Scope      Scope
	Reporter   string // Reporting-MTA, without its type
	EnvelopeID string // Original-Envelope-Id
	Recipients []Recipient
}

// Recipient is what became of one recipient. Its texts have no control characters and
// are at most 1000 octets long.
type Recipient struct {
	Address    string // Final-Recipient, or else Original-Recipient, without its type
	Original   string // Original-Recipient, "" if not said
	Action     string // "failed", "delayed", "delivered", "relayed" or "expanded"
	Status     string // RFC 3463, such as "5.1.1"; "" if there is none
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
// reading.
func Parse(r io.Reader) (Report, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxMessage))
	if err != nil {
		return Report{}, fmt.Errorf("read bounce: %w", err)
	}
	source := bytes.NewReader(raw)
	block, body, err := message.Split(source, int64(len(raw)))
	if err != nil {
		return Report{}, fmt.Errorf("%w: %w", ErrNoReport, err)
	}
	header := message.ParseHeader(block)
	content := message.NewBody(source, body, int64(len(raw))-body)
	root, _, err := message.ParseStructure(header, content)
	if err != nil {
		return Report{}, fmt.Errorf("read bounce: %w", err)
	}
	part := statusPart(root)
	if part == nil {
		return Report{}, ErrNoReport
	}
	text := decode(raw[body+part.Start:body+part.End], part.Encoding)
	report := parseStatus(text)
	if scope := header.Get(ScopeField); strings.EqualFold(scope, string(ScopeMessage)) {
		report.Scope = ScopeMessage
	}
	if len(report.Recipients) == 0 {
		return report, fmt.Errorf("%w: it names no recipient", ErrNoReport)
	}
	return report, nil
}

// statusPart finds the first part that is a delivery status, whatever it is in: some MTAs
// call the whole multipart/mixed. Its depth is bounded by message.MaxDepth.
func statusPart(p *message.Part) *message.Part {
	if p.Type == "message/delivery-status" || p.Type == "message/global-delivery-status" {
		return p
	}
	for _, child := range p.Parts {
		if found := statusPart(child); found != nil {
			return found
		}
	}
	return nil
}
