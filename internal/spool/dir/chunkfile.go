package dir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/spool"
)

// maxChunk bounds a chunk's file: 60,000 recipients of the greatest length.
const maxChunk = 16 << 20

// maxProgress bounds what Progress adds to it: a line for each recipient.
const maxProgress = 1 << 20

// chunkBytes is a chunk's file: header lines, an empty line, a recipient on each line, then
// their display names if there are any. Progress appends a line for each recipient who needs
// to be served no more.
func chunkBytes(c *spool.Chunk) []byte { return appendChunk(nil, c) }

// appendChunk appends what chunkBytes returns.
func appendChunk(to []byte, c *spool.Chunk) []byte {
	return appendLines(to, newHead(chunkKind), c)
}

// Kinds of file that have a chunk.
const (
	chunkKind = "chunk"
	smallKind = "post" // and its content after it: see small.go
)

func appendLines(to []byte, h *head, c *spool.Chunk) []byte {
	h.add("list", c.List)
	h.add("variant", c.Variant)
	h.add("sender", c.Sender)
	h.addFlags(c.Flags)
	h.add("created", c.Created.UTC().Format(timeFormat))
	h.add("reason", c.Reason)
	h.add("return-key", c.ReturnKey)
	h.add("unsubscribe-key", c.UnsubscribeKey)
	for _, s := range c.Slots {
		h.add("slot", fmt.Sprintf("%d %d %s %s", s.Offset, s.Length, s.Field, s.Encoding))
	}
	for _, k := range c.Sign {
		h.add("sign", k.Domain+" "+k.Selector+" "+k.File)
	}
	h.add("recipients", strconv.Itoa(len(c.Recipients)))
	if len(c.Names) > 0 {
		h.add("names", strconv.Itoa(len(c.Names)))
	}
	h.WriteByte('\n')
	to = append(to, h.Bytes()...)
	for _, lines := range [][]string{c.Recipients, c.Names} {
		for _, l := range lines {
			if strings.ContainsAny(l, "\\\n\r") {
				l = escaper.Replace(l)
			}
			to = append(append(to, l...), '\n')
		}
	}
	return to
}

// checkPersonal makes sure that what differs from copy to copy can be read back.
func checkPersonal(c *spool.Chunk) error {
	if len(c.Names) > 0 && len(c.Names) != len(c.Recipients) {
		return fmt.Errorf("%d names for %d recipients", len(c.Names), len(c.Recipients))
	}
	end := int64(0)
	for _, s := range c.Slots {
		if s.Offset < end || s.Length < 0 || len(strings.Fields(s.Field+" "+s.Encoding)) != 2 {
			return fmt.Errorf("slot %+v", s)
		}
		end = s.Offset + s.Length
	}
	for _, k := range c.Sign {
		if len(strings.Fields(k.Domain+" "+k.Selector)) != 2 || k.File == "" {
			return fmt.Errorf("key to sign with: %+v", k)
		}
	}
	return nil
}

// progressLine notes the recipient of a number. The full stop tells a whole line from one
// that was cut short, which says nothing.
func progressLine(i int) []byte { return fmt.Appendf(nil, "done %d.\n", i) }

// done reads the number in a line of progress; ok is false for one that says nothing.
func done(line string, count int) (i int, ok bool) {
	number, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "done ")
	if !ok {
		return 0, false
	}
	if number, ok = strings.CutSuffix(number, "."); !ok {
		return 0, false
	}
	i, err := strconv.Atoi(number)
	return i, err == nil && i >= 0 && i < count
}

// parseChunk reads a chunk's file; what its name tells is left to the caller. index has the
// number in the file of each recipient, if some are served already; else it is nil.
func parseChunk(data []byte) (c *spool.Chunk, index []int, err error) {
	c, index, _, err = parseChunkOf(chunkKind, data)
	return c, index, err
}

// parseChunkOf reads a file of this kind, and tells how many octets of content are at its end.
func parseChunkOf(kind string, data []byte) (c *spool.Chunk, index []int, content int, err error) {
	lines, rest, ok := bytes.Cut(data, []byte("\n\n"))
	if !ok {
		return nil, nil, 0, damaged("the header has no end")
	}
	c = &spool.Chunk{}
	count, names := -1, 0
	err = parseHead(kind, append(lines[:len(lines):len(lines)], '\n'), func(key, value string) (err error) {
		switch key {
		case "content":
			content, err = strconv.Atoi(value)
		case "list":
			c.List = unescape(value)
		case "variant":
			c.Variant = unescape(value)
		case "sender":
			c.Sender = unescape(value)
		case "flags":
			c.Flags = readFlags(value)
		case "created":
			c.Created, err = time.Parse(timeFormat, value)
		case "reason":
			c.Reason = unescape(value)
		case "recipients":
			count, err = strconv.Atoi(value)
		case "names":
			names, err = strconv.Atoi(value)
		case "return-key":
			c.ReturnKey = unescape(value)
		case "unsubscribe-key":
			c.UnsubscribeKey = unescape(value)
		case "slot":
			var s spool.Slot
			_, err = fmt.Sscanf(value, "%d %d %s %s", &s.Offset, &s.Length, &s.Field, &s.Encoding)
			c.Slots = append(c.Slots, s)
		case "sign":
			words := strings.SplitN(unescape(value), " ", 3)
			if len(words) < 3 {
				return errors.New("want domain, selector and file")
			}
			c.Sign = append(c.Sign, spool.SignKey{Domain: words[0], Selector: words[1], File: words[2]})
		}
		return err
	})
	if err != nil {
		return nil, nil, 0, err
	}
	if content < 0 || content > len(rest) || content > 0 && kind != smallKind {
		return nil, nil, 0, damaged("a content of %d octets in %d", content, len(rest))
	}
	served, err := readRecipients(c, string(rest[:len(rest)-content]), count, names)
	if err == nil {
		err = checkVariant(c.Variant)
	}
	if err == nil {
		err = checkPersonal(c)
	}
	if err != nil {
		return nil, nil, 0, damaged("%v", err)
	}
	if len(served) > 0 {
		index = leaveOut(c, served)
	}
	return c, index, content, nil
}

