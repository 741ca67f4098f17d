// Package mailauth says who vouches for a message, and vouches for messages.
//
// It verifies DKIM signatures (RFC 6376, 8301, 8463) and ARC chains (RFC 8617), evaluates
// DMARC (RFC 9989), reads and writes Authentication-Results (RFC 8601), and signs and
// seals. docs/authentication.md says where the RFCs leave a choice, and what was chosen.
//
// What it promises:
//
//   - Any bytes are judged: nothing panics, and no message costs more than a constant of
//     memory, one pass over its body, and a bounded number of signatures and look-ups.
//   - A line that ends in LF alone counts as one that ends in CRLF, since that is how mlist
//     sends it.
//   - DNS is asked through a [Resolver] alone, so that everything can be tried without the
//     net.
//   - A [Key] signs from many goroutines at once, and the same input gives the same signature.
package mailauth

// Result is a result word of RFC 8601 2.7.
type Result string

// Results. None is for what is not there to be judged.
const (
	None      Result = "none"
	Pass      Result = "pass"
	Fail      Result = "fail"
	Neutral   Result = "neutral"
	Policy    Result = "policy"
	TempError Result = "temperror"
	PermError Result = "permerror"
)

// Limits against hostile messages and records.
const (
	maxSignatures = 10   // of a message that are judged; RFC 6376 6.1 lets a verifier stop
	maxKeys       = 5    // records at one selector that are tried
	maxRecord     = 8192 // octets of a TXT record
	maxTags       = 100  // of one tag list
	maxRSABits    = 8192 // a larger key costs more than it could be worth
	minRSABits    = 1024 // RFC 8301 3.2
)
