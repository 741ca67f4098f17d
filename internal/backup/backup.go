// Package backup is the format of mlist's backups.
//
// A backup is a tar file that any tar reads. Its first member, mlist-backup.json, says what
// it is; its last, SHA256SUMS, has the checksums of all others, as sha256sum -c takes them.
// A backup that lacks the last was cut short, and one that has more or other members than
// those is not what was written. Either way [Read] says so.
//
// What the members are is for the caller. Their names lead nowhere: relative, clean, below
// one of [Parts].
package backup

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// Parts are what names may begin with.
var Parts = []string{"config", "store", "archive", "spool"}

const (
	aboutName = "mlist-backup.json"
	sumsName  = "SHA256SUMS"
	format    = 1
	maxAbout  = 1 << 20
)

// About says what a backup is.
type About struct {
	Format   int       `json:"format"`
	Made     time.Time `json:"made"`
	Version  string    `json:"version"` // of mlist
	Hostname string    `json:"hostname"`
	Config   string    `json:"config"` // path of the configuration file
	Parts    []string  `json:"parts"`  // what it has
}

// Has tells whether the backup has a part.
func (a About) Has(part string) bool { return slices.Contains(a.Parts, part) }

// ErrDamaged says that something is no backup, or not all of one.
var ErrDamaged = errors.New("it is not a whole backup")

func damaged(what string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(what, args...))
}

// Member is a file of a backup.
type Member struct {
	Name        string
	Size        int64
	Mode        fs.FileMode // permissions
	User, Group string      // whose it was; may be empty
}

// checkName makes sure that a name leads nowhere, and has a line of its own in the sums.
func checkName(name string) error {
	part, rest, _ := strings.Cut(name, "/")
	if !fs.ValidPath(name) || rest == "" || !slices.Contains(Parts, part) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }) {
		return fmt.Errorf("%.200q is no name in a backup", name)
	}
	return nil
}

// Writer writes a backup.
type Writer struct {
	tar  *tar.Writer
	made time.Time
	sums *os.File // until they are the last member
	buf  *bufio.Writer
	err  error

	Files int64
	Bytes int64
}

// NewWriter begins a backup. The caller calls Close in the end, or Abort.
func NewWriter(w io.Writer, about About) (*Writer, error) {
	about.Format, about.Made = format, about.Made.UTC()
	text, err := json.MarshalIndent(about, "", "  ")
	if err != nil {
		return nil, err
	}
	sums, err := nameless()
	if err != nil {
		return nil, err
	}
	b := &Writer{tar: tar.NewWriter(w), made: about.Made, sums: sums, buf: bufio.NewWriter(sums)}
	text = append(text, '\n')
	if err := b.add(Member{Name: aboutName, Size: int64(len(text)), Mode: 0o600}, bytes.NewReader(text)); err != nil {
		b.Abort()
		return nil, err
	}
	return b, nil
}

// nameless is a file that goes with its descriptor.
func nameless() (*os.File, error) {
	f, err := os.CreateTemp("", "mlist-sums-")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// Add adds a file: Size octets of r.
func (b *Writer) Add(m Member, r io.Reader) error {
	if err := checkName(m.Name); err != nil {
		return err
	}
	return b.add(m, r)
}

func (b *Writer) add(m Member, r io.Reader) error {
	if b.err != nil {
		return b.err
	}
	b.err = b.write(m, r)
	return b.err
}

func (b *Writer) write(m Member, r io.Reader) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: m.Name, Size: m.Size, Mode: int64(m.Mode.Perm()), ModTime: b.made.Truncate(time.Second), Uname: m.User, Gname: m.Group, Format: tar.FormatPAX}
	if err := b.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("write %s: %w", m.Name, err)
	}
	sum := sha256.New()
	n, err := io.CopyN(io.MultiWriter(b.tar, sum), r, m.Size)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("it has %d octets, and had %d", n, m.Size)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", m.Name, err)
	}
	b.Files++
	b.Bytes += n
	_, err = b.buf.WriteString(sumLine(sum, m.Name))
	return err
}

func sumLine(sum hash.Hash, name string) string {
	return hex.EncodeToString(sum.Sum(nil)) + "  " + name + "\n"
}

// Close writes the checksums and the end. Without it there is no backup.
func (b *Writer) Close() error {
	defer b.sums.Close()
	if b.err != nil {
		return b.err
	}
	size, err := b.sums.Seek(0, io.SeekEnd)
	if err == nil {
		size += int64(b.buf.Buffered())
		err = b.buf.Flush()
	}
	if err == nil {
		_, err = b.sums.Seek(0, io.SeekStart)
	}
	if err == nil {
		b.buf.Reset(io.Discard) // its own line is in no sums
		err = b.write(Member{Name: sumsName, Size: size, Mode: 0o600}, b.sums)
	}
	return errors.Join(err, b.tar.Close())
}

// Abort gives up.
func (b *Writer) Abort() { b.sums.Close() }

// Summary is what was read.
type Summary struct {
	Files int64            `json:"files"`
	Bytes int64            `json:"bytes"`
	Parts map[string]int64 `json:"parts"` // files of each
}