// readRecipients reads what follows the header of a chunk, and tells who is served already.
func readRecipients(c *spool.Chunk, rest string, count, names int) (served []bool, err error) {
	c.Recipients = make([]string, 0, min(max(count, 0), strings.Count(rest, "\n")))
	unescape := unescape
	if !strings.Contains(rest, `\`) { // asked once, and not of each line
		unescape = func(s string) string { return s }
	}
	for line := range strings.Lines(rest) {
		text, whole := strings.CutSuffix(line, "\n")
		switch {
		case len(c.Recipients) < count && !whole:
			return nil, errors.New("the last recipient is cut")
		case len(c.Recipients) < count:
			c.Recipients = append(c.Recipients, unescape(text))
		case len(c.Names) < names && !whole:
			return nil, errors.New("the last name is cut")
		case len(c.Names) < names:
			c.Names = append(c.Names, unescape(text))
		default:
			if i, ok := done(line, count); ok && whole {
				if served == nil {
					served = make([]bool, count)
				}
				served[i] = true
			} else if !progress(text) {
				return nil, fmt.Errorf("%d recipients and %d names, and more after them", count, names)
			}
		}
	}
	if len(c.Recipients) != count || len(c.Names) != names {
		return nil, fmt.Errorf("%d recipients and %d names, want %d and %d", len(c.Recipients), len(c.Names), count, names)
	}
	return served, nil
}

// progress tells whether text may be what a line of progress became that was cut short, by a
// full disk or, as zeros, by a power cut.
func progress(text string) bool {
	return strings.Contains(text, "\x00") || strings.HasPrefix("done ", text) || strings.HasPrefix(text, "done ")
}

// leaveOut takes those who are served out of a chunk.
func leaveOut(c *spool.Chunk, served []bool) (index []int) {
	index = make([]int, 0, len(c.Recipients))
	for i, r := range c.Recipients {
		if served[i] {
			continue
		}
		c.Recipients[len(index)] = r
		if len(c.Names) > 0 {
			c.Names[len(index)] = c.Names[i]
		}
		index = append(index, i)
	}
	c.Recipients = c.Recipients[:len(index)]
	if len(c.Names) > 0 {
		c.Names = c.Names[:len(index)]
	}
	return index
}

// loadChunk reads a chunk of a post.
func (s *Spool) loadChunk(post entryName, file chunkFile) (c *spool.Chunk, index []int, err error) {
	path := s.chunkPath(post, file.String())
	if file.small {
		path = s.postPath(post)
	}
	f, info, err := s.fs.openRegular(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	return s.readChunk(f, info.Size(), post, file)
}

// readChunk reads a chunk of a post from a file of so many octets.
func (s *Spool) readChunk(f io.ReaderAt, length int64, post entryName, file chunkFile) (c *spool.Chunk, index []int, err error) {
	from, size := file.from, length-file.from
	if file.to > 0 {
		size = file.to - file.from
	}
	switch {
	case size < 0 || from+size > length:
		return nil, nil, damaged("a chunk up to octet %d of a file of %d", file.to, length)
	case size > maxChunk+maxProgress:
		return nil, nil, damaged("a chunk of %d bytes", size)
	}
	buf, _ := s.reads.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	defer s.reads.Put(buf)
	data := slices.Grow((*buf)[:0], int(size))[:size]
	if *buf = data; size > 1<<20 {
		*buf = nil // few are as large
	}
	if _, err := io.ReadFull(io.NewSectionReader(f, from, size), data); err != nil {
		return nil, nil, err
	}
	kind := chunkKind
	if file.small {
		kind = smallKind
	}
	if c, index, _, err = parseChunkOf(kind, data); err != nil {
		return nil, nil, err
	}
	c.Post, c.Name, c.Key = post.id, file.name, file.key
	c.Tries, c.Due = file.tries, file.dueTime()
	return c, index, nil
}
