package sender

import "bytes"

// dotter turns content into what stands between the 354 and the end of the final
// dot (RFC 5321 4.5.2), block by block.
//
// A bare LF becomes CRLF. A bare CR becomes a space: RFC 5321 2.3.8 forbids to send
// one, and an MTA that took it for the end of a line would see commands where we see
// text (SMTP smuggling). Nothing else is changed; long lines stay long.
type dotter struct {
	inLine bool // something of the current line has been written
	cr     bool // the last octet was a CR that has not been written yet
}

// append appends the encoding of src to dst: at most two octets for each of src, and
// one for a CR that the block before left behind.
func (d *dotter) append(dst, src []byte) []byte {
	// The next CR and LF are looked for only once the last one found is behind us, so
	// that the work stays linear whatever the content.
	cr, lf := -1, -1
	for pos := 0; pos < len(src); {
		if d.cr {
			d.cr = false
			if src[pos] == '\n' {
				dst = append(dst, '\r', '\n')
				d.inLine = false
				pos++
				continue
			}
			dst = append(dst, ' ')
			d.inLine = true
		}
		cr, lf = next(src, pos, cr, '\r'), next(src, pos, lf, '\n')
		end := min(cr, lf)
		if end > pos {
			if !d.inLine && src[pos] == '.' {
				dst = append(dst, '.')
			}
			dst = append(dst, src[pos:end]...)
			d.inLine = true
		}
		switch {
		case end == len(src):
		case end == cr:
			d.cr = true
		default:
			dst = append(dst, '\r', '\n')
			d.inLine = false
		}
		pos = end + 1
	}
	return dst
}

// finish appends the end of the last line, if it has none, and the final dot.
func (d *dotter) finish(dst []byte) []byte {
	if d.cr {
		dst = append(dst, ' ')
		d.inLine = true
	}
	if d.inLine {
		dst = append(dst, '\r', '\n')
	}
	*d = dotter{}
	return append(dst, '.', '\r', '\n')
}

// next returns where c stands in src at or after pos, or len(src); last is the answer
// to the question before.
func next(src []byte, pos, last int, c byte) int {
	if last >= pos {
		return last
	}
	if i := bytes.IndexByte(src[pos:], c); i >= 0 {
		return pos + i
	}
	return len(src)
}
