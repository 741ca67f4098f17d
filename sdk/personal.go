package sdk

import (
	"errors"
	"fmt"
	"strings"
)

// Field is something of the member that a copy is for.
type Field string

// Fields.
const (
	FieldAddress       Field = "address"         // where the copy goes
	FieldName          Field = "name"            // the member's display name; may be empty
	FieldNameOrAddress Field = "name_or_address" // the name, or without one the address
	FieldReturnPath    Field = "return_path"     // the address that bounces of the copy come to

	// FieldUnsubscribe is a token that lets who has it take the copy's address off the list,
	// of letters, digits, '-' and '_': `mlist member remove --token` takes it.
	FieldUnsubscribe Field = "unsubscribe_token"
)

// Encoding says how a field is written where its placeholder stands.
type Encoding string

// Encodings.
const (
	EncodeASCII   Encoding = "ascii"    // text; what is not ASCII becomes '?'
	EncodeUTF8    Encoding = "utf8"     // text, where that may stand
	EncodeQP      Encoding = "qp"       // UTF-8 in quoted-printable (RFC 2045 6.7)
	EncodeQPASCII Encoding = "qp-ascii" // ASCII in quoted-printable, for texts in another charset
	EncodeURL     Encoding = "url"      // a part of a URL, percent-encoded
	EncodeHTML    Encoding = "html"     // text in HTML; what is not ASCII becomes a character reference
	EncodeWord    Encoding = "word"     // a phrase in a header field (RFC 5322 3.2.5, RFC 2047)
)

// codes are what a placeholder says of its field and its encoding.
var (
	fieldCodes    = map[Field]byte{FieldAddress: 'a', FieldName: 'n', FieldNameOrAddress: 'o', FieldReturnPath: 'r', FieldUnsubscribe: 't'}
	encodingCodes = map[Encoding]byte{EncodeASCII: 'a', EncodeUTF8: 'u', EncodeQP: 'q', EncodeQPASCII: 'p', EncodeURL: 'l', EncodeHTML: 'h', EncodeWord: 'w'}
)

// Placeholder is what stands for a field in a post with this mark. It consists of letters and
// digits, so that no encoding of text changes it but base64. No mail can hold one that was
// not put there by a handler, as nobody knows the mark before.
func Placeholder(mark string, f Field, e Encoding) (string, error) {
	a, b := fieldCodes[f], encodingCodes[e]
	if a == 0 || b == 0 {
		return "", fmt.Errorf("there is no field %q in encoding %q", f, e)
	}
	return mark + string([]byte{a, b}), nil
}

// PlaceholderCodes is how many octets a placeholder has behind the mark.
const PlaceholderCodes = 2

// ReadPlaceholder is the reverse of Placeholder, for what stands behind the mark.
func ReadPlaceholder(codes string) (Field, Encoding, error) {
	if len(codes) == PlaceholderCodes {
		for f, a := range fieldCodes {
			for e, b := range encodingCodes {
				if codes == string([]byte{a, b}) {
					return f, e, nil
				}
			}
		}
	}
	return "", "", fmt.Errorf("a placeholder that ends in %q", codes)
}

// IsPersonal tells whether each member gets a copy of their own of this post, as the list's
// setting personalize wants it.
func (p *Post) IsPersonal() bool { return p.services != nil && p.services.mark != "" }

// Personal returns a placeholder that a handler may put into a field's value or into what it
// adds to the body, as often as it likes. In each member's copy their own text stands there.
// A body part in base64 cannot hold one. It is an error to ask where IsPersonal is false; a
// stage that calls it has Stage.Personal set.
func (p *Post) Personal(f Field, e Encoding) (string, error) {
	if err := p.services.may(CapPersonal, "Personal"); err != nil {
		return "", fmt.Errorf("personal: %w", err)
	}
	if !p.IsPersonal() {
		return "", errors.New("personal: all members get the same copy of this post")
	}
	return Placeholder(p.services.mark, f, e)
}

// CheckMark refuses what cannot be a mark.
func CheckMark(s string) error {
	if len(s) < 8 || len(s) > 32 || strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
		return fmt.Errorf("mark %.40q: want 8 to 32 lower-case letters and digits", s)
	}
	return nil
}
