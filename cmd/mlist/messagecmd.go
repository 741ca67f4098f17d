package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/sdk/message"
)

func (a *app) messageCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:     "message",
		Short:   "look at messages",
		Example: `  mlist message check < post.eml > copy.eml`,
	}, a.messageCheckCommand())
}

func (a *app) messageCheckCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "check [FILE|-]",
		Short: "read a message as mlist does, write it back, and list what is wrong with it",
		Long: `Reads any message from FILE, or from standard input, takes it apart as the pipeline does, and writes it to standard output
again: the very same octets. What is wrong with it goes to standard error, a line for each kind: a word for programs, a
sentence, and the line where it is first seen. mlist takes such messages all the same (docs/messages.md tells how).

The exit status is 0 whatever was found, and 1 if the message could not be read or written.`,
		Example: `  mlist message check < post.eml > copy.eml
  mlist message check post.eml > /dev/null
  mlist held show aaaqeayeaudaocaj --message | mlist message check --json > /dev/null`,
		Args: between(0, 1, "a file, or - for standard input"),
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		path := "-"
		if len(args) > 0 {
			path = args[0]
		}
		return a.checkMessage(path)
	}
	return c
}

// defectView is a defect as --json shows it, to standard error.
type defectView struct {
	Code string `json:"code"`
	Text string `json:"text"`
	Line int64  `json:"line"`
}

func (a *app) checkMessage(path string) (err error) {
	in, size, done, err := a.seekable(path)
	if err != nil {
		return err
	}
	defer func() { err = closing(err, done) }()
	m, err := message.Open(in, size)
	if err != nil {
		return fmt.Errorf("read the message: %w", err)
	}
	found, err := m.Check()
	if err != nil {
		return fmt.Errorf("read the message: %w", err)
	}
	if err := a.tellDefects(found); err != nil {
		return err
	}
	out := &same{to: bufio.NewWriterSize(a.out, 64<<10), original: in}
	if _, err := m.WriteTo(out); err != nil {
		return fmt.Errorf("write the message: %w", err)
	}
	if err := out.to.Flush(); err != nil {
		return fmt.Errorf("write the message: %w", err)
	}
	if out.at != size {
		return fmt.Errorf("wrote %d octets of a message of %d: this is a mistake in mlist", out.at, size)
	}
	return nil
}

func (a *app) tellDefects(found []message.Defect) error {
	if a.json {
		views := make([]defectView, len(found))
		for i, d := range found {
			views[i] = defectView{d.Code, d.Text, d.Line}
		}
		return printJSON(a.err, views)
	}
	for _, d := range found {
		if _, err := fmt.Fprintf(a.err, "%s: %s: line %d\n", d.Code, printable(d.Text, false), d.Line); err != nil {
			return fmt.Errorf("list the defects: %w", err)
		}
	}
	return nil
}

// seekable is a message in a file: where standard input is none, a copy of it, which
// done removes.
func (a *app) seekable(path string) (in io.ReaderAt, size int64, done func() error, err error) {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, 0, nil, fmt.Errorf("read the message: %w", err)
		}
		if in, size, ok := regular(f); ok {
			return in, size, f.Close, nil
		}
		defer f.Close()
		return copied(f)
	}
	if f, ok := a.in.(*os.File); ok {
		if in, size, ok := regular(f); ok {
			return in, size, func() error { return nil }, nil
		}
	}
	if isTerminal(a.in) {
		fmt.Fprintln(a.err, "Reading the message from the terminal; Ctrl-D ends it.")
	}
	return copied(a.in)
}

// regular tells whether f is a file that can be read anywhere, and what is left of it.
func regular(f *os.File) (*io.SectionReader, int64, bool) {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, 0, false
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, 0, false
	}
	size := max(info.Size()-at, 0)
	return io.NewSectionReader(f, at, size), size, true
}

func copied(r io.Reader) (io.ReaderAt, int64, func() error, error) {
	f, err := os.CreateTemp("", "mlist-message-")
	if err != nil {
		return nil, 0, nil, fmt.Errorf("copy the message: %w", err)
	}
	// Nobody needs its name, and an interrupted command leaves nothing behind.
	if err := os.Remove(f.Name()); err != nil {
		return nil, 0, nil, errors.Join(fmt.Errorf("copy the message: %w", err), f.Close())
	}
	size, err := io.Copy(f, r)
	if err != nil {
		return nil, 0, nil, errors.Join(fmt.Errorf("read the message: %w", err), f.Close())
	}
	return f, size, f.Close, nil
}

// same passes on what is the original's, and fails at the first octet that is not.
type same struct {
	to       *bufio.Writer
	original io.ReaderAt
	at       int64
	buf      []byte
}

// Write implements io.Writer.
func (s *same) Write(p []byte) (int, error) {
	if len(s.buf) < len(p) {
		s.buf = make([]byte, len(p))
	}
	want := s.buf[:len(p)]
	n, err := s.original.ReadAt(want, s.at)
	if n < len(want) {
		return 0, fmt.Errorf("octet %d is beyond the original (%w): this is a mistake in mlist", s.at+int64(n), err)
	}
	if string(want) != string(p) {
		return 0, fmt.Errorf("the octets from %d on differ from the original's: this is a mistake in mlist", s.at)
	}
	s.at += int64(n)
	return s.to.Write(p)
}
