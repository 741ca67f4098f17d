package lmtpd

import (
	"bytes"
	"io"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mlist/mlist/sdk/message"
)

// intake writes a message to a draft as it comes, counts it, and keeps a copy of its
// header block until that is complete.
type intake struct {
	draft io.Writer
	cfg   *Config
	size  int64
	head  []byte // the message's start, until headEnd
	done  bool   // head holds all of the header block
	bare  bool   // the message has no header block: its first line is no field
}

// take adds octets. A refusal may have a cause that is not for the peer.
func (in *intake) take(p []byte) (*smtp.SMTPError, error) {
	if in.size += int64(len(p)); in.size > in.cfg.MaxMessageSize {
		return replyTooBig(in.cfg.MaxMessageSize), nil
	}
	if !in.done && !in.scan(p) {
		return replyHeaderTooBig(in.cfg.MaxHeaderSize), nil
	}
	if len(p) == 0 {
		return nil, nil
	}
	if _, err := in.draft.Write(p); err != nil {
		return replyStorage(err), err
	}
	return nil, nil
}

// blank is what ends a header block: lines end in CRLF by now.
var blank = []byte("\r\n\r\n")

// scan looks for the end of the header block, and tells whether that is within the
// limit. The limit and an empty line are all that is looked at. Text without a header
// block is not over it.
func (in *intake) scan(p []byte) bool {
	from := max(0, len(in.head)-len(blank)+1)
	room := int(in.cfg.MaxHeaderSize) + len(blank) - len(in.head)
	in.head = append(in.head, p[:min(len(p), room)]...)
	if i := bytes.Index(in.head[from:], blank); i >= 0 {
		in.head, in.done = in.head[:from+i+2], true
	} else if bytes.HasPrefix(in.head, blank[:2]) {
		in.head, in.done = in.head[:0], true
	} else if len(p) >= room {
		in.bare = !startsWithField(in.head)
		in.done = true
		if in.bare {
			in.head = nil
		}
	}
	return int64(len(in.head)) <= in.cfg.MaxHeaderSize || !startsWithField(in.head)
}

// end is called when the whole message was taken: one that has no empty line is all
// header block.
func (in *intake) end() *smtp.SMTPError {
	if in.done {
		return nil
	}
	in.done, in.bare = true, !startsWithField(in.head)
	if !in.bare && int64(len(in.head)) > in.cfg.MaxHeaderSize {
		return replyHeaderTooBig(in.cfg.MaxHeaderSize)
	}
	return nil
}

// malformed tells whether the header block has defects.
func (in *intake) malformed() bool {
	return in.bare || Malformed(in.head)
}

// Malformed tells whether a header block has defects.
func Malformed(block []byte) bool {
	return !startsWithField(block) || len(message.ParseHeader(block).Defects()) > 0
}

// messageID is what the message calls itself, "" if it does not.
func (in *intake) messageID() string {
	if in.bare {
		return ""
	}
	value := message.ParseHeader(in.head).Get("Message-ID")
	if _, after, ok := strings.Cut(value, "<"); ok { // comments may stand around it
		if id, _, ok := strings.Cut(after, ">"); ok {
			return "<" + id + ">"
		}
	}
	return value
}

// startsWithField tells whether the first line has the form of a header field
// (RFC 5322 2.2), white space before the colon allowed. An mbox "From " line may stand
// above it, as message.Split has it.
func startsWithField(p []byte) bool {
	line, rest, _ := bytes.Cut(p, []byte("\r\n"))
	if bytes.HasPrefix(line, []byte("From ")) || bytes.HasPrefix(line, []byte(">From ")) {
		line, _, _ = bytes.Cut(rest, []byte("\r\n"))
	}
	name, _, ok := bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	return ok && len(name) > 0 && !bytes.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}
