package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/sdk/message"
)

// maxLine is more than any address with a name needs, in octets.
const maxLine = 64 << 10

// memberInput is where addresses come from: arguments, files, and standard input as "-".
// What cannot be read as an address is named and counted, and does not stop the rest: in
// a million lines there is always one. Empty lines, and those that start with #, are nothing.
type memberInput struct {
	args  []string
	files []string
	stdin io.Reader
	errs  io.Writer

	known int64 // octets of all files, 0 if one of them has no size
	read  int64
	bad   int64
}

// fileFlag adds --file to a command that takes members.
func fileFlag(cmd *cobra.Command, files *[]string) {
	cmd.Flags().StringArrayVar(files, "file", nil, "file with a member a line, once or more; - is standard input")
}

// input makes the input of a command out of its arguments and --file.
func (a *app) input(args, files []string) (*memberInput, error) {
	in := &memberInput{files: slices.Clone(files), stdin: a.in, errs: a.err}
	stdin := 0
	for _, arg := range args {
		if arg == "-" {
			in.files = append(in.files, arg)
		} else {
			in.args = append(in.args, arg)
		}
	}
	for _, f := range in.files {
		if f == "-" {
			stdin++
		}
	}
	switch {
	case stdin > 1:
		return nil, usageError{errors.New("standard input can be read only once")}
	case len(in.args) == 0 && len(in.files) == 0:
		return nil, usageError{errors.New("no members: want addresses, --file FILE, or - for standard input")}
	}
	return in, nil
}

// line is one line of a file, or one argument.
type line struct {
	file string // empty for an argument
	n    int
	text string
	csv  *columns // nil: the line is a member as people write them
}

// member reads the member of the line.
func (l line) member() (list.Membership, error) {
	if l.csv != nil {
		return l.csv.member(l.text)
	}
	m, err := parseMember(l.text)
	if err != nil && strings.ContainsAny(l.text, ",;\t") {
		err = fmt.Errorf("%w (the first line of CSV names the columns, as in address,name)", err)
	}
	return m, err
}

// refuse names a line that is no member. After some, counting them is enough.
func (in *memberInput) refuse(l line, err error) {
	const most = 20
	in.bad++
	place := "argument"
	if l.file != "" {
		place = fmt.Sprintf("%s:%d", l.file, l.n)
	}
	switch {
	case in.bad <= most:
		fmt.Fprintf(in.errs, "mlist: %s: %s\n", place, printable(err.Error(), false))
	case in.bad == most+1:
		fmt.Fprintln(in.errs, "mlist: … more bad lines are only counted")
	}
}

// members yields what reads as a member, with a role only if a column says it; an error is one of reading a file.
func (in *memberInput) members() iter.Seq2[list.Membership, error] {
	return func(yield func(list.Membership, error) bool) {
		each := func(l line) bool {
			m, err := l.member()
			if err != nil {
				in.refuse(l, err)
				return true
			}
			if l.csv == nil || !l.csv.has("role") {
				m.Role = "" // it is for the command to say
			}
			return yield(m, nil)
		}
		for i, arg := range in.args {
			if !each(line{n: i + 1, text: arg}) {
				return
			}
		}
		for _, f := range in.files {
			more, err := in.file(f, each)
			if err != nil {
				yield(list.Membership{}, err)
				return
			}
			if !more {
				return
			}
		}
	}
}

// measure finds out how much there is to read, if that can be known.
func (in *memberInput) measure() {
	for _, f := range in.files {
		info, err := os.Stat(f)
		if f == "-" || err != nil || !info.Mode().IsRegular() {
			in.known = 0
			return
		}
		in.known += info.Size()
	}
}

// file goes over the lines of one file; it tells whether each wants more.
func (in *memberInput) file(name string, each func(line) bool) (more bool, err error) {
	r, shown := in.stdin, name
	if name == "-" {
		shown = "standard input"
	} else {
		f, err := os.Open(name)
		if err != nil {
			return false, err
		}
		defer f.Close()
		r = f
	}
	lines := bufio.NewReaderSize(r, maxLine)
	var csv *columns
	var cerr error
	first := true
	for n := 1; ; n++ {
		text, tooLong, err := readLine(lines)
		in.read += int64(len(text))
		if err != nil && !errors.Is(err, io.EOF) {
			return false, fmt.Errorf("read %s: %w", shown, err)
		}
		l := line{file: shown, n: n, text: strings.TrimSpace(string(text)), csv: csv}
		record := strings.Trim(string(text), " \r\n") // its first field may be empty, before a tab
		if n == 1 {
			l.text = strings.TrimPrefix(l.text, "\ufeff")
		}
		switch {
		case tooLong:
			in.refuse(l, fmt.Errorf("longer than %d octets", maxLine))
		case l.text == "" || l.text[0] == '#':
		case first && len(l.text) == 5 && strings.HasPrefix(strings.ToLower(l.text), "sep="): // spreadsheets say what separates; the next line shows it
		case first:
			first = false
			if csv, cerr = columnsOf(l.text); cerr != nil {
				return false, fmt.Errorf("%s:%d: %w", shown, n, cerr)
			}
			if csv == nil && !each(l) {
				return false, nil
			}
		default:
			if csv != nil {
				l.text = record
			}
			if !each(l) {
				return false, nil
			}
		}
		if err != nil {
			return true, nil
		}
	}
}

// readLine reads to the line end; of a line that is too long it returns the start.
func readLine(r *bufio.Reader) (text []byte, tooLong bool, err error) {
	text, err = r.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return text, false, err
	}
	text = append([]byte(nil), text[:100]...)
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = r.ReadSlice('\n')
	}
	return text, true, err
}

// parseMember reads "ann@example.net", "Ann <ann@example.net>" and the like.
func parseMember(text string) (list.Membership, error) {
	var m list.Membership
	text = strings.TrimSpace(text)
	if !utf8.ValidString(text) {
		return m, fmt.Errorf("%.60q is not UTF-8", text)
	}
	plain := text
	if strings.HasSuffix(text, ">") {
		boxes := message.ParseMailboxes(text)
		if len(boxes) != 1 {
			return m, fmt.Errorf("%.60q: want one address", text)
		}
		m.DisplayName, plain = boxes[0].Name, boxes[0].Address
		// "Doe, Ann <ann@example.net>" wants quotes in a header, but here there is one member a line.
		if name := strings.TrimSpace(text[:strings.LastIndexByte(text, '<')]); strings.Contains(name, ",") && !strings.ContainsAny(name, `"@:;<>()`) {
			m.DisplayName = name
		}
	}
	var err error
	if m.Address, err = address.Parse(plain); err != nil {
		return m, err
	}
	return m, m.Validate()
}
