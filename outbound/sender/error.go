package sender

import (
	"errors"
	"strings"
)

// Kind tells errors apart by what follows from them.
type Kind uint8

// Kinds of errors.
const (
	// Unavailable: the MTA serves nobody, or not us, for now: it could not be reached,
	// refused the greeting, TLS or AUTH, or said 421. It says nothing of any
	// recipient or message.
	Unavailable Kind = iota + 1
	// Lost: the connection ended, fell silent or stopped making sense inside a
	// transaction, before the final dot. Nothing was accepted.
	Lost
	// Unknown: the content was sent whole, but the reply to it did not come. The MTA may
	// have taken the message or not.
	Unknown
	// Content: the content could not be read on our side. Nothing was accepted.
	Content
	// Withheld: Transaction.Confirm did not want it to be sent. Nothing was accepted.
	Withheld
)

// Error is why a connection could not be made or a transaction not be finished. The
// connection is no longer usable.
type Error struct {
	Kind  Kind
	Op    string // connect, greeting, EHLO, STARTTLS, AUTH, RSET, MAIL, RCPT, DATA, content, final dot
	MTA   string
	Reply Reply // zero when it was not a reply
	Err   error // nil when it was a reply
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	b.WriteString(" at ")
	b.WriteString(e.MTA)
	b.WriteString(": ")
	if e.Err != nil {
		b.WriteString(e.Err.Error())
	} else {
		b.WriteString(e.Reply.String())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Untouched tells whether the MTA gave no reply to the transaction at all, or 421 at
// once. On a connection that was idle before, that means only that the MTA had closed
// it meanwhile.
func (e *Error) Untouched() bool {
	return (e.Op == "MAIL" || e.Op == "RSET") && (e.Kind == Lost || e.Kind == Unavailable) &&
		(e.Reply.Code == 0 || e.Reply.Code == 421) && !errors.Is(e.Err, errReply)
}
