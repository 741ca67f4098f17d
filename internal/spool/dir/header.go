package dir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// maxHead bounds the header lines of an entry, its notes included.
const maxHead = 256 << 10

const timeFormat = "2006-01-02T15:04:05.000000Z07:00"

// errDamaged marks files that are ours by name and not by content.
type errDamaged struct{ text string }

func (e *errDamaged) Error() string { return "damaged: " + e.text }

func damaged(format string, args ...any) error {
	return &errDamaged{fmt.Sprintf(format, args...)}
}

func isDamaged(err error) bool {
	var d *errDamaged
	return errors.As(err, &d)
}

var (
	escaper     = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`)
	wordEscaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, " ", `\s`)
)

func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 's':
			b.WriteByte(' ')
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// head builds header lines, "key: value". Whatever a value holds, it stays one line.
type head struct{ bytes.Buffer }

func newHead(kind string) *head {
	h := &head{}
	h.add("mlist", kind+" 1") // the format's version
	return h
}

func (h *head) add(key, value string) {
	if value == "" {
		return
	}
	h.WriteString(key)
	h.WriteString(": ")
	h.WriteString(escaper.Replace(value))
	h.WriteByte('\n')
}

func (h *head) addFlags(flags []string) {
	words := make([]string, 0, len(flags))
	for _, f := range flags {
		if f != "" {
			words = append(words, wordEscaper.Replace(f))
		}
	}
	if len(words) > 0 {
		h.WriteString("flags: " + strings.Join(words, " ") + "\n")
	}
}

func (h *head) addNotes(notes map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(notes)) {
		h.WriteString("note: " + wordEscaper.Replace(k) + " " + escaper.Replace(notes[k]) + "\n")
	}
}

func readFlags(value string) []string {
	flags := strings.Split(value, " ")
	for i := range flags {
		flags[i] = unescape(flags[i])
	}
	return flags
}

func readNote(notes *map[string]string, value string) {
	k, v, _ := strings.Cut(value, " ")
	if *notes == nil {
		*notes = map[string]string{}
	}
	(*notes)[unescape(k)] = unescape(v)
}

// parseHead calls set for each line, with the value as it stands.
func parseHead(kind string, lines []byte, set func(key, value string) error) error {
	first := true
	for line := range strings.Lines(string(lines)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok {
			return damaged("header line %.60q", line)
		}
		if first {
			if key != "mlist" || value != kind+" 1" {
				return damaged("it starts with %.60q: want \"mlist: %s 1\"", line, kind)
			}
			first = false
			continue
		}
		if err := set(key, value); err != nil {
			return damaged("header line %.60q: %v", line, err)
		}
	}
	if first {
		return damaged("no header")
	}
	return nil
}

// readHead reads the header lines of a file, and tells where what follows them starts.
func readHead(r io.ReaderAt, limit int) ([]byte, int64, error) {
	buf := make([]byte, 0, 2048)
	for {
		n, err := r.ReadAt(buf[len(buf):cap(buf)], int64(len(buf)))
		from := max(0, len(buf)-1)
		buf = buf[:len(buf)+n]
		if i := bytes.Index(buf[from:], []byte("\n\n")); i >= 0 {
			return buf[:from+i+1], int64(from + i + 2), nil
		}
		if err == io.EOF {
			return nil, 0, damaged("the header has no end")
		}
		if err != nil {
			return nil, 0, err
		}
		if len(buf) >= limit {
			return nil, 0, damaged("the header is longer than %d bytes", limit)
		}
		buf = slices.Grow(buf, len(buf))
	}
}

// entryHead is what stands above a message, without the empty line.
func entryHead(q spool.Queue, env spool.Envelope, size int64) *head {
	h := newHead("entry")
	h.add("queue", string(q))
	h.add("list", env.List)
	h.add("role", env.Role)
	h.add("detail", env.Detail)
	h.add("sender", env.Sender)
	h.add("recipient", env.Recipient)
	h.add("received", env.Received.UTC().Format(timeFormat))
	h.add("peer", env.Peer)
	h.addFlags(env.Flags)
	h.addNotes(env.Notes)
	h.add("size", strconv.FormatInt(size, 10))
	return h
}

func parseEntryHead(lines []byte) (q spool.Queue, env spool.Envelope, size int64, err error) {
	size = -1
	err = parseHead("entry", lines, func(key, value string) (err error) {
		switch key {
		case "queue":
			q = spool.Queue(value)
		case "list":
			env.List = unescape(value)
		case "role":
			env.Role = unescape(value)
		case "detail":
			env.Detail = unescape(value)
		case "sender":
			env.Sender = unescape(value)
		case "recipient":
			env.Recipient = unescape(value)
		case "received":
			env.Received, err = time.Parse(timeFormat, value)
		case "peer":
			env.Peer = unescape(value)
		case "flags":
			env.Flags = readFlags(value)
		case "note":
			readNote(&env.Notes, value)
		case "size":
			size, err = strconv.ParseInt(value, 10, 64)
		}
		return err
	})
	if err == nil && size < 0 {
		err = damaged("the header has no size")
	}
	env.Key = segment.KeyOf(env.List)
	return q, env, size, err
}

// readEntry reads an open entry file: its envelope, the queue it was put in, where
// the message starts and how long it is.
func readEntry(f *os.File, info os.FileInfo) (q spool.Queue, env spool.Envelope, offset, size int64, err error) {
	lines, offset, err := readHead(f, maxHead)
	if err != nil {
		return "", env, 0, 0, err
	}
	q, env, size, err = parseEntryHead(lines)
	if err == nil && offset+size != info.Size() {
		err = damaged("the message has %d bytes, want %d", info.Size()-offset, size)
	}
	return q, env, offset, size, err
}

// note is what lies beside an entry: why it waits, and what was added to its envelope.
type note struct {
	queue  spool.Queue // in held and failed: where it came from
	tries  int         // in held and failed; elsewhere the name tells
	reason string
	flags  []string
	notes  map[string]string
}

func (n note) bytes() []byte {
	h := newHead("state")
	h.add("queue", string(n.queue))
	if n.tries > 0 {
		h.add("tries", strconv.Itoa(n.tries))
	}
	h.add("reason", n.reason)
	h.addFlags(n.flags)
	h.addNotes(n.notes)
	return h.Bytes()
}

func parseNote(data []byte) (n note, err error) {
	err = parseHead("state", data, func(key, value string) (err error) {
		switch key {
		case "queue":
			n.queue = spool.Queue(value)
		case "tries":
			n.tries, err = strconv.Atoi(value)
		case "reason":
			n.reason = unescape(value)
		case "flags":
			n.flags = readFlags(value)
		case "note":
			readNote(&n.notes, value)
		}
		return err
	})
	return n, err
}

// apply adds a note to an entry.
func (n note) apply(e *spool.Entry) {
	e.Reason = n.reason
	for _, f := range n.flags {
		if !slices.Contains(e.Flags, f) {
			e.Flags = append(e.Flags, f)
		}
	}
	if len(n.notes) > 0 && e.Notes == nil {
		e.Notes = map[string]string{}
	}
	maps.Copy(e.Notes, n.notes)
}
