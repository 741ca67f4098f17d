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
	if plainWords(s) {
		return true, false
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

// plainWords tells that all octets of s are plain, for nearly all addresses at a fraction of
// the cost of looking at each: eight at once, the last eight of them perhaps a second time. A
// subtraction that has to borrow sets the high bit of the first octet for which it does. It
// says no as well to what is shorter.
func plainWords(s string) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	if len(s) < 8 {
		return false
	}
	odd := uint64(0)
	for i := 0; ; i = min(i+8, len(s)-8) {
		t := s[i : i+8]
		w := uint64(t[0]) | uint64(t[1])<<8 | uint64(t[2])<<16 | uint64(t[3])<<24 |
			uint64(t[4])<<32 | uint64(t[5])<<40 | uint64(t[6])<<48 | uint64(t[7])<<56
		brackets := (w | ones*2) ^ ones*'>' // '<' differs in this bit alone
		del := w ^ ones*0x7f
		odd |= w | (w-ones*' ')&^w | (brackets-ones)&^brackets | (del-ones)&^del
		if i == len(s)-8 {
			return odd&highs == 0
		}
	}
}