// Read reads a backup to its end and checks it. It calls file for each member, which may
// leave some of it unread; nil if only the check matters. A caller must believe nothing of
// what file was given before Read has returned without an error.
func Read(r io.Reader, file func(About, Member, io.Reader) error) (about About, s Summary, err error) {
	s.Parts = map[string]int64{}
	sums, err := nameless()
	if err != nil {
		return about, s, err
	}
	defer sums.Close()
	lines := bufio.NewWriter(sums)
	in := &padded{in: bufio.NewReaderSize(r, 1<<20)}
	t := tar.NewReader(in)
	for n := 0; ; n++ {
		h, err := t.Next()
		switch {
		case errors.Is(err, ErrDamaged):
			return about, s, err
		case errors.Is(err, io.EOF) && n == 0:
			return about, s, damaged("there is nothing in it")
		case errors.Is(err, io.EOF):
			return about, s, damaged("it ends before its checksums: it was cut short, or its making was")
		case errors.Is(err, tar.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, tar.ErrFieldTooLong), errors.Is(err, tar.ErrInsecurePath):
			return about, s, damaged("%v", err)
		case err != nil:
			return about, s, err
		}
		if err := checkHeader(h, n == 0); err != nil {
			return about, s, err
		}
		if h.Name == sumsName {
			return about, s, finish(in, t, padding(h.Size), lines, sums)
		}
		sum := sha256.New()
		body := io.TeeReader(t, sum)
		if n == 0 {
			err = readAbout(body, &about)
		} else {
			part, _, _ := strings.Cut(h.Name, "/")
			if !about.Has(part) {
				return about, s, damaged("%s is of a part that it should not have", h.Name)
			}
			s.Files++
			s.Bytes += h.Size
			s.Parts[part]++
			if file != nil {
				err = file(about, Member{h.Name, h.Size, fs.FileMode(h.Mode).Perm(), h.Uname, h.Gname}, body)
			}
		}
		if err == nil {
			_, err = io.Copy(io.Discard, body)
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = damaged("it ends in the middle of %s", h.Name)
		}
		if err != nil {
			return about, s, err
		}
		if _, err := lines.WriteString(sumLine(sum, h.Name)); err != nil {
			return about, s, err
		}
		in.zeros = padding(h.Size)
	}
}

// tar has everything in blocks, and ends with two of zeros.
const (
	block = 512
	end   = 2 * block
)

// padding is how many zeros follow a file of that size.
func padding(size int64) int64 { return -size & (block - 1) }

// padded reads a tar, and makes sure of what tar does not look at: that the zeros after a file
// are zeros.
type padded struct {
	in    *bufio.Reader
	zeros int64 // that come next
}

func (p *padded) Read(b []byte) (int, error) {
	n, err := p.in.Read(b)
	due := min(int64(n), p.zeros)
	p.zeros -= due
	if bytes.ContainsFunc(b[:due], func(r rune) bool { return r != 0 }) {
		return 0, damaged("something is where nothing was written")
	}
	return n, err
}

// checkHeader refuses what no Writer wrote: links, devices, holes, names that lead elsewhere.
func checkHeader(h *tar.Header, first bool) error {
	if first {
		if h.Name != aboutName || h.Typeflag != tar.TypeReg || h.Size > maxAbout {
			return damaged("it does not begin with %s", aboutName)
		}
		return nil
	}
	if h.Typeflag != tar.TypeReg || h.Linkname != "" {
		return damaged("%.200q is no regular file", h.Name)
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse") {
			return damaged("%.200q has holes", h.Name)
		}
	}
	if h.Name == sumsName {
		return nil
	}
	if err := checkName(h.Name); err != nil {
		return damaged("%v", err)
	}
	return nil
}

func readAbout(r io.Reader, about *About) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, about); err != nil {
		return damaged("%s: %v", aboutName, err)
	}
	if about.Format != format {
		return fmt.Errorf("the backup is of format %d, and this mlist knows %d: use the version that made it, %.60q", about.Format, format, about.Version)
	}
	return nil
}

// finish compares the checksums of what was read with those that were written, and makes
// sure that the end is there, so many zeros later, and nothing follows it.
func finish(in io.Reader, t *tar.Reader, zeros int64, lines *bufio.Writer, sums *os.File) error {
	err := lines.Flush()
	if err == nil {
		_, err = sums.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	have, want := bufio.NewReader(sums), bufio.NewReader(t)
	for {
		h, herr := have.ReadString('\n')
		w, werr := want.ReadString('\n')
		if werr != nil && !errors.Is(werr, io.EOF) {
			return damaged("it ends in the middle of its checksums")
		}
		if herr != nil && !errors.Is(herr, io.EOF) {
			return herr
		}
		if h != w {
			if _, name, _ := strings.Cut(strings.TrimSpace(h), "  "); name != "" {
				return damaged("%s is not what was written", name)
			}
			return damaged("something is missing that its checksums have: %.200q", strings.TrimSpace(w))
		}
		if h == "" {
			break
		}
	}
	rest := make([]byte, 4*end)
	for left := zeros + end; ; {
		n, err := in.Read(rest)
		if bytes.ContainsFunc(rest[:n], func(r rune) bool { return r != 0 }) {
			return damaged("something follows its checksums")
		}
		left -= int64(n)
		switch {
		case errors.Is(err, io.EOF) && left > 0:
			return damaged("its last octets are missing")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
