package lmtpd

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/emersion/go-smtp"
)

// Everything that the library is given back is a *smtp.SMTPError: of any other error it
// would make a permanent refusal that shows the error's text to the peer.
func reply(code, class, subject, detail int, format string, args ...any) *smtp.SMTPError {
	return &smtp.SMTPError{
		Code:         code,
		EnhancedCode: smtp.EnhancedCode{class, subject, detail},
		Message:      fmt.Sprintf(format, args...),
	}
}

// codeOf is the code of such an error.
func codeOf(err error) int {
	var r *smtp.SMTPError
	if errors.As(err, &r) {
		return r.Code
	}
	return 554 // what the library makes of another
}

// ascii is a text for people as it may stand in a reply.
func ascii(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}

// The texts of 5xx replies end up in bounces that people read.
var (
	replyLookup   = reply(451, 4, 3, 0, "cannot look up the list now, try again later")
	replySpool    = reply(451, 4, 3, 0, "cannot keep the message now, try again later")
	replyFull     = reply(452, 4, 3, 1, "no space to keep the message now, try again later")
	replyBroken   = reply(451, 4, 4, 2, "connection lost or too slow in the middle of the message")
	replyNested   = reply(503, 5, 5, 1, "a transaction is open already")
	replyNoBDAT   = reply(502, 5, 5, 1, "BDAT is not offered, use DATA")
	replyNewline  = reply(554, 5, 6, 0, "the message has a bare CR or LF (RFC 5321 2.3.8)")
	replyLongLine = reply(554, 5, 6, 0, "the message has a line of more than %d octets", maxDataLine)
)

func replyTooBig(limit int64) *smtp.SMTPError {
	return reply(552, 5, 3, 4, "the message is larger than %d octets", limit)
}

func replyHeaderTooBig(limit int64) *smtp.SMTPError {
	return reply(554, 5, 6, 0, "the message's header block is larger than %d octets", limit)
}

// kept is a reply too: the only one with a 250.
func replyKept(id string) *smtp.SMTPError {
	return reply(250, 2, 0, 0, "kept as %s", id)
}

// replyStorage turns a spool's error into a reply: always temporary.
func replyStorage(err error) *smtp.SMTPError {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return replyFull
	}
	return replySpool
}

// replyRead turns what ended the reading of a message into a reply.
func replyRead(err error) *smtp.SMTPError {
	switch {
	case errors.Is(err, errBareNewline):
		return replyNewline
	case errors.Is(err, errLongLine):
		return replyLongLine
	}
	return replyBroken
}
