package milter

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/mlist/mlist/sdk/message"
)

// content gathers a message as the MTA tells it, in a file that handlers can read. What
// does not fit is noted: such a message is not judged by its content.
type content struct {
	header strings.Builder
	file   *os.File // nil before the header has ended
	size   int64    // of the file
	bodyAt int64
	err    error
}

var errTooBig = errors.New("the message is too big")

// addField adds a header field. The MTA has cut the blank after the colon, and folds with
// bare line feeds.
func (c *content) addField(name, value string) {
	if c.err != nil {
		return
	}
	if c.header.Len()+len(name)+len(value) > message.MaxHeader {
		c.err = errTooBig
		return
	}
	c.header.WriteString(name)
	c.header.WriteString(": ")
	c.header.WriteString(strings.ReplaceAll(strings.ReplaceAll(value, "\r\n", "\n"), "\n", "\r\n"))
	c.header.WriteString("\r\n")
}

// addBody adds a piece of the body.
func (c *content) addBody(chunk []byte, limit int64) {
	if c.err == nil {
		c.err = c.begin()
	}
	if c.err == nil && c.size+int64(len(chunk)) > limit {
		c.err = errTooBig
	}
	if c.err == nil {
		c.write(chunk)
	}
}

// begin makes the file, with the header block in it.
func (c *content) begin() error {
	if c.file != nil {
		return nil
	}
	file, err := os.CreateTemp("", "mlist-milter-*")
	if err != nil {
		return fmt.Errorf("keep the message: %w", err)
	}
	c.file = file
	c.header.WriteString("\r\n")
	c.bodyAt = int64(c.header.Len())
	c.write([]byte(c.header.String()))
	return c.err
}

func (c *content) write(p []byte) {
	n, err := c.file.Write(p)
	c.size += int64(n)
	if err != nil {
		c.err = fmt.Errorf("keep the message: %w", err)
	}
}

// finish makes a message of what was gathered.
func (c *content) finish() (text, error) {
	if c.err == nil {
		c.err = c.begin() // there was no body
	}
	return text{c}, c.err
}

// close removes the file.
func (c *content) close() {
	if c.file == nil {
		return
	}
	_ = c.file.Close() // it is not kept
	_ = os.Remove(c.file.Name())
	c.file = nil
}

// text is a gathered message as a spool.Message; the transaction closes it.
type text struct{ c *content }

func (t text) ReadAt(p []byte, off int64) (int, error) { return t.c.file.ReadAt(p, off) }
func (t text) Size() int64                             { return t.c.size }
func (t text) File() (*os.File, int64)                 { return t.c.file, 0 }
func (t text) Close() error                            { return nil }
