package bounce

import "strings"

var (
	headerLine = pattern(`^[A-Za-z][A-Za-z0-9-]*:([^/]|$)`)
	// returnedLine is a line that says that the message, or its header, follows.
	returnedLine = pattern(`(?i)^[ \t]*(` +
		`[-=_*+|>#]{2,}.*\b(original|returned|unsent|undelivered|bounced) ((e-?)?mail )?message\b|` +
		`[-=_*+|>#]{2,}.*\b(message header|message text|returned mail|original mail|mail header|header of|headers of|copy of|message body|message content|begin message|start of message|returned content)|` +
		`[-=_*+|>#]{2,} *(message|header|headers|original)( follows)?[ :.]*[-=_*+|>#]{2,}|` +
		`[-=_*+|>#]{2,}.*(ursprüngliche|originalnachricht|message d.origine|message original|mensaje original|messaggio originale|mensagem original|oorspronkelijk|исходное|原始邮件|原邮件|元のメッセージ|原メール)|` +
		`.*\b(original|returned|unsent) message( is| headers?)?( follows| attached| below)[ :.]*$|` +
		`((below this line|below|the following|following|this|here|attached|enclosed|appended)( is| are)? )?((an?|the|initial|first) )*(copy|headers?|contents?|text|part|beginning) of (your|the) ((original|returned|undelivered) )?(e-?mail|message)( \(.*\))?([ ,](follows|is attached|is included|is below|including.*|below))?[ :.]*$|` +
		`message headers? follows?[ :.]*$|` +
		`.*(below|following) (this line )?is (a|the) copy of|` +
		`(original|returned) (message|mail|headers?)[ :.]*$)`)
)

// cutReturned divides a text where the message that comes back begins.
func cutReturned(text string) (said, returned string) {
	at, headers, start := 0, 0, 0
	returnedSeen := false
	for line := range strings.Lines(text) {
		bare := strings.TrimRight(line, "\n")
		if returnedLine().MatchString(bare) && !statusStart().MatchString(bare) {
			return text[:at], text[at+len(line):]
		}
		inner := strings.TrimLeft(bare, ">|")
		if inner != bare { // quoted
			inner = strings.TrimPrefix(inner, " ")
		}
		switch {
		case headerLine().MatchString(inner):
			if headers == 0 {
				start, returnedSeen = at, false
			}
			headers++
			name, _, _ := strings.Cut(strings.ToLower(inner), ":")
			switch name {
			case "received", "message-id", "return-path", "mime-version", "dkim-signature", "x-mailer", "content-type":
				returnedSeen = true
			}
			if headers >= 3 && returnedSeen {
				return text[:start], text[start:]
			}
		case headers > 0 && bare != "" && (bare[0] == ' ' || bare[0] == '\t'):
			// the fold of a field
		default:
			headers = 0
		}
		at += len(line)
	}
	return text, ""
}
