package milter

import (
	"fmt"
	"strings"
	"unicode"

	gomilter "github.com/emersion/go-milter"
	"golang.org/x/text/unicode/norm"
)

// maxReply is how much of a reason goes into a reply: an SMTP reply line has at most 512
// octets (RFC 5321 4.5.3.1.5).
const maxReply = 400

// refuse is a reply of ours to the SMTP client. It is never one of the library's simple
// responses: those make it forget the session, and RespAccept at RCPT would wave through
// the recipients that come after.
func refuse(code int, enhanced, text string) gomilter.Response {
	return gomilter.NewResponseStr(byte(gomilter.ActReplyCode), fmt.Sprintf("%d %s %s", code, enhanced, line(text)))
}

// verdictOf tells what a response means to the SMTP client.
func verdictOf(r gomilter.Response) string {
	switch m := r.Response(); {
	case m.Code != byte(gomilter.ActReplyCode) || len(m.Data) == 0:
		return "pass"
	case m.Data[0] == '4':
		return "tempfail"
	}
	return "reject"
}

// letters are those that have no simple letter within them.
var letters = strings.NewReplacer("ß", "ss", "æ", "ae", "œ", "oe", "ø", "o", "ł", "l", "„", `"`, "“", `"`, "”", `"`, "«", `"`, "»", `"`, "’", "'", "…", "...", "\u00a0", " ")

// line makes one line of printable ASCII of a text; letters lose their marks. The milter protocol takes % for the
// start of something, so it is doubled.
func line(text string) string {
	var b strings.Builder
	for _, r := range norm.NFD.String(letters.Replace(text)) {
		if b.Len() >= maxReply {
			break
		}
		switch {
		case r == '%':
			b.WriteString("%%")
		case r == '\n', r == '\r', r == '\t':
			b.WriteByte(' ')
		case unicode.Is(unicode.Mn, r):
		case r < ' ' || r > '~':
			b.WriteByte('?')
		default:
			b.WriteRune(r)
		}
	}
	if b.Len() == 0 {
		return "refused"
	}
	return b.String()
}
