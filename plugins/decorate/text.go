package decorate

import (
	"bytes"
	"strings"
)

// joinText makes header and footer part of a plain text. It changes nothing and
// returns false if the text cannot take them.
func (e *editor) joinText() (bool, error) {
	charset := e.root.Params["charset"]
	_, okBefore := encode(charset, e.before)
	_, okAfter := encode(charset, e.after)
	if !okBefore || !okAfter {
		return false, nil
	}
	switch e.root.Encoding {
	case "7bit", "8bit", "binary":
		if longLine(e.before) || longLine(e.after) {
			return false, nil
		}
		return true, e.joinPlain(charset)
	case "quoted-printable":
		return true, e.joinQuoted(charset)
	case "base64":
		if len(e.own) > 0 {
			return false, nil // nobody would find the placeholders in it
		}
		return e.joinBase64(charset)
	}
	return false, nil
}

func longLine(text string) bool {
	for line := range strings.SplitSeq(text, "\n") {
		if len(line) > maxPlainLine {
			return true
		}
	}
	return false
}

// write encodes what encode has accepted before, with the text's line ends, and
// stuffed if the text is format=flowed.
func (e *editor) write(charset, text, eol string) []byte {
	if e.flowed() {
		text = stuff(text)
	}
	octets, _ := encode(charset, strings.ReplaceAll(text, "\n", eol))
	return octets
}

func (e *editor) flowed() bool {
	return strings.EqualFold(e.root.Params["format"], "flowed")
}

// stuff makes every line fixed and protects its start (RFC 3676 4.2 and 4.4).
func stuff(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line != "-- " { // the signature line is fixed as it is (4.3)
			line = strings.TrimRight(line, " ")
		}
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, ">") || strings.HasPrefix(line, "From ") {
			line = " " + line
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// gap is what must stand between a text that ends in tail and the footer, so that the
// footer starts a line of its own.
func (e *editor) gap(tail []byte, eol string) string {
	gap := ""
	line, ended := bytes.CutSuffix(tail, []byte("\n"))
	if !ended && len(tail) > 0 {
		gap = eol
	}
	line = bytes.TrimSuffix(line, []byte("\r"))
	line = line[bytes.LastIndexByte(line, '\n')+1:]
	// A flowed line that waits for more gets an empty one, or it would swallow ours.
	if e.flowed() && bytes.HasSuffix(line, []byte(" ")) && string(line) != "-- " {
		gap += eol
	}
	return gap
}
