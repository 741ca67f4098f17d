package message

import (
	"fmt"
	"strings"
)

// Part is a MIME part: where it lies in the body, and what it says it is.
type Part struct {
	Header   *Header // of the message itself for the root
	Type     string  // lower case, such as "multipart/signed"; text/plain if not said
	Params   map[string]string
	Encoding string // content-transfer-encoding, lower case; "7bit" if not said
	// Disposition is "inline", "attachment" or "".
	Disposition string
	Boundary    string // of a multipart
	// Delimiter is where the delimiter line before a part of a multipart starts, and Head
	// where its header does, into the message's Body; -1 for the root.
	Delimiter, Head int64
	// Start and End are offsets into the message's Body: of the part's own body, without
	// the line end that belongs to the boundary after it.
	Start, End int64
	// Open and Close are where a multipart's first delimiter line and its close
	// delimiter line start; -1 if it has none.
	Open, Close int64
	Parts       []*Part
}

// Limits of the search for parts, in octets.
const (
	windowSize     = 64 << 10
	maxBoundary    = 512      // RFC 2046 allows 70
	maxPartHeader  = 64 << 10 // of one part
	maxPartHeaders = 1 << 20  // of all parts: three octets make a field of twenty times that
	lookAhead      = 2 * maxBoundary
)

// ParseStructure reads the MIME structure. It always returns a usable root; defects
// tell what is wrong (missing boundary, nesting over MaxDepth, ...). It reads a body
// that is no multipart not at all, any other once, and holds a window of it at a time.
// Messages within the message are leaves (ParseEmbedded reads them). The error is one of
// reading the body.
func ParseStructure(h *Header, b *Body) (root *Part, defects []Defect, err error) {
	return parseStructure(h, b, 0, b.Size())
}

// parseStructure reads the structure of the message whose body lies from start to end in b.
func parseStructure(h *Header, b *Body, start, end int64) (root *Part, defects []Defect, err error) {
	w := walker{window: window{body: b, start: start, end: end}, headers: maxPartHeaders}
	root = w.newPart(h, start, "text/plain")
	w.open(root)
	if len(w.stack) > 0 {
		err = w.run(start)
	}
	root.finish(end)
	for _, m := range w.stack {
		w.missing(m)
	}
	if err != nil {
		err = fmt.Errorf("read MIME structure: %w", err)
	}
	return root, w.defects, err
}

// walker goes from delimiter line to delimiter line.
type walker struct {
	window
	stack   []*Part // the multiparts that are open, the outermost first
	parts   int
	headers int // octets left of maxPartHeaders
	defects []Defect
}

func (w *walker) defect(code string, at int64, format string, args ...any) {
	const most = 20 // a hostile message has as many as it likes
	if len(w.defects) < most {
		w.defects = append(w.defects, Defect{Code: code, Text: fmt.Sprintf(format, args...), Offset: at})
	}
}

func (w *walker) missing(m *Part) {
	if m.Open < 0 {
		w.defect("boundary-not-found", m.Start, "multipart without a line that is its boundary")
	} else {
		w.defect("no-close-delimiter", m.Start, "multipart without a close delimiter")
	}
}

// newPart makes a part whose body starts at start and ends nobody knows where yet.
func (w *walker) newPart(h *Header, start int64, otherwise string) *Part {
	w.parts++
	p := &Part{Header: h, Start: start, End: -1, Open: -1, Close: -1, Delimiter: -1, Head: -1, Encoding: "7bit"}
	p.Type, p.Params = parseMedia(h.Get("Content-Type"), otherwise)
	p.Disposition = disposition(h.Get("Content-Disposition"))
	if e, _ := token2045(h.Get("Content-Transfer-Encoding")); e != "" {
		p.Encoding = strings.ToLower(e)
	}
	if strings.HasPrefix(p.Type, "multipart/") {
		p.Boundary = strings.TrimRight(p.Params["boundary"], " \t\r\n")
	}
	return p
}

// open puts a multipart on the stack, if it can be one.
func (w *walker) open(p *Part) {
	if !strings.HasPrefix(p.Type, "multipart/") {
		return
	}
	switch {
	case p.Boundary == "":
		w.defect("no-boundary", p.Start, "multipart that names no boundary")
	case len(p.Boundary) > maxBoundary || strings.ContainsAny(p.Boundary, "\r\n"):
		w.defect("impossible-boundary", p.Start, "multipart with a boundary that cannot be one")
	case len(w.stack) == MaxDepth:
		w.defect("nested-too-deep", p.Start, "multiparts nested deeper than %d, not looked into", MaxDepth)
	default:
		for _, outer := range w.stack {
			if outer.Boundary == p.Boundary {
				w.defect("duplicate-boundary", p.Start, "multipart with the boundary of one around it")
			}
		}
		w.stack = append(w.stack, p)
	}
	if p.Encoding != "7bit" && p.Encoding != "8bit" && p.Encoding != "binary" {
		w.defect("encoded-multipart", p.Start, "multipart encoded as %.40q", p.Encoding)
	}
}

// finish sets the end of p, and of what is last in it, where it is not known yet.
func (p *Part) finish(end int64) {
	for p.End < 0 {
		p.Start, p.End = min(p.Start, end), end // a part may be nothing but its header
		if len(p.Parts) == 0 {
			return
		}
		p = p.Parts[len(p.Parts)-1]
	}
}

func (w *walker) run(start int64) error {
	for pos := start; len(w.stack) > 0; {
		d, err := w.next(pos)
		if err != nil || d.level < 0 {
			return err
		}
		if pos, err = w.delimiter(d); err != nil {
			return err
		}
	}
	return nil
}

// delimiter ends what d ends, starts the part it starts, and returns where to go on.
func (w *walker) delimiter(d delimiter) (int64, error) {
	m := w.stack[d.level]
	for _, inner := range w.stack[d.level+1:] {
		w.missing(inner)
	}
	w.stack = w.stack[:d.level+1]
	if m.Open < 0 && !d.close {
		m.Open = d.line
	}
	if len(m.Parts) > 0 {
		m.Parts[len(m.Parts)-1].finish(d.before)
	}
	if d.close {
		m.Close = d.line
		w.stack = w.stack[:d.level]
		return d.after, nil
	}
	if w.parts >= MaxParts {
		if w.parts == MaxParts {
			w.parts++
			w.defect("too-many-parts", d.line, "more than %d parts, the others not looked at", MaxParts)
		}
		return d.after, nil
	}
	return w.part(m, d)
}
