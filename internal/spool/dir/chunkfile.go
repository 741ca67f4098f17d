package dir

import (
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/spool"
)

// maxChunk bounds a chunk's file: 60,000 recipients of the greatest length.
const maxChunk = 16 << 20

// chunkBytes is a chunk's file: header lines, an empty line, a recipient on each line.
func chunkBytes(c *spool.Chunk) []byte {
	h := newHead("chunk")
	h.add("list", c.List)
	h.add("variant", c.Variant)
	h.add("sender", c.Sender)
	h.addFlags(c.Flags)
	h.add("created", c.Created.UTC().Format(timeFormat))
	h.add("reason", c.Reason)
	h.add("recipients", strconv.Itoa(len(c.Recipients)))
	h.WriteByte('\n')
	for _, r := range c.Recipients {
		h.WriteString(escaper.Replace(r))
		h.WriteByte('\n')
	}
	return h.Bytes()
}

// parseChunk reads a chunk's file; what its name tells is left to the caller.
func parseChunk(data []byte) (*spool.Chunk, error) {
	lines, rest, ok := strings.Cut(string(data), "\n\n")
	if !ok {
		return nil, damaged("the header has no end")
	}
	c := &spool.Chunk{}
	count := -1
	err := parseHead("chunk", []byte(lines+"\n"), func(key, value string) (err error) {
		switch key {
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
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(rest) {
		r, whole := strings.CutSuffix(line, "\n")
		if !whole {
			return nil, damaged("the last recipient is cut")
		}
		c.Recipients = append(c.Recipients, unescape(r))
	}
	if len(c.Recipients) != count {
		return nil, damaged("%d recipients, want %d", len(c.Recipients), count)
	}
	if err := checkVariant(c.Variant); err != nil {
		return nil, damaged("%v", err)
	}
	return c, nil
}

// loadChunk reads a chunk of a post.
func (s *Spool) loadChunk(post entryName, file chunkFile) (*spool.Chunk, error) {
	f, info, err := s.fs.openRegular(s.chunkPath(post, file.String()))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info.Size() > maxChunk {
		return nil, damaged("a chunk of %d bytes", info.Size())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxChunk+1))
	if err != nil {
		return nil, err
	}
	c, err := parseChunk(data)
	if err != nil {
		return nil, err
	}
	c.Post, c.Name, c.Key = post.id, file.name, file.key
	c.Tries, c.Due = file.tries, file.dueTime()
	return c, nil
}
