package sender

import "unicode/utf8"

// maxPath is the longest address that is sent, in octets: local part 64, domain 255
// (RFC 5321 4.5.3.1). A longer one could make the server give up the connection.
const maxPath = 320

// Refusals that never reach the MTA.
var (
	replyBadRecipient = Reply{553, Enhanced{5, 1, 3}, "the address cannot stand in an SMTP command"}
	replyBadSender    = Reply{553, Enhanced{5, 1, 7}, "the sender's address cannot stand in an SMTP command"}
	replyNoUTF8       = Reply{550, Enhanced{5, 6, 7}, "the MTA does not offer SMTPUTF8, which the address needs"}
)

// plain has the octets that may stand between < and > of a path as they are. Control
// characters and brackets would let an address end the path or the command.
var plain = func() (t [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		t[c] = c != '<' && c != '>'
	}
	return t
}()

// checkPath tells whether s can stand in MAIL or RCPT, and whether it needs SMTPUTF8.
func checkPath(s string) (ok, utf8Needed bool) {
	if len(s) > maxPath {
		return false, false
	}
	for i := 0; i < len(s); i++ {
		if plain[s[i]] {
			continue
		}
		if s[i] < utf8.RuneSelf {
			return false, false
		}
		utf8Needed = true
	}
	if !utf8Needed {
		return true, false
	}
	for _, r := range s {
		// C1 controls and line separators: no address has them, and some reader ends a
		// line there.
		if r == utf8.RuneError || (r >= 0x80 && r < 0xa0) || r == '\u2028' || r == '\u2029' {
			return false, false
		}
	}
	return true, true
}
