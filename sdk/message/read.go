package message

import "io"

// Split finds the end of a message's header block: block is without the empty line
// (but with the line end of its last field), body is the offset of the body. A block
// over MaxHeader is an error. A message that starts with a line that is no field has
// no header; one without an empty line has no body.
func Split(r io.ReaderAt, size int64) (block []byte, body int64, err error) { panic("TODO") }

// Part is a MIME part: where it lies in the body, and what it says it is.
type Part struct {
	Header   *Header // of the message itself for the root
	Type     string  // lower case, such as "multipart/signed"; text/plain if not said
	Params   map[string]string
	Encoding string // content-transfer-encoding, lower case; "7bit" if not said
	// Disposition is "inline", "attachment" or "".
	Disposition string
	Boundary    string // of a multipart
	// Start and End are offsets into the message's Body: of the part's own body, without
	// the line end that belongs to the boundary after it.
	Start, End int64
	Parts      []*Part
}

// ParseStructure reads the MIME structure. It always returns a usable root; defects
// tell what is wrong (missing boundary, nesting over MaxDepth, ...).
func ParseStructure(h *Header, b *Body) (root *Part, defects []string, err error) { panic("TODO") }

// Protected tells whether the part or anything in it is signed or encrypted
// (multipart/signed, multipart/encrypted, application/pkcs7-mime, inline PGP in text):
// bytes that may not change.
func (p *Part) Protected(b *Body) bool { panic("TODO") }

// Mailbox is one address in a header field.
type Mailbox struct {
	Name    string // decoded
	Address string // local@domain as written
}

// String returns the mailbox for a header field, its name quoted or encoded as needed.
func (m Mailbox) String() string { panic("TODO") }

// ParseMailboxes reads an address field's value as tolerantly as it can: groups are
// flattened, junk is skipped, and what looks like an address is found.
func ParseMailboxes(value string) []Mailbox { panic("TODO") }

// EncodePhrase encodes text for the display name of an address (RFC 2047 section 5 (3)).
func EncodePhrase(text string) string { panic("TODO") }

// EncodeText encodes unstructured text that is not ASCII (RFC 2047 section 5 (1)).
func EncodeText(text string) string { panic("TODO") }

// DecodeText decodes RFC 2047 encoded words, in any charset known, to UTF-8; words it
// cannot decode stay as they are.
func DecodeText(value string) string { panic("TODO") }
