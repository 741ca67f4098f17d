package socketmap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// maxRequest bounds a request: the name of a map, a blank and an address, which SMTP lets
// have 320 octets.
const maxRequest = 1024

// errProtocol says that a peer does not speak the protocol: what it says next means nothing.
var errProtocol = errors.New("not the socketmap protocol")

// read reads one netstring: its length in digits, a colon, the octets, a comma. Between
// two of them io.EOF is the end.
func read(r *bufio.Reader) (string, error) {
	n, digits := 0, 0
	for {
		c, err := r.ReadByte()
		if err != nil {
			if digits > 0 {
				err = unexpected(err)
			}
			return "", err
		}
		if c == ':' && digits > 0 {
			break
		}
		if c < '0' || c > '9' || digits > 0 && n == 0 {
			return "", fmt.Errorf("%w: %q in the length of a request", errProtocol, c)
		}
		n, digits = n*10+int(c-'0'), digits+1
		if n > maxRequest {
			return "", fmt.Errorf("%w: a request of more than %d octets", errProtocol, maxRequest)
		}
	}
	b := make([]byte, n+1)
	if _, err := io.ReadFull(r, b); err != nil {
		return "", unexpected(err)
	}
	if b[n] != ',' {
		return "", fmt.Errorf("%w: %q where a request should end", errProtocol, b[n])
	}
	return string(b[:n]), nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// write writes one netstring.
func write(w io.Writer, s string) error {
	_, err := fmt.Fprintf(w, "%d:%s,", len(s), s)
	return err
}
