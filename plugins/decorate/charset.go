package decorate

import (
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
)

// encode writes text in a charset; false if the charset is not known, cannot hold the
// text, or is one in which ASCII looks like something else.
func encode(charset, text string) ([]byte, bool) {
	charset = strings.ToLower(strings.TrimSpace(charset))
	switch charset {
	case "utf-8", "utf8":
		return []byte(text), true
	case "", "us-ascii", "ascii":
		return []byte(text), isASCII(text)
	}
	if isASCII(text) {
		return encodeASCII(charset, text)
	}
	// The strict names: to a browser iso-8859-1 is windows-1252, but what is written
	// here must be what the name says.
	e, err := ianaindex.MIME.Encoding(charset)
	if err != nil || e == nil {
		return nil, false
	}
	if _, ok := encodeWith(e, "\t\n !-~"); !ok {
		return nil, false
	}
	octets, err := e.NewEncoder().Bytes([]byte(text))
	return octets, err == nil
}

// encodeASCII makes sure that the charset has ASCII where ASCII has it (UTF-16 and
// UTF-7 do not).
func encodeASCII(charset, text string) ([]byte, bool) {
	e, err := htmlindex.Get(charset)
	if err != nil {
		e, err = ianaindex.MIME.Encoding(charset)
	}
	if err != nil || e == nil {
		return nil, false
	}
	return encodeWith(e, text)
}

// encodeWith succeeds if e leaves ASCII as it is.
func encodeWith(e encoding.Encoding, ascii string) ([]byte, bool) {
	octets, err := e.NewEncoder().Bytes([]byte(ascii))
	return octets, err == nil && string(octets) == ascii
}

func isASCII[T string | []byte](text T) bool {
	for i := range len(text) {
		if text[i] >= 0x80 {
			return false
		}
	}
	return true
}
