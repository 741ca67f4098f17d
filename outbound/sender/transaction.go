package sender

import (
	"io"
	"strconv"
)

// Transaction is one message for some recipients.
type Transaction struct {
	From         string // envelope sender; "" is the null reverse-path
	Recipients   []string
	XVERP        bool // have the MTA add "+user=domain" to From for each recipient, where it is offered
	SMTPUTF8     bool // ask for SMTPUTF8 (RFC 6531), where it is offered
	Body8BitMIME bool // declare 8-bit content (RFC 6152), where that is offered; it is sent as it is anyway
	Content      io.ReaderAt
	Size         int64 // octets of Content
	// Confirm, if there is one, is asked just before the end of the content is sent, which
	// cannot be taken back. An error cuts the connection, so that the MTA keeps nothing.
	Confirm func() error
}

// confirm asks whether the content may be ended.
func (c *Conn) confirm(t *Transaction) error {
	if t.Confirm == nil {
		return nil
	}
	err := t.Confirm()
	if err == nil {
		return nil
	}
	c.broken = true
	c.abort()
	return &Error{Kind: Withheld, Op: "content", MTA: c.cfg.String(), Err: err}
}

// Outcome is what became of a recipient.
type Outcome uint8

// Outcomes.
const (
	// Unsent: the transaction ended before anything was known of the recipient.
	Unsent Outcome = iota
	// Accepted: the MTA has taken the message for this recipient.
	Accepted
	// Deferred: refused for now (4xx).
	Deferred
	// Refused for good (5xx).
	Refused
	// Carried: the transaction was full before it came to this recipient (RFC 5321
	// 4.5.3.1.10). It belongs into the next transaction, at once.
	Carried
)

func (o Outcome) String() string {
	return [...]string{"unsent", "accepted", "deferred", "refused", "carried"}[o]
}

// Recipient is the result for one recipient.
type Recipient struct {
	Outcome Outcome
	// Message tells that the reply was to the sender or the content, not to this
	// recipient: it says nothing of the address.
	Message bool
	Reply   Reply // of the refusal; zero if accepted
}

// Result is what came of a transaction.
type Result struct {
	Recipients []Recipient // in the order of the transaction's; valid until the next Send
	Accepted   int         // how many of them
	Final      Reply       // to the content; zero if it was never sent
}

// prepare fills results with what is known without asking, and batch with everything
// up to DATA. It tells whether anything is left to be sent.
func (c *Conn) prepare(t *Transaction) bool {
	c.results = append(c.results[:0], make([]Recipient, len(t.Recipients))...)
	c.sent = c.sent[:0]
	c.batch = c.batch[:0]
	ok, fromUTF8 := checkPath(t.From)
	if !ok {
		c.all(Refused, replyBadSender)
		return false
	}
	if fromUTF8 && !c.ext.utf8 {
		c.all(Refused, replyNoUTF8)
		return false
	}
	utf8 := (t.SMTPUTF8 || fromUTF8) && c.ext.utf8
	for i, a := range t.Recipients {
		ok, needed := checkPath(a)
		switch {
		case !ok || a == "":
			c.results[i] = Recipient{Outcome: Refused, Reply: replyBadRecipient}
			continue
		case needed && !c.ext.utf8:
			c.results[i] = Recipient{Outcome: Refused, Reply: replyNoUTF8}
			continue
		}
		utf8 = utf8 || needed
		c.sent = append(c.sent, i)
	}
	if len(c.sent) == 0 {
		return false
	}
	c.batch = c.appendEnvelope(c.batch, t, utf8)
	return true
}

// appendEnvelope appends all commands up to DATA, for the recipients that sent names.
func (c *Conn) appendEnvelope(b []byte, t *Transaction, utf8 bool) []byte {
	if c.reset {
		b = append(b, "RSET\r\n"...)
	}
	b = append(b, "MAIL FROM:<"...)
	b = append(b, t.From...)
	b = append(b, '>')
	if c.ext.size && t.Size > 0 {
		b = append(b, " SIZE="...)
		b = strconv.AppendInt(b, t.Size, 10)
	}
	if c.ext.eightBit && (t.Body8BitMIME || utf8) {
		b = append(b, " BODY=8BITMIME"...)
	}
	if utf8 {
		b = append(b, " SMTPUTF8"...)
	}
	if t.XVERP && c.ext.xverp {
		b = append(b, " XVERP=+="...)
	}
	b = append(b, "\r\n"...)
	for _, i := range c.sent {
		b = append(b, "RCPT TO:<"...)
		b = append(b, t.Recipients[i]...)
		b = append(b, ">\r\n"...)
	}
	return append(b, "DATA\r\n"...)
}

// all gives every recipient that is still open, or was to be accepted or carried, the
// same outcome, for a reason that is not theirs.
func (c *Conn) all(o Outcome, r Reply) {
	for i := range c.results {
		switch c.results[i].Outcome {
		case Unsent, Accepted, Carried:
			c.results[i] = Recipient{Outcome: o, Message: true, Reply: r}
		}
	}
}

// count gives the result as it stands.
func (c *Conn) result(final Reply) Result {
	n := 0
	for i := range c.results {
		if c.results[i].Outcome == Accepted {
			n++
		}
	}
	return Result{Recipients: c.results, Accepted: n, Final: final}
}

// undo takes back what RCPT promised, when the content did not follow.
func (c *Conn) undo() {
	for i := range c.results {
		if o := c.results[i].Outcome; o == Accepted || o == Carried {
			c.results[i] = Recipient{}
		}
	}
}
